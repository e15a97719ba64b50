"""The module of aliproducts: Podium's classifier, also measured by GAP and by the mean accuracy over classes."""

from typing import Any

import numpy as np
import pandas as pd

from common.model.classifier import ImageClassifier
from common.model.long_tail_metrics import LongTailMetrics
from common.model.long_tail_scores import long_tail_scores


class AliproductsModule(ImageClassifier):
    """Products of very many classes; `valid_gap` and `valid_class_accuracy` may choose checkpoints.

    The latter is what the contest calls MAP. Both are measured at every level of the product tree as well.

    Args:
        others: see ImageClassifier.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()
        self.metrics = LongTailMetrics(len(self.class_names), self.hparams["levels"])

    def extra_scores(self, table: pd.DataFrame) -> dict[str, Any]:
        """gap, class_accuracy, mean_error; and `levels`, where the parent of the most probable class is predicted."""
        label, predicted, probability = (
            table[name].to_numpy() for name in ("label", "predicted", "probability")
        )
        scores: dict[str, Any] = long_tail_scores(label, predicted, probability, len(self.class_names))
        by_level = {}
        for level, parents in self.hparams["levels"].items():
            parent = np.asarray(parents)
            right, said = parent[label], parent[predicted]
            found = long_tail_scores(right, said, probability, int(parent.max()) + 1)
            by_level[level] = {"top1": float((right == said).mean()), **found}
        return super().extra_scores(table) | scores | ({"levels": by_level} if by_level else {})
