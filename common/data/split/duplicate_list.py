"""The near-duplicates of a data set as a list for people: `near_duplicates.csv`."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.spreadsheet import read_csv, to_csv

COLUMNS = ["group", "id", "class", "other", "other_class", "similarity", "kind"]


def pair_list(pairs: pd.DataFrame, groups: list[int], ids: list[str], classes: list[str]) -> pd.DataFrame:
    """COLUMNS, a row for a pair: pairs of two classes first, then by similarity, in [-1, 1], the largest first.

    Of pairs of one class only the most similar of each picture are listed: a film has millions.

    pairs, groups: of `find_near_duplicates`. ids, classes: of each picture.
    """
    class_of = np.array(classes, object)
    pairs = pairs.sort_values("correlation", ascending=False, kind="stable")
    ends = pairs[["first", "second"]].to_numpy()
    new = ~pd.Series(ends.ravel()).duplicated().to_numpy().reshape(
        -1, 2
    )  # the first time that a picture comes
    two_classes = class_of[ends[:, 0]] != class_of[ends[:, 1]]
    pairs = pairs[new.any(axis=1) | two_classes]
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    rows = pd.DataFrame(
        {
            "group": [groups[i] for i in first],
            "id": [ids[i] for i in first],
            "class": [classes[i] for i in first],
            "other": [ids[i] for i in second],
            "other_class": [classes[i] for i in second],
            "similarity": pairs["correlation"].round(4),
            "kind": pairs["kind"],
        },
        columns=COLUMNS,
    )
    rows["same_class"] = rows["class"] == rows["other_class"]
    rows = rows.sort_values(["same_class", "similarity", "id", "other"], ascending=[True, False, True, True])
    return rows[COLUMNS].reset_index(drop=True)


def write_near_duplicates(rows: pd.DataFrame, path: Path) -> str:
    """Write what `pair_list` has made; returns what there is to say about it, a line."""
    to_csv(rows, path, str(os.getpid()))  # jobs side by side write it at a time
    ends = pd.concat(
        [
            rows[["group", "id", "class"]],
            rows[["group", "other", "other_class"]].set_axis(["group", "id", "class"], axis=1),
        ]
    )
    mixed = int((ends.groupby("group")["class"].nunique() > 1).sum())
    return (
        f"near-duplicates: {ends['group'].nunique()} groups of {ends['id'].nunique()} pictures, "
        f"{mixed} of them with more than one class; see {path}"
    )


def read_near_duplicates(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(("id", "class", "other", "other_class", "kind"), str)
    return read_csv(path, dtype=text, keep_default_na=False)
