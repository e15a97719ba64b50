"""Which training images are believed: two rules that make a list with reasons of what a model says of each image.

They take a table with the columns id, class, label, predicted (int64), predicted_class, probability (of what is
predicted) and own (that of the label), and return the columns id, class, kept, reason, repeat; see
common/data/edits/kept_list.py.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from common.data.spreadsheet import read_csv
from common.errors import PodiumError

COLUMNS = ["id", "class", "kept", "reason", "repeat"]
GOOD_CLASS = 0.92  # accuracy from which the original keeps a class whole
SMALL_CLASS = 10  # images to which it expands what is left of a class
LEAST_THRESHOLD, ROUNDING = 2e-6, 1e-6  # as in cleanlab


def by_confident_learning(table: pd.DataFrame) -> pd.DataFrame:
    """The list by predictions of models that have not seen the image; the best believed image of a class stays.

    table: columns id, class, predicted_class, label, predicted, probability, own.
    """
    labels, own = table["label"].to_numpy(), table["own"].to_numpy()
    doubted = doubtful(labels, table["predicted"].to_numpy(), table["probability"].to_numpy(), own)
    hopeless = _classes_without(~doubted, labels)
    best = table.assign(own=own)[np.isin(labels, hopeless)].sort_values("own", ascending=False, kind="stable")
    best = best.drop_duplicates("label").index
    reason = np.where(doubted, _said(table) + ", its own class " + _rounded(table["own"]), "believed")
    reason[best] = "the best believed image of a class of which none is"
    kept = ~doubted
    kept[best] = True
    return _list(table, kept, reason, kept.astype(np.int64))


def doubtful(
    labels: np.ndarray, predicted: np.ndarray, probability: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Confident learning, bool (N,): labels that are probably wrong (Northcutt, Jiang and Chuang 2021).

    A label is confidently wrong if another class is the most probable, and as probable as it is on average for the
    images that carry it. As many images as are so are doubted: those whose own class is the least probable, unless it
    is the most probable nevertheless. This is cleanlab's filter «low_self_confidence» as its LabelInspector has it.

    labels, predicted: int64 (N,). probability, own: float (N,), of the class predicted and of the label.
    """
    size = int(max(labels.max(initial=0), predicted.max(initial=0))) + 1
    images = np.bincount(labels, minlength=size)
    typical = np.bincount(labels, own, size) / images.clip(1)
    confident = probability >= typical.clip(LEAST_THRESHOLD)[predicted] - ROUNDING
    count = int(((predicted != labels) & confident).sum())
    found = np.zeros(len(labels), bool)
    found[np.argsort(own, kind="stable")[:count]] = True
    return found & (predicted != labels)


def by_accuracy(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The list by the rule of the contest entry's second round, from a model's predictions of what it trained on.

    A class at least 92 % right stays whole. Of others what is predicted wrong goes; if nothing is left, one image by
    chance stays. What is left of a class with at most 10 is repeated until there are 10.

    table: as above. seed: of chance.
    """
    labels = table["label"].to_numpy()
    right = table["predicted"].to_numpy() == labels
    images = np.bincount(labels).clip(1)
    good = (np.bincount(labels, right) / images >= GOOD_CLASS)[labels]
    kept = right | good
    reason = np.where(right, "predicted right", np.where(good, "its class is predicted right", _said(table)))
    lost = np.flatnonzero(np.isin(labels, _classes_without(kept, labels)))
    for label, rows in pd.Series(lost).groupby(labels[lost]):
        chance = np.random.Generator(np.random.Philox(key=[seed, int(label)]))
        one = rows.iloc[chance.integers(len(rows))]
        kept[one], reason[one] = True, "by chance: no image of its class is predicted right"
    left = np.bincount(labels, kept)[labels].astype(np.int64)
    place = (
        pd.Series(kept.astype(np.int64)).groupby(labels).cumsum().to_numpy() - 1
    )  # among those left of its class
    each, more = np.divmod(SMALL_CLASS, left.clip(1))
    repeat = np.where(left <= SMALL_CLASS, each + (place < more), 1)
    return _list(table, kept, reason, np.where(kept, repeat, 0))


def only_stable(found: pd.DataFrame, path: Path, least: float) -> pd.DataFrame:
    """The list without classes that score less.

    path: CSV with columns class and score (or recall) in [0, 1], such as the `class_scores.csv` of `evaluate`. A class
    that it does not have, or without a score, stays.
    """
    scores = read_csv(
        path, dtype={"class": str}, keep_default_na=False, na_values={"score": [""], "recall": [""]}
    )
    column = next((name for name in ("score", "recall") if name in scores), None)
    if column is None or "class" not in scores:
        raise PodiumError(f"{path}: expected columns class and score; there are {', '.join(scores.columns)}")
    score = found["class"].map(scores.drop_duplicates("class").set_index("class")[column]).astype(float)
    low = (score < least).to_numpy()
    reason = "its class scores " + _rounded(score) + f", below {least:g}"
    return found.assign(
        kept=found["kept"] & ~low,
        reason=np.where(low, reason, found["reason"]),
        repeat=found["repeat"].where(~low, 0),
    )


def _said(table: pd.DataFrame) -> np.ndarray:
    return (
        "predicted as «" + table["predicted_class"].to_numpy(object) + "» " + _rounded(table["probability"])
    )


def _rounded(values: pd.Series) -> np.ndarray:
    return np.array([f"{value:.3f}" for value in values], dtype=object)


def _classes_without(kept: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labels of which no image is kept."""
    return np.setdiff1d(labels, labels[kept])


def _list(table: pd.DataFrame, kept: np.ndarray, reason: np.ndarray, repeat: np.ndarray) -> pd.DataFrame:
    return table[["id", "class"]].assign(kept=kept, reason=reason, repeat=repeat)[COLUMNS]
