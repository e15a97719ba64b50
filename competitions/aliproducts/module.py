"""The module of aliproducts: Podium's classifier, also measured by GAP and by the mean accuracy over classes."""

from typing import Any

import pandas as pd

from common.model.classifier import ImageClassifier
from common.task.long_tail_scores import level_scores, long_tail_measures, long_tail_scores
from common.task.measures import Measure


class AliproductsModule(ImageClassifier):
    """Products of very many classes; `valid_gap` and `valid_class_accuracy` may choose checkpoints.

    The latter is what the contest calls MAP. Both are measured at every level of the product tree as well, by the
    parent of the leaf that is predicted.

    Args:
        others: see ImageClassifier.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()

    def measures(self) -> list[Measure]:
        return long_tail_measures(len(self.class_names), self.hparams["levels"])

    def extra_scores(self, table: pd.DataFrame) -> dict[str, Any]:
        """gap, class_accuracy, mean_error, and `levels`: see common/task/long_tail_scores.py.

        The scores of levels are there under the names that they have in validation too, for `best` and rankings.
        """
        label, predicted, probability = (
            table[name].to_numpy() for name in ("label", "predicted", "probability")
        )
        scores: dict[str, Any] = long_tail_scores(label, predicted, probability, len(self.class_names))
        by_level = level_scores(label, predicted, probability, self.hparams["levels"])
        if by_level:
            scores["levels"] = by_level
        for level, of_level in by_level.items():
            scores |= {f"{level}_{name}": of_level[name] for name in ("top1", "gap", "class_accuracy")}
        return super().extra_scores(table) | scores
