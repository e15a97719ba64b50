"""The module of smoking_calling: Podium's classifier, also measured by the contest's mean average precision."""

from typing import Any

import pandas as pd

from common.model.classifier import ImageClassifier
from common.task.mean_ap import mean_average_precision
from common.task.measures import Measure
from competitions.smoking_calling.by_source import score, score_by_source


class SmokingCallingModule(ImageClassifier):
    """People who smoke, call, do both or neither; `valid_map` may choose checkpoints and stop the training.

    Args:
        others: see ImageClassifier.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()

    def measures(self) -> list[Measure]:
        return [mean_average_precision(len(self.class_names))]

    def extra_scores(self, table: pd.DataFrame) -> dict[str, Any]:
        """`map`, `average_precision` by class, and `by_source`: see by_source.py."""
        scores = score(table, self.class_names)
        by_source = score_by_source(table, self.class_names)
        return {key: scores[key] for key in ("map", "average_precision")} | {"by_source": by_source}
