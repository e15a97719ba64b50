"""The module of smoking_calling: Podium's classifier, also measured by the contest's mean average precision."""

from typing import Any

import numpy as np
from torch import Tensor

from common.model.classifier import ImageClassifier
from common.model.mean_ap import MeanAveragePrecision, average_precisions, mean_average_precision
from common.model.metrics import ValidationMetrics


class SmokingCallingModule(ImageClassifier):
    """People who smoke, call, do both or neither; `valid_map` may choose checkpoints and stop the training.

    Args:
        others: see ImageClassifier.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()
        self.metrics = WithMeanAP(len(self.class_names))

    def extra_scores(self, labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
        """`map`, and `average_precision` by class name, None for a class without pictures (left out of the mean).

        labels: int64 (N,). probabilities: float (N, K).
        """
        found = average_precisions(labels, probabilities).tolist()
        by_class = {
            name: None if value != value else value
            for name, value in zip(self.class_names, found, strict=True)
        }
        return {"map": mean_average_precision(labels, probabilities), "average_precision": by_class}


class WithMeanAP(ValidationMetrics):
    """The metrics of every competition, and `valid_map`: see common/model/mean_ap.py."""

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
