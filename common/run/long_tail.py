"""Long-tail scores of a table of predictions (common/data/predictions.py), at every level of a class tree."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.predictions import kept_batches, most_probable
from common.model.long_tail_scores import long_tail_scores


def score_long_tail(
    path: Path, num_classes: int, levels: Mapping[str, Sequence[int]] | None = None
) -> dict[str, float]:
    """`gap`, `class_accuracy` and `mean_error` of the leaves, and `<level>_gap`, … of each level above.

    levels: level → parent of each leaf class, K numbers. There a class is as probable as its leaves together; of tables
    that keep only the most probable classes, as those that are kept.

    Only labels, best classes and their probabilities are held, 20 bytes an image and level.
    """
    parents = {level: np.asarray(parent) for level, parent in (levels or {}).items()}
    sizes = {"": num_classes} | {level: int(parent.max()) + 1 for level, parent in parents.items()}
    pieces: dict[str, list[tuple[NDArray, ...]]] = {level: [] for level in sizes}
    for frame, classes, kept, _ in kept_batches(path, ["label"]):
        labels = frame["label"].to_numpy()
        pieces[""].append((labels, *most_probable(classes, kept)))
        for level, parent in parents.items():
            pieces[level].append((parent[labels], *_best_sum(parent[classes], kept, sizes[level])))
    scores: dict[str, float] = {}
    for level, parts in pieces.items():
        labels, predicted, confidences = (np.concatenate(column) for column in zip(*parts, strict=True))
        found = long_tail_scores(labels, predicted, confidences, sizes[level])
        scores |= {f"{level}_{name}".lstrip("_"): value for name, value in found.items()}
    return scores


def _best_sum(classes: NDArray, kept: NDArray, size: int) -> tuple[NDArray, NDArray]:
    """The class with the largest sum of each row, int64 (n,), and that sum, float32 (n,).

    classes: int (n, M) in 0..size-1, each may come several times. kept: float (n, M).
    """
    rows = np.arange(len(kept))
    cells = (rows[:, None] * size + classes).ravel()
    sums = np.bincount(cells, weights=kept.ravel(), minlength=len(kept) * size).reshape(-1, size)
    best = sums.argmax(axis=1)
    return best, sums[rows, best].astype(np.float32)
