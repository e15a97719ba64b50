"""Scores computed from labels and predictions, by numpy alone: memory grows with images and mistakes.

`labels` and `predictions` are int arrays (N,) in 0..K-1, `probabilities` is float (N, K) whose rows sum to 1.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from common.data.predictions import batches

BLOCK = 1 << 22  # probabilities looked at together: bounds the memory of comparisons


def score_rows(labels: np.ndarray, probabilities: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """top1, top5 (shares in [0, 1]), loss (nats), images, and precision, recall, support per class."""
    return _score([(labels, probabilities)], class_names)


def score_file(path: Path, class_names: list[str]) -> dict[str, Any]:
    """As `score_rows`, of a table of predictions (common/data/predictions.py), read in pieces."""
    return _score(((frame["label"].to_numpy(), rows) for frame, rows in batches(path)), class_names)


def _score(pieces: Iterable[tuple[np.ndarray, np.ndarray]], class_names: list[str]) -> dict[str, Any]:
    sums = {"top1": 0.0, "top5": 0.0, "loss": 0.0}
    labels, predicted = [], []
    for known, rows in pieces:
        sums["top1"] += len(known) * topk_accuracy(rows, known, 1)
        sums["loss"] += len(known) * log_loss(rows, known)
        if len(class_names) >= 5:
            sums["top5"] += len(known) * topk_accuracy(rows, known, 5)
        labels.append(known)
        predicted.append(rows.argmax(axis=1))
    known = np.concatenate(labels)
    found: dict[str, Any] = {name: total / len(known) for name, total in sums.items()}
    if len(class_names) < 5:
        del found["top5"]
    table = class_table(known, np.concatenate(predicted), class_names)
    per_class = table.astype(object).where(table.notna(), None).to_dict("records")
    return {**found, "images": len(known), "per_class": per_class}


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
    hits, step = 0, max(1, BLOCK // probabilities.shape[1])
    for start in range(0, len(labels), step):
        block, own = probabilities[start : start + step], labels[start : start + step, None]
        below = block < np.take_along_axis(block, own, axis=1)  # False for NaN
        rank = block.shape[1] - 1 - below.sum(axis=1)  # others that are not below the true class
        valid = ~np.isnan(np.take_along_axis(block, own, axis=1)[:, 0])
        hits += int(((rank < k) & valid).sum())
    return hits / len(labels) if len(labels) else float("nan")


def log_loss(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -ln p(true class), in nats; NaN without images or with NaN probabilities.

    Probabilities are clipped to [eps, 1 - eps], eps that of their dtype, so that a certain mistake costs a finite
    amount (15.9 in float32).
    """
    probabilities, labels = _checked_rows(probabilities, labels)
    if not len(labels):
        return float("nan")
    eps = float(np.finfo(probabilities.dtype).eps)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0].astype(np.float64)
    return float(-np.log(own.clip(eps, 1 - eps)).mean())


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


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
