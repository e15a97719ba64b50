"""Near-duplicates: pictures of one original, which must stay on one side of a split.

Copies that were resized, compressed or changed in light, crops and, where asked for, mirrored and turned ones. The
perceptual hash of each picture is compared with those of windows of all others, and of all others mirrored and turned;
what is within some bits is confirmed by the correlation of thumbnails. The hash alone is not enough: on brush-written
characters, 10 % of the pairs within 8 bits were different characters, none of those that also correlate by 0.95.
"""

from collections.abc import Hashable, Iterable, Sequence
from itertools import product

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from common.data.reading.images import Image, fit
from common.data.split import alignment
from common.data.split.alignment import Thumbnails
from common.data.split.hashes import Ints, hashed, near

KINDS = ("same", "crop", "mirror", "turn")
_SIDE = 48  # of the thumbnails that are kept
_ENDS = (
    (0, 92),
    (1, 99),
    (5, 95),
    (8, 100),
)  # of the windows that are hashed, along either side, in hundredths
_WINDOWS = list(product(_ENDS, _ENDS))
_TURNS = [(False, 1), (False, 2), *product([True], range(4))]  # mirrored, and by how many quarters; 3 undo 1
_SPOKESMEN = 8  # pictures of a group of the kind same that are compared further: films have thousands
_NEARER = 2  # bits: views are many, and more of them are near by chance
_WORTH = 0.5  # correlation of a window before it is aligned; with less it hardly reaches what counts


def near_duplicate_groups(
    images: Iterable[Image], max_distance: int = 8, min_correlation: float = 0.95, *, turned: bool = False
) -> list[int]:
    """The group of each image, as `find_near_duplicates` finds them."""
    return find_near_duplicates(images, max_distance, min_correlation, turned=turned)[0]


def find_near_duplicates(
    images: Iterable[Image], max_distance: int = 8, min_correlation: float = 0.95, *, turned: bool = False
) -> tuple[list[int], pd.DataFrame]:
    """The group of each image, 0, 1, … in order of first appearance, and the pairs that make the groups.

    images: uint8 (H, W, C) of any sizes; kept are only thumbnails of 2.3 kB, and hashes.
    max_distance: differing bits of the hash up to which a pair is looked at.
    min_correlation: of the thumbnails' greys, from which a pair counts.
    turned: whether mirrored and turned pictures (by 90, 180 or 270 degrees) are copies. Characters' are not.

    Near-duplicates, and theirs, share a group. The pairs have the columns first < second (numbers of images),
    correlation and kind: same, crop, mirror (turned or not) or turn. Pictures that are in one group by pairs of the
    kind same are not compared with each other again, and only some of a large one with other pictures.
    """
    seen: dict[bytes, int] = {}
    copy_of = np.array([seen.setdefault(_thumbnail(each).tobytes(), len(seen)) for each in images], np.int64)
    distinct = sorted(seen)  # so that nothing depends on the order of the images
    copy_of = np.argsort([seen[each] for each in distinct]).astype(np.int64)[copy_of]
    thumbnails = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, _SIDE, _SIDE)
    found = _pairs(thumbnails, max_distance, min_correlation, turned)
    groups = _components(found["first"].to_numpy(), found["second"].to_numpy(), len(thumbnails))[copy_of]
    original = np.unique(copy_of, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(copy_of)), original)
    exact = pd.DataFrame(
        {"first": original[copy_of[again]], "second": again, "correlation": 1.0, "kind": "same"}
    )
    ends = np.sort(original[found[["first", "second"]].to_numpy(np.int64)], axis=1)
    found = found.assign(first=ends[:, 0], second=ends[:, 1])
    pairs = pd.concat([exact, found], ignore_index=True).astype({"first": "int64", "second": "int64"})
    return _by_first_appearance(groups).tolist(), pairs.sort_values(["first", "second"], ignore_index=True)


