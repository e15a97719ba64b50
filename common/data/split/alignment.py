"""How well pictures correlate with windows of others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.data.split.hashes import Ints

Thumbnails = NDArray[np.uint8]  # (N, S, S), grey
Floats = NDArray[np.float32]

SIDE = 32  # at which pictures are compared
STEPS, MOST = 100, 12  # windows begin and end at hundredths of a side, and lack at most so many of it
WINDOWS = [(begin, end) for begin in range(MOST + 1) for end in range(STEPS + begin - MOST, STEPS + 1)]
_TOGETHER = 512  # pairs


def correlation(thumbnails: Thumbnails, others: Thumbnails, first: Ints, second: Ints) -> Floats:
    """Pearson's correlation of thumbnails[first] and others[second], (M,); pictures of one grey correlate by 1."""
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        a, b = _standardised(thumbnails[first[part]]), _standardised(others[second[part]])
        found[part] = (a * b).sum((1, 2))
    return found


def aligned_correlation(
    thumbnails: Thumbnails, first: Ints, second: Ints, windows: Sequence[tuple[int, int]], worth: float
) -> Floats:
    """The largest correlation of pictures with windows of others that is found, (M,).

    first, second: the whole pictures, and those with windows. windows: where the search begins, for each pair
    (rows, columns) as positions in WINDOWS. worth: pairs that correlate less there are not aligned.

    Rows and columns are aligned in turn: of all windows at once, the correlation is three matrix products.
    """
    read = _resampling(thumbnails.shape[1])
    found = np.empty(len(first), np.float32)
    begin = np.asarray(windows, np.int64).reshape(-1, 2)
    for start in range(0, len(first), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        whole = _standardised(resized(thumbnails[first[part]]))
        other = thumbnails[second[part]].astype(np.float32)
        other -= other.mean((1, 2), keepdims=True)
        rows, columns = begin[part].T
        at = _standardised(read[rows] @ other @ read[columns].swapaxes(1, 2))
        best = (at * whole).sum((1, 2))
        promising = best >= worth
        whole, other, columns = whole[promising], other[promising], columns[promising]
        for _ in range(2):
            rows, _ = _best(whole, other @ read[columns].swapaxes(1, 2), read)
            columns, better = _best(
                whole.swapaxes(1, 2), other.swapaxes(1, 2) @ read[rows].swapaxes(1, 2), read
            )
        best[promising] = better
        found[part] = best
    return found


def resized(thumbnails: Thumbnails) -> Thumbnails:
    """Grey thumbnails at SIDE × SIDE."""
    read = _resampling(thumbnails.shape[1])[WINDOWS.index((0, STEPS))]
    found = np.empty((len(thumbnails), SIDE, SIDE), np.uint8)
    for start in range(0, len(thumbnails), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        found[part] = (read @ thumbnails[part].astype(np.float32) @ read.T).round()
    return found


def _best(whole: Floats, other: Floats, read: Floats) -> tuple[Ints, Floats]:
    """The window of the rows of `other` that correlates best, and by how much.

    whole: (M, SIDE, SIDE), standardised. other: (M, S, SIDE), its columns aligned. read: (W, SIDE, S).
    """
    squares = read.swapaxes(1, 2) @ read
    products = _flat(whole @ other.swapaxes(1, 2)) @ _flat(read).T
    energies = _flat(other @ other.swapaxes(1, 2)) @ _flat(squares).T
    means = other.sum(2) @ read.sum(1).T / SIDE
    norms = np.sqrt(np.maximum(energies - means**2, 1))
    values = products / norms
    best = values.argmax(1)
    return best, values[np.arange(len(best)), best]


def _flat(matrices: Floats) -> Floats:
    return matrices.reshape(len(matrices), matrices.shape[1] * matrices.shape[2])


def _resampling(side: int) -> Floats:
    """For each window the weights with which `side` values make SIDE, by area: (W, SIDE, side)."""
    begin, end = (np.array(WINDOWS).T / STEPS * side)[:, :, None, None]
    edges = begin + (end - begin) * np.arange(SIDE + 1)[:, None] / SIDE  # (W, SIDE + 1, 1)
    cells = np.arange(side)
    overlap = np.minimum(edges[:, 1:], cells + 1) - np.maximum(edges[:, :-1], cells)
    return (np.maximum(overlap, 0) * SIDE / (end - begin)).astype(np.float32)


def _standardised(pictures: NDArray) -> Floats:
    """Mean 0 and norm 1, (M, H, W); a picture of one grey becomes that of all others."""
    values = pictures.astype(np.float32)
    values -= values.mean((1, 2), keepdims=True)
    norm = np.sqrt((values**2).sum((1, 2), keepdims=True))
    blank = norm[:, 0, 0] < 1e-3
    values[blank], norm[blank] = 1, np.sqrt(values[0].size) if len(values) else 1
    return values / norm
