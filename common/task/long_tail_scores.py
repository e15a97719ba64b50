"""Scores of contests with very many classes of very unequal size, by numpy alone, in O(images + classes) memory.

GAP, the global (or micro) average precision of the best guesses (Perronnin et al. 2009, «A Family of Contextual
Measures of Similarity between Distributions», and Google's landmark contests), asks besides for confidence: with the N
predictions sorted by probability, the highest first, it is 1/N times the sum of precision@i over the i that are right.

The mean accuracy over classes weighs rare classes like frequent ones. The AliProducts contest calls it MAP; here `map`
is the mean average precision (common/task/mean_ap.py), so its name is `class_accuracy`.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from common.task.measures import Answers, Measure, by_answers


def long_tail_measures(num_classes: int, levels: Mapping[str, Sequence[int]]) -> list[Measure]:
    """`gap` and `class_accuracy` of the leaves; `<level>_top1`, `<level>_gap`, `<level>_class_accuracy` of each above.

    levels: level above → parent of each leaf class, K numbers. The parent of the leaf predicted is predicted, as
    confidently as the leaf: what is said of a picture is one leaf, and its ancestors follow.
    """
    places = {"": range(num_classes)} | {f"{level}_": parent for level, parent in levels.items()}
    return [
        by_answers(f"{level}{name}", partial(_at_level, parent, name))
        for level, parent in places.items()
        for name in (SCORES if level else ("gap", "class_accuracy"))
    ]


def long_tail_scores(
    labels: NDArray, predicted: NDArray, confidences: NDArray, num_classes: int
) -> dict[str, float]:
    """`gap`, `class_accuracy` and `mean_error`, which is 1 - class_accuracy; all in [0, 1], NaN without images.

    labels, predicted: int (N,) in 0..K-1. confidences: float (N,), the probabilities of what is predicted.
    """
    accuracy = class_accuracy(labels, predicted, num_classes)
    gap = global_average_precision(labels == predicted, confidences)
    return {"gap": gap, "class_accuracy": accuracy, "mean_error": 1 - accuracy}


def level_scores(
    labels: NDArray, predicted: NDArray, confidences: NDArray, levels: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """Level above → `top1` and the scores of `long_tail_scores`, as `long_tail_measures` has them; NaN without images.

    labels, predicted, confidences: of the leaves, as above. levels: level → parent of each leaf class, K numbers.
    """
    scores = {}
    for level, parents in levels.items():
        parent = np.asarray(parents)
        right, guessed = parent[labels], parent[predicted]
        top1 = float((right == guessed).mean()) if len(labels) else float("nan")
        scores[level] = {"top1": top1} | long_tail_scores(right, guessed, confidences, int(parent.max()) + 1)
    return scores


SCORES = ("top1", "gap", "class_accuracy")


def _at_level(parent: Sequence[int], name: str, answers: Answers) -> float:
    scores = level_scores(answers.label, answers.predicted, answers.confidence, {"": parent})
    return scores[""][name]


def global_average_precision(correct: NDArray, confidences: NDArray) -> float:
    """GAP in [0, 1] of all predictions together; NaN without any.

    correct: bool (N,). confidences: float (N,). Predictions of equal confidence count together, each with the precision
    that is reached after the last of them, so their order does not matter.
    """
    if not len(correct):
        return float("nan")
    order = np.argsort(-confidences, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(confidences[order]) != 0, True))
    hits = np.cumsum(correct[order])[last_of_tie]
    precision = hits / (last_of_tie + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / len(correct))


def class_accuracy(labels: NDArray, predicted: NDArray, num_classes: int) -> float:
    """Mean over the classes that have images of the share of them that is right, in [0, 1]; NaN without images."""
    images = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[labels == predicted], minlength=num_classes)
    there = images > 0
    return float((hits[there] / images[there]).mean()) if there.any() else float("nan")