def _pairs(thumbnails: Thumbnails, max_distance: int, min_correlation: float, turned: bool) -> pd.DataFrame:
    """The pairs of different thumbnails; see find_near_duplicates."""
    small = alignment.resized(thumbnails)
    whole = hashed(small)
    tables = []
    rows: Ints = np.arange(len(small))

    def add(first: Ints, second: Ints, values: np.ndarray, kind: str) -> None:
        table = pd.DataFrame(
            {"first": rows[first], "second": rows[second], "correlation": values.astype(float), "kind": kind}
        )
        tables.append(table[values >= min_correlation])

    first, second, _ = near(whole, whole[None], max_distance)
    once = first < second
    first, second = first[once], second[once]
    add(first, second, alignment.correlation(small, small, first, second), "same")
    group = _components(tables[0]["first"].to_numpy(), tables[0]["second"].to_numpy(), len(small))

    rows = np.flatnonzero(pd.Series(group).groupby(group).cumcount() < _SPOKESMEN)
    thumbnails, small, whole, group = thumbnails[rows], small[rows], whole[rows], group[rows]
    turns = _TURNS if turned else []
    windows = [hashed(small, *[(begin / 100, end / 100) for begin, end in window]) for window in _WINDOWS]
    views = np.stack([*windows, *(hashed(_turned(small, *turn)) for turn in turns)])
    first, second, view = near(whole, views, max(0, max_distance - _NEARER))
    apart = group[first] != group[second]
    first, second, view = first[apart], second[apart], view[apart]
    for number, turn in enumerate(turns, start=len(_WINDOWS)):
        a, b = first[view == number], second[view == number]
        values = alignment.correlation(small, _turned(small, *turn), a, b)
        add(a, b, values, "mirror" if turn[0] else "turn")
    a, b, view = (values[view < len(_WINDOWS)] for values in (first, second, view))
    begin = np.array([[alignment.WINDOWS.index(ends) for ends in window] for window in _WINDOWS])[view]
    add(a, b, alignment.aligned_correlation(thumbnails, a, b, begin, _WORTH), "crop")
    return _undirected(pd.concat(tables, ignore_index=True))


def _undirected(pairs: pd.DataFrame) -> pd.DataFrame:
    """Of each pair, whichever came first, the row with the largest correlation."""
    ends = np.sort(pairs[["first", "second"]].to_numpy(), axis=1)
    pairs = pairs.assign(first=ends[:, 0], second=ends[:, 1], rank=pairs["kind"].map(KINDS.index))
    pairs = pairs.sort_values(["first", "second", "correlation", "rank"], ascending=[True, True, False, True])
    return pairs.drop_duplicates(["first", "second"]).drop(columns="rank")


def _turned(thumbnails: Thumbnails, mirrored: bool, quarters: int) -> Thumbnails:
    return np.rot90(thumbnails[:, :, ::-1] if mirrored else thumbnails, quarters, axes=(1, 2))


def _thumbnail(image: Image) -> Thumbnails:
    grey = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return fit(np.asarray(grey, np.uint8), (_SIDE, _SIDE))[:, :, 0]


def joined(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[int]:
    """Groups of images that share a group by either table, directly or through others: 0, 1, … by appearance."""
    columns = [pd.factorize(pd.Series(list(table)))[0] for table in (first, second)]
    count = len(columns[0])
    # images and the groups of both tables are nodes, memberships are edges
    offset = columns[0].max(initial=-1) + 1 + count
    nodes = np.concatenate([columns[0] + count, columns[1] + offset])
    found = _components(np.tile(np.arange(count), 2), nodes, int(nodes.max(initial=-1)) + 1)
    return _by_first_appearance(found[:count]).tolist()


def _components(first: Ints, second: Ints, count: int) -> Ints:
    if not count:
        return np.empty(0, np.int64)
    edges = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int64)


def _by_first_appearance(labels: Ints) -> Ints:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
