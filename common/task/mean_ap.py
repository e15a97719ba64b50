"""Mean average precision, as contests of single-label pictures score it.

Every picture is one detection: its best class, with that class's probability as the score. For each class the
detections of that class are taken from the highest score down; one is true if the picture is of the class. The
average precision is the area under the envelope of precision over recall (all points, as PASCAL VOC counts since
2010); the mean is over classes.

torchmetrics' MulticlassAveragePrecision is another measure: it ranks all pictures by each class's probability.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


def average_precisions(
    labels: NDArray, predicted: NDArray, scores: NDArray, num_classes: int
) -> NDArray[np.float64]:
    """Average precision of each class: float (K,) in [0, 1], NaN for a class without pictures.

    labels, predicted: int (N,) in 0..K-1. scores: float (N,), of the predicted class. Pictures of one score count
    together, so their order does not matter.
    """
    found = np.full(num_classes, np.nan)
    for label in np.unique(labels):
        mine = predicted == label
        found[label] = _envelope_area(labels[mine] == label, scores[mine], int((labels == label).sum()))
    return found


def mean_over_classes(precisions: NDArray) -> float:
    """Mean of `average_precisions` over the classes that have pictures; NaN without any."""
    there = precisions[~np.isnan(precisions)]
    return float(there.mean()) if len(there) else float("nan")


def mean_average_precision(labels: NDArray, probabilities: NDArray, num_classes: int) -> float:
    """The mean over classes, in [0, 1], of labels int (N,) and probabilities float (N, K); NaN without pictures."""
    predicted, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    return mean_over_classes(average_precisions(labels, predicted, scores, num_classes))


def _envelope_area(true: NDArray, scores: NDArray, positives: int) -> float:
    """Area under max(precision at this recall or a higher one). true: bool (D,), scores: float (D,)."""
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)[: len(order)])
    hits = np.cumsum(true[order])[last_of_score]
    recall = hits / positives
    envelope = np.maximum.accumulate((hits / (last_of_score + 1))[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


class MeanAveragePrecision(Metric):
    """The mean of `average_precisions` over a whole pass, exact under DDP.

    It keeps a score, a prediction and a label for each picture.
    """

    full_state_update = False
    higher_is_better = True
    scores: list[Tensor]
    predicted: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ("scores", "predicted", "labels"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K); labels: int64 (B,)."""
        scores, predicted = probabilities.max(dim=1)
        self.scores.append(scores)
        self.predicted.append(predicted)
        self.labels.append(labels)

    def compute(self) -> Tensor:
        if not len(self.labels):
            return torch.tensor(torch.nan, device=self.device)
        labels, predicted, scores = (
            dim_zero_cat(state).cpu().numpy() for state in (self.labels, self.predicted, self.scores)
        )
        found = average_precisions(labels, predicted, scores, self.num_classes)
        return torch.tensor(mean_over_classes(found), device=self.device)
