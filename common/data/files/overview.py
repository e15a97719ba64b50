"""What a data set is, said before it is trained on: its classes, and what in it cannot be right."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.files.digests import digests, is_digest
from common.data.spreadsheet import to_csv
from common.text import printable

SHOWN = 5  # names of classes


def classes(table: pd.DataFrame, class_names: Sequence[str]) -> list[str]:
    """Lines: how many classes there are, some names, and how many pictures they have.

    table: records, see records.py. Pictures that are only for training are not counted.
    """
    whole = table[~table["train_only"]] if "train_only" in table else table
    counts = np.bincount(whole["label"], minlength=len(class_names))
    names = ", ".join(map(printable, class_names[:SHOWN]))
    more = f", … {len(class_names) - SHOWN:,} more" if len(class_names) > SHOWN else ""
    said = [
        f"{len(class_names):,} classes ({names}{more}) of {counts.min():,} to {counts.max():,} pictures, "
        f"median {np.median(counts):,.0f}; {counts.sum():,} in all"
    ]
    if few := [class_names[label] for label in np.flatnonzero(counts == 1)]:
        said.append(
            f"{len(few):,} classes have one picture ({', '.join(map(printable, few[:SHOWN]))}"
            + ", …" * (len(few) > SHOWN)
            + "), which is trained on and never validated: add pictures to them, or take them out"
        )
    return said


def equal_in_classes(table: pd.DataFrame, known: Path | None = None) -> pd.DataFrame:
    """Pictures whose files have equal bytes in more than one class: the rows of the table and `equal`, their number.

    Pictures within larger files, and those that are only for training, are not looked at. known: see `digests`.
    """
    whole = table[~table["train_only"]] if "train_only" in table else table
    found = whole[["id", "path", "label"]].copy()
    found["size"] = [os.path.getsize(path) if os.path.isfile(path) else -1 for path in found["path"]]
    found = _in_two_classes(found[found["size"] >= 0], ["size"])
    found["bytes"] = digests(found["path"].tolist(), known)
    found = _in_two_classes(found[found["bytes"].map(is_digest).astype(bool)], ["bytes"])
    return found.assign(equal=found.groupby("bytes", sort=False).ngroup())[["id", "label", "equal"]]


def list_equal(
    table: pd.DataFrame, class_names: Sequence[str], path: Path, known: Path | None = None
) -> str | None:
    """Write the pictures of `equal_in_classes` (columns id, class, equal) and say so; None where there are none."""
    found = equal_in_classes(table, known)
    if not len(found):
        return None
    named = found.assign(**{"class": [class_names[label] for label in found["label"]]})
    named = named.sort_values(["equal", "id"], kind="stable")
    to_csv(named[["id", "class", "equal"]], path)
    first, second = named["id"].iloc[0], named[named["equal"] == named["equal"].iloc[0]]["id"].iloc[1]
    return (
        f"{found['equal'].nunique():,} pictures stand byte for byte in more than one class, such as "
        f"{printable(first)} and {printable(second)}: one label is wrong. All are in {path}; remove the wrong ones, or "
        "list them in data.corrections"
    )


def _in_two_classes(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return table[table.groupby(by)["label"].transform("nunique") > 1]
