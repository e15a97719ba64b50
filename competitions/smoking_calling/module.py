"""The module of smoking_calling: Podium's classifier, also measured by the contest's mean average precision."""

from typing import Any

import pandas as pd
from torch import Tensor

from common.model.classifier import ImageClassifier
from common.task.mean_ap import MeanAveragePrecision, mean_average_precision
from common.task.measures import Measure
from common.task.metrics import ValidationMetrics
from competitions.smoking_calling.by_source import score, score_by_source


class SmokingCallingModule(ImageClassifier):
    """People who smoke, call, do both or neither; `valid_map` may choose checkpoints and stop the training.

    Args:
        others: see ImageClassifier.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()
        self.metrics = WithMeanAP(len(self.class_names))

    def measures(self) -> list[Measure]:
        classes = len(self.class_names)
        return [Measure("map", lambda labels, rows: mean_average_precision(labels, rows, classes))]

    def extra_scores(self, table: pd.DataFrame) -> dict[str, Any]:
        """`map`, `average_precision` by class, and `by_source`: see by_source.py."""
        found = score(table, self.class_names)
        by_source = score_by_source(table, self.class_names)
        return {key: found[key] for key in ("map", "average_precision")} | {"by_source": by_source}


class WithMeanAP(ValidationMetrics):
    """The metrics of every competition, and `valid_map`: see common/task/mean_ap.py."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.map = MeanAveragePrecision(num_classes)

    @property
    def names(self) -> list[str]:
        return [*super().names, "valid_map"]

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        super().update(probabilities, labels)
        self.map.update(probabilities, labels)

    def compute(self) -> dict[str, Tensor]:
        values = {**super().compute(), "valid_map": self.map.compute()}
        self.map.reset()
        return values
