"""Perceptual hashes of windows of pictures, and which of them are near."""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from common.cores import cores

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

_CHUNK = 1024  # thumbnails that are hashed together
_MIXED = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its products spread in the upper bits


def hashed(
    thumbnails: NDArray[np.uint8],
    rows: tuple[float, float] = (0, 1),
    columns: tuple[float, float] = (0, 1),
) -> Hashes:
    """64 bits: which of the 8 × 8 lowest frequencies of a window of a grey thumbnail exceed their median.

    uint8 (N, S, S) → uint64 (N,). The window is where its sides begin and end, in [0, 1]. Of whole thumbnails of
    32 × 32 it is the same number as `int(str(imagehash.phash(thumbnail)), 16)`.
    """
    down, across = (_cosines(thumbnails.shape[1], *ends) for ends in (rows, columns))
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _CHUNK):
        part = slice(start, start + _CHUNK)
        frequencies = (down @ (thumbnails[part] @ across.T)).reshape(-1, 64).round(4)  # of blank ones: 0
        bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
        hashes[part] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def near(hashes: Hashes, views: Hashes, max_distance: int) -> tuple[Ints, Ints, Ints]:
    """All (i, j, v), i ≠ j, for which hashes[i] and views[v, j] differ in at most `max_distance` bits.

    hashes: uint64 (N,). views: uint64 (V, N), of other views of the same pictures. Returns three int64 (M,).

    Without comparing all with all: cut into max_distance + k blocks of bits, two such hashes agree in at least k
    blocks; so for each choice of k blocks, only those are compared that fall into one bucket by them (Manku, Jain and
    Das Sarma, «Detecting near-duplicates for web crawling», WWW 2007).
    """
    if not 0 <= max_distance <= 32:
        raise ValueError(f"max_distance must be in [0, 32] bits, got {max_distance}")
    hashes, views = np.asarray(hashes, np.uint64), np.asarray(views, np.uint64)
    k = _agreeing_blocks(len(hashes), views.size, max_distance)
    count = max_distance + k
    blocks = [np.uint64(sum(1 << bit for bit in range(start, 64, count))) for start in range(count)]

    def found(chosen: tuple[int, ...]) -> Ints:
        # a pair is found where the first k blocks in which it agrees are chosen: once
        passed_over = [blocks[block] for block in range(chosen[-1]) if block not in chosen]
        mask = np.bitwise_or.reduce([blocks[block] for block in chosen])
        return _agreeing(hashes, views, max_distance, mask, passed_over)

    with ThreadPoolExecutor(cores()) as pool:
        parts = list(pool.map(found, combinations(range(count), k)))
    first, second, view = np.concatenate(parts, axis=1)
    return first, second, view


def _agreeing(
    hashes: Hashes, views: Hashes, max_distance: int, mask: np.uint64, passed_over: list[np.uint64]
) -> Ints:
    """The near pairs that agree under the mask, and in none of the blocks that are passed over: (3, M)."""
    width = len(hashes).bit_length() + 1

    def bucket(values: Hashes) -> NDArray[np.int32]:
        return ((values & mask) * _MIXED >> np.uint64(64 - width)).astype(np.int32)

    mine = bucket(hashes)
    order = np.argsort(mine)
    ordered = hashes[order]
    starts = np.zeros(2**width + 1, np.int32)
    np.cumsum(np.bincount(mine, minlength=2**width), out=starts[1:])
    parts = [np.empty((3, 0), np.int64)]
    for v, view in enumerate(views):
        at = bucket(view)
        place, end = starts[at], starts[at + 1]
        second: Ints = np.arange(len(view))
        while True:  # each with the first of its bucket, the second, …
            more = np.flatnonzero(place < end)
            if not len(more):
                break
            place, end, second = place[more], end[more], second[more]
            bits = ordered[place] ^ view[second]
            close = np.flatnonzero(np.bitwise_count(bits) <= max_distance)
            i, j, bits = order[place[close]], second[close], bits[close]
            keep = (i != j) & (bits & mask == 0)  # different ones may share a bucket
            for block in passed_over:
                keep &= bits & block != 0
            parts.append(np.stack([i[keep], j[keep], np.full(int(keep.sum()), v)]))
            place = place + np.int32(1)
    return np.concatenate(parts, axis=1)


def _agreeing_blocks(count: int, views: int, max_distance: int) -> int:
    """The k with the least work: each choice of blocks costs a look at each hash, and one at each pair by chance."""

    def work(k: int) -> float:
        bits = 64 * k / (max_distance + k)
        return math.comb(max_distance + k, k) * (count + views + count * views / 2**bits)

    return min(range(1, 6), key=work)


def _cosines(side: int, begin: float, end: float) -> NDArray[np.float64]:
    """The eight lowest frequencies of a window of `side` values, which is read at as many places: (8, side)."""
    places = (np.arange(side) + 0.5) / side
    at = np.clip((begin + places * (end - begin)) * side - 0.5, 0, side - 1)
    left = np.minimum(at.astype(int), side - 2)
    read = np.zeros((side, side))
    read[np.arange(side), left] = 1 - (at - left)
    read[np.arange(side), left + 1] = at - left
    return np.cos(np.pi * np.arange(8)[:, None] * places) @ read
