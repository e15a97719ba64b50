"""Near-duplicates: pictures of one original, which must stay on one side of a split.

Candidates come from a 64-bit perceptual hash; the correlation of thumbnails confirms them. The hash alone is
not enough: on brush-written characters, 10 % of the pairs within 8 bits were different characters, none of
those that also correlate by 0.95.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from common.data.images import Image, fit

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

_SIDE = 32  # of the thumbnails
_CHUNK = 65_536


def near_duplicate_groups(
    images: Iterable[Image], max_distance: int = 8, min_correlation: float = 0.95
) -> list[int]:
    """The group of each image, 0, 1, … in order of first appearance: near-duplicates, and theirs, share one.

    images: uint8 (H, W, C) of any sizes; kept are only thumbnails, 1 KiB each.
    max_distance: differing bits of the hash up to which a pair is looked at.
    min_correlation: of the thumbnails' greys, from which a pair counts.
    """
    seen: dict[bytes, int] = {}
    copy_of = [seen.setdefault(_thumbnail(image).tobytes(), len(seen)) for image in images]
    distinct = np.frombuffer(b"".join(seen), np.uint8).reshape(-1, _SIDE, _SIDE)
    first, second = pairs(_hash(distinct), max_distance)
    similar = _correlation(distinct, first, second) >= min_correlation
    found = _components(first[similar], second[similar], len(distinct))
    return _by_first_appearance(found[copy_of]).tolist()


def joined(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[int]:
    """Groups of images that share a group by either table, directly or through others: 0, 1, … by appearance."""
    columns = [pd.factorize(pd.Series(list(table)))[0] for table in (first, second)]
    count = len(columns[0])
    # images and the groups of both tables are nodes, memberships are edges
    offset = columns[0].max(initial=-1) + 1 + count
    nodes = np.concatenate([columns[0] + count, columns[1] + offset])
    found = _components(np.tile(np.arange(count), 2), nodes, int(nodes.max(initial=-1)) + 1)
    return _by_first_appearance(found[:count]).tolist()


def pairs(hashes: Hashes, max_distance: int) -> tuple[Ints, Ints]:
    """All pairs i < j with at most `max_distance` differing bits: uint64 (N,) → two int64 (M,).

    Without comparing all with all: cut into max_distance + k blocks of bits, two such hashes agree in at
    least k blocks; so for each choice of k blocks, sort by them and compare only neighbours that agree
    (Manku, Jain and Das Sarma, «Detecting near-duplicates for web crawling», WWW 2007).
    """
    if not 0 <= max_distance <= 32:
        raise ValueError(f"max_distance must be in [0, 32] bits, got {max_distance}")
    hashes = np.asarray(hashes, np.uint64)
    k = _agreeing_blocks(len(hashes), max_distance)
    count = max_distance + k
    blocks = [sum(1 << bit for bit in range(start, 64, count)) for start in range(count)]
    found = np.empty(0, np.int64)
    for chosen in combinations(blocks, k):
        near = list(_near_neighbours(hashes, np.uint64(sum(chosen)), max_distance))
        found = np.unique(np.concatenate([found, *near]))
    return found // max(1, len(hashes)), found % max(1, len(hashes))


def _near_neighbours(hashes: Hashes, mask: np.uint64, max_distance: int) -> Iterable[Ints]:
    """Pairs i < j, as i · N + j, that agree under the mask and differ in at most `max_distance` bits."""
    order = np.argsort(hashes & mask)
    sorted_hashes = hashes[order]
    keys = sorted_hashes & mask
    at: Ints = np.arange(len(keys))
    step = 0
    while len(at):  # the pairs 1, 2, … places apart, as far as runs of equal keys reach
        step += 1
        at = at[: np.searchsorted(at, len(keys) - step)]
        at = at[keys[at] == keys[at + step]]
        near = at[np.bitwise_count(sorted_hashes[at] ^ sorted_hashes[at + step]) <= max_distance]
        i, j = order[near], order[near + step]
        yield np.minimum(i, j) * len(hashes) + np.maximum(i, j)


def _agreeing_blocks(count: int, max_distance: int) -> int:
    """The k with the least work: each choice of blocks costs a sort, and the pairs that agree by chance."""

    def work(k: int) -> float:
        bits = 64 * k / (max_distance + k)
        return math.comb(max_distance + k, k) * (20 * count + count**2 / 2**bits)

    return min(range(1, 6), key=work)


def _thumbnail(image: Image) -> NDArray[np.uint8]:
    grey = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return fit(np.asarray(grey, np.uint8), (_SIDE, _SIDE))[:, :, 0]


def _hash(thumbnails: NDArray[np.uint8]) -> Hashes:
    """64 bits: which of the 8 × 8 lowest frequencies of a grey thumbnail exceed their median.

    uint8 (N, 32, 32) → uint64 (N,). Of one thumbnail the same number as `int(str(imagehash.phash(thumbnail)), 16)`.
    """
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _CHUNK):
        part = slice(start, start + _CHUNK)
        frequencies = dctn(thumbnails[part].astype(np.float64), axes=(1, 2))[:, :8, :8].reshape(-1, 64)
        bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
        hashes[part] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def _correlation(thumbnails: NDArray[np.uint8], first: Ints, second: Ints) -> NDArray[np.float64]:
    """Pearson's correlation of thumbnails (N, 32, 32) for each pair; pictures of one grey correlate by 1."""
    correlation = np.empty(len(first))
    for start in range(0, len(first), _CHUNK // 16):
        part = slice(start, start + _CHUNK // 16)
        a, b = (_standardised(thumbnails[rows[part]]) for rows in (first, second))
        correlation[part] = (a * b).sum(1)
    return correlation


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    values -= values.mean(1, keepdims=True)
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    values[norm[:, 0] == 0] = 1
    norm[norm == 0] = math.sqrt(values.shape[1])
    return values / norm


def _components(first: Ints, second: Ints, count: int) -> Ints:
    if not count:
        return np.empty(0, np.int64)
    edges = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int64)


def _by_first_appearance(labels: Ints) -> Ints:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
