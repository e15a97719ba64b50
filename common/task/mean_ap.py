"""Mean average precision, as contests of single-label pictures score it.

Every picture is one detection: its best class, with that class's probability as the score. For each class the
detections of that class are taken from the highest score down; one is true if the picture is of the class. The
average precision is the area under the envelope of precision over recall (all points, as PASCAL VOC counts since
2010); the mean is over classes.

torchmetrics' MulticlassAveragePrecision is another measure: it ranks all pictures by each class's probability.
"""

import numpy as np
from numpy.typing import NDArray

from common.task.measures import Answers, Measure, by_answers


def average_precisions(
    labels: NDArray, predicted: NDArray, scores: NDArray, num_classes: int
) -> NDArray[np.float64]:
    """Average precision of each class: float (K,) in [0, 1], NaN for a class without pictures.

    labels, predicted: int (N,) in 0..K-1. scores: float (N,), of the predicted class. Pictures of one score count
    together, so their order does not matter.
    """
    precisions = np.full(num_classes, np.nan)
    for label in np.unique(labels):
        mine = predicted == label
        precisions[label] = _envelope_area(labels[mine] == label, scores[mine], int((labels == label).sum()))
    return precisions


def mean_over_classes(precisions: NDArray) -> float:
    """Mean of `average_precisions` over the classes that have pictures; NaN without any."""
    there = precisions[~np.isnan(precisions)]
    return float(there.mean()) if len(there) else float("nan")


def mean_average_precision(num_classes: int) -> Measure:
    """`map`, the mean over classes of `average_precisions`, in [0, 1]."""

    def mean(answers: Answers) -> float:
        return mean_over_classes(
            average_precisions(answers.label, answers.predicted, answers.confidence, num_classes)
        )

    return by_answers("map", mean)


def _envelope_area(true: NDArray, scores: NDArray, positives: int) -> float:
    """Area under max(precision at this recall or a higher one). true: bool (D,), scores: float (D,)."""
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)[: len(order)])
    hits = np.cumsum(true[order])[last_of_score]
    recall = hits / positives
    envelope = np.maximum.accumulate((hits / (last_of_score + 1))[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())
