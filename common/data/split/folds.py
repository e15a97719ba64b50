"""Folds and held-out parts: by class, whole groups, the same for the same images in any order.

A group counts for its most frequent label. Chance comes from a hash of (seed, image id), so neither the order
of the table nor the names of the groups matter.
"""

import hashlib
from heapq import heapreplace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.errors import PodiumError

Ints = NDArray[np.int64]

PARTS = ("train", "valid", "choose", "score")


def divide(
    records: pd.DataFrame,
    shares: dict[str, float],
    folds: int | None,
    seed: int,
    known: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The part and, of what is trained on, the fold of each record: columns part, fold; the records' index.

    Of records (columns id, label, group; optionally train_only) each share goes to its part, the rest is «train».
    What is only for training and shares a group with a picture of another part is «unused», so that nothing made
    from a held-out picture is trained on; groups of nothing else are in no fold: all folds train on them.
    fold is in 0..folds-1, -1 outside of «train», for these groups, and where folds is None.

    shares: of valid, choose and score, in [0, 1).
    known: a table (id, part, optionally fold) from an earlier call or of the user's; its images keep their places.
        Raises PodiumError for a part or fold that does not exist.
    """
    part = pd.Series("train", index=records.index, name="part")
    train_only = records["train_only"] if "train_only" in records else pd.Series(False, index=records.index)
    divided = ~train_only.groupby(records["group"]).transform("all")
    if known is not None:
        strange = sorted(set(known["part"]) - {*PARTS, "unused"})
        if strange:
            raise PodiumError(f"part must be one of {', '.join(PARTS)}, got {strange[0]!r}")
    left = 1.0
    for name in reversed(PARTS[1:]):  # score first: the others can then change without touching it
        rest = records[(part == "train") & divided]
        kept = None if known is None else known.assign(part=np.where(known["part"] == name, "valid", "train"))
        share = shares.get(name, 0.0)
        if share or (kept is not None and (kept["part"] == "valid").any()):
            # a share of nothing lets only what is known, and its groups, into the part
            found = split(rest, max(share / left, np.finfo(float).tiny), seed, kept)
            part[rest.index[found == "valid"]] = name
        left -= share
    held_out = (part != "train").groupby(records["group"]).transform("any")  # a given split may part a group
    part[train_only & held_out] = "unused"
    fold = pd.Series(-1, index=records.index, name="fold")
    if folds is not None:
        stored = None
        if known is not None and "fold" in known:
            stored = known[pd.to_numeric(known["fold"]) >= 0]
            divided |= records["id"].isin(stored["id"])
        rows = records[(part == "train") & divided]
        fold[rows.index] = assign(rows, folds, seed, stored)
    return pd.DataFrame({"part": part, "fold": fold})


def assign(records: pd.DataFrame, folds: int, seed: int, known: pd.DataFrame | None = None) -> pd.Series:
    """The fold, 0..folds-1, of each record (columns id, label, group): a Series with the records' index.

    Each class is spread evenly: its image counts in two folds differ by at most its largest group. A class
    with fewer groups than folds is missing in some; which ones keeps the folds of one size.

    known: a table (id, fold) from an earlier call. Its images keep their fold, the others of their group join
    them and new groups even the folds out. Raises PodiumError if it names a fold outside 0..folds-1.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    groups = _Groups(records, seed, known, "fold")
    kept = pd.to_numeric(groups.known).to_numpy(np.float64)  # NaN: a new group
    unknown = np.setdiff1d(kept[~np.isnan(kept)], np.arange(folds)).astype(int).tolist()
    if unknown:
        raise PodiumError(f"known folds must be in 0..{folds - 1}, got {unknown}")
    fold = np.where(np.isnan(kept), -1, kept).astype(np.int64)
    total = np.bincount(fold[fold >= 0], groups.size[fold >= 0], folds).astype(np.int64).tolist()
    for rows in groups.by_class():
        rows = rows[np.argsort(-groups.size[rows], kind="stable")]  # large groups first, small ones fill up
        old, new = rows[fold[rows] >= 0], rows[fold[rows] < 0]
        count = np.bincount(fold[old], groups.size[old], folds).astype(np.int64).tolist()
        heap = sorted((count[f], total[f], f) for f in range(folds))
        chosen = []
        for size in groups.size[new].tolist():
            images, overall, f = heap[0]  # the fold with the fewest images of the class, then with the fewest
            heapreplace(heap, (images + size, overall + size, f))
            chosen.append(f)
        fold[new] = chosen
        for _, overall, f in heap:
            total[f] = overall
    return groups.to_records(fold).astype(np.int64)


def split(records: pd.DataFrame, valid: float, seed: int, known: pd.DataFrame | None = None) -> pd.Series:
    """«train» or «valid» for each record (columns id, label, group): a Series with the records' index.

    valid: share of each class to hold out, in (0, 1). What cannot be held out of one class, because images
    and groups are whole, is made up for in the next, so that the share holds for the whole. A class always
    keeps a group in training; one with a single group has none in validation.

    known: a table (id, part) from an earlier call. Its images keep their part, the others of their group join
    them.
    """
    if not 0 < valid < 1:
        raise ValueError(f"valid must be in (0, 1), got {valid}")
    groups = _Groups(records, seed, known, "part")
    part = groups.known.to_numpy(object, copy=True)
    is_new = groups.known.isna().to_numpy()
    owed = 0.0
    for rows in groups.by_class():
        sizes = groups.size[rows]
        held = int(sizes[part[rows] == "valid"].sum())
        target = valid * int(sizes.sum()) + owed
        new = rows[is_new[rows]]
        to_train = bool((part[rows] == "train").any())
        for i, (row, size) in enumerate(zip(new.tolist(), groups.size[new].tolist(), strict=True)):
            last_for_training = i == len(new) - 1 and not to_train
            if held + size / 2 <= target and not last_for_training:  # closer to the target than without it
                part[row], held = "valid", held + size
            else:
                part[row], to_train = "train", True
        if len(rows) > 1:
            owed = min(max(target - held, -1.0), 1.0)
    return groups.to_records(part)


class _Groups:
    """The groups of a table, in the order of their hashes.

    label, size (images): int64 (G,). known: Series (G,), the value that most of a group's images had, NaN for
    none.
    """

    def __init__(self, records: pd.DataFrame, seed: int, known: pd.DataFrame | None, column: str) -> None:
        if records["id"].duplicated().any():
            raise PodiumError(f"the id {records['id'][records['id'].duplicated()].iloc[0]!r} appears twice")
        codes, _ = pd.factorize(records["group"])
        count = int(codes.max()) + 1 if len(codes) else 0
        hashes = _hashes(records["id"].tolist(), seed)
        first_hash = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(first_hash, codes, hashes)
        order = np.argsort(first_hash, kind="stable")
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        self.index, self.group = records.index, rank[codes]
        self.size = np.bincount(self.group, minlength=count)
        labels = records["label"].reset_index(drop=True)
        self.label = _most_frequent(self.group, labels, count).to_numpy(np.int64)
        self.column = column
        if known is None:
            self.value = pd.Series(index=range(len(records)), dtype=object)
        else:
            known_of = known.drop_duplicates("id").set_index("id")[column]
            self.value = records["id"].map(known_of).reset_index(drop=True)
        self.known = _most_frequent(self.group, self.value, count)

    def by_class(self) -> list[Ints]:
        """The groups of each class, in the order of their hashes; classes in the order of their labels."""
        order = np.argsort(self.label, kind="stable")
        return [rows for rows in np.split(order, np.flatnonzero(np.diff(self.label[order])) + 1) if len(rows)]

    def to_records(self, of_group: NDArray) -> pd.Series:
        """A value for each group → a value for each record; a known record keeps its own."""
        found = pd.Series(of_group[self.group]).where(self.value.isna(), self.value)
        return found.set_axis(self.index).rename(self.column)


def _most_frequent(group: Ints, value: pd.Series, count: int) -> pd.Series:
    """The most frequent value of each group, of several the smallest; NaN where a group has none."""
    frame = pd.DataFrame({"group": group, "value": value}).dropna()
    numbers = frame.groupby(["group", "value"], sort=True).size().reset_index(name="n")
    most = numbers.sort_values("n", ascending=False, kind="stable").drop_duplicates("group")
    return most.set_index("group")["value"].reindex(range(count))


def _hashes(ids: list[str], seed: int) -> NDArray[np.uint64]:
    key = str(seed).encode()
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids)
    return np.frombuffer(digests, np.uint64)
