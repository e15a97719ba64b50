"""Scores computed from labels and predictions, by numpy alone: memory grows with images and mistakes.

`labels` and `predictions` are int arrays (N,) in 0..K-1, `probabilities` is float (N, K) whose rows sum to 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from common.data.predictions import ranked, ranked_batches
from common.task.measures import Answers, Measure, by_answers


def standard_measures(num_classes: int) -> list[Measure]:
    """`loss`, `top1` and, from five classes on, `top5`: what every competition is measured by.

    The loss is the log loss of the probabilities, whatever loss trains: it can be compared between recipes.
    """
    loss = by_answers("loss", lambda answers: float(log_losses(answers.own).mean()), "min")
    shares = [
        by_answers(f"top{k}", lambda answers, k=k: float((answers.rank < k).mean()))  # type: ignore[misc]
        for k in (1, 5)
        if k <= num_classes
    ]
    return [loss, *shares]


def score_rows(labels: np.ndarray, probabilities: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """top1, top5 (shares in [0, 1]), loss (nats), images, and precision, recall, support per class.

    Without images top1, top5 and loss are None.
    """
    return _score(Answers.of(labels, probabilities), class_names)


def score_file(path: Path, class_names: list[str]) -> dict[str, Any]:
    """As `score_rows`, of a table of predictions (common/data/predictions.py), read in pieces."""
    columns = (np.concatenate(column) for column in zip(*ranked_batches(path), strict=True))
    return _score(Answers(*columns), class_names)


def _score(answers: Answers, class_names: list[str]) -> dict[str, Any]:
    loss, *shares = standard_measures(len(class_names))
    some = len(answers.label) > 0
    scores = {
        one.name: one.of_answers(answers) if some and one.of_answers else None for one in (*shares, loss)
    }
    table = class_table(answers.label, answers.predicted, class_names)
    per_class = table.astype(object).where(table.notna(), None).to_dict("records")
    return {**scores, "images": len(answers.label), "per_class": per_class}


def class_table(labels: ArrayLike, predictions: ArrayLike, class_names: Sequence[str]) -> pd.DataFrame:
    """One row a class, in label order: class, precision, recall, f1, support (its images), predicted (times said).

    Recall is NaN for a class without images, precision for one never predicted, f1 where both happen: undefined is
    not the same as zero. Takes O(N + K).
    """
    classes = len(class_names)
    labels, predictions = _checked_pair(labels, predictions, classes)
    support = np.bincount(labels, minlength=classes)
    predicted = np.bincount(predictions, minlength=classes)
    hits = np.bincount(labels[labels == predictions], minlength=classes)
    return pd.DataFrame(
        {
            "class": list(class_names),
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, support),
            "f1": _ratio(2 * hits, support + predicted),
            "support": support,
            "predicted": predicted,
        }
    )


def confusion_counts(labels: ArrayLike, predictions: ArrayLike, classes: int) -> csr_array:
    """Confusion matrix (K, K) int64 holding only the cells that are not zero: O(N) memory at any K."""
    labels, predictions = _checked_pair(labels, predictions, classes)
    cells, counts = np.unique(labels * classes + predictions, return_counts=True)
    return csr_array((counts, (cells // classes, cells % classes)), shape=(classes, classes), dtype=np.int64)


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Confusion matrix (K, K) int64: row = true class, column = predicted. 8 K² bytes; see `confusion_counts`."""
    return confusion_counts(labels, predictions, classes).toarray()


def worst_pairs(
    matrix: NDArray[np.int64] | csr_array, class_names: Sequence[str], n: int = 20
) -> pd.DataFrame:
    """The `n` most frequent mistakes, the most frequent first, equal ones in label order.

    matrix: (K, K) counts, dense or sparse. Columns: true, predicted (names), label, predicted_label (int), count,
    share (of the true class's images, in (0, 1]).
    """
    counts: Any = csr_array(matrix)
    if counts.shape != (len(class_names), len(class_names)):
        raise ValueError(f"matrix {counts.shape} does not fit {len(class_names)} class names")
    support = np.asarray(counts.sum(axis=1)).ravel()
    cells = counts.tocoo()
    wrong = (cells.row != cells.col) & (cells.data > 0)
    label, predicted, count = cells.row[wrong], cells.col[wrong], cells.data[wrong]
    first = np.lexsort((predicted, label, -count))[:n]
    label, predicted, count = label[first], predicted[first], count[first]
    return pd.DataFrame(
        {
            "true": [class_names[i] for i in label],
            "predicted": [class_names[i] for i in predicted],
            "label": label.astype(np.int64),
            "predicted_label": predicted.astype(np.int64),
            "count": count,
            "share": count / support[label],
        }
    )


def topk_accuracy(probabilities: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Share of images whose true class is among the `k` most probable, in [0, 1]; NaN without images.

    Ties count against the model, by strict rank: the true class is among the first k only if fewer than k other
    classes are at least as probable. So a constant answer scores 0 and not 1, and NaN is never right.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    probabilities, labels = _checked_rows(probabilities, labels)
    rank = ranked(probabilities, labels)[1]
    valid = rank < probabilities.shape[1]  # that of NaN is K
    return float(((rank < k) & valid).mean()) if len(labels) else float("nan")


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -ln p(true class), in nats, as sklearn's `log_loss`; NaN without images or with NaN probabilities."""
    probabilities, labels = _checked_rows(probabilities, labels)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return float(log_losses(own).mean()) if len(own) else float("nan")


def log_losses(own: NDArray[np.floating]) -> NDArray[np.float64]:
    """-ln of the true classes' probabilities (N,), in nats.

    They are clipped to [eps, 1 - eps], eps that of their dtype, so that a certain mistake costs a finite amount (15.9
    in float32).
    """
    eps = float(np.finfo(own.dtype).eps)
    return -np.log(own.astype(np.float64).clip(eps, 1 - eps))


def interval(accuracy: float, images: int, z: float = 1.959964) -> tuple[float, float]:
    """Where the true accuracy lies with 95 % confidence, given a share measured on so many images.

    Wilson's score interval (Wilson 1927): within [0, 1] and sensible at 0 %, at 100 % and for few images.
    """
    if images < 1 or not 0 <= accuracy <= 1:
        return float("nan"), float("nan")
    centre = accuracy + z * z / (2 * images)
    half = z * np.sqrt(accuracy * (1 - accuracy) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    return max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale))


def _checked(values: ArrayLike, classes: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name} must be int (N,), got {array.dtype} {array.shape}")
    outside = (array < 0) | (array >= classes)
    if outside.any():
        raise ValueError(
            f"{name} must be in 0..{classes - 1}, got {array[outside][0]} (row {outside.argmax()}, "
            f"{outside.sum()} such rows): leave out images of unknown class"
        )
    return array.astype(np.int64)


def _checked_pair(
    labels: ArrayLike, predictions: ArrayLike, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pair = _checked(labels, classes, "labels"), _checked(predictions, classes, "predictions")
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"{len(pair[0])} labels, but {len(pair[1])} predictions")
    return pair


def _checked_rows(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    array = np.asarray(probabilities)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"probabilities must be float (N, K), got {array.dtype} {array.shape}")
    checked = _checked(labels, array.shape[1], "labels")
    if len(checked) != len(array):
        raise ValueError(f"{len(array)} rows of probabilities, but {len(checked)} labels")
    return array, checked


def _ratio(part: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, total, out=np.full(len(part), np.nan), where=total > 0)
