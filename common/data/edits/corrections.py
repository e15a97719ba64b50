"""Corrections: labels that a person has looked at, kept in a list beside the data, which stay as they came."""

from pathlib import Path

import pandas as pd

from common.config.nearest import suggest
from common.data.spreadsheet import read_csv
from common.errors import PodiumError


def read_corrections(path: Path) -> pd.DataFrame:
    """The list, text, at least the columns id and class. Raises PodiumError if there is no such file or column."""
    if not path.is_file():
        raise PodiumError(f"data.corrections: there is no file {path}")
    found = read_csv(path, dtype=str, keep_default_na=False)
    for column in ("id", "class"):
        if column not in found:
            raise PodiumError(f"{path}: column {column} is missing; there are {', '.join(found.columns)}")
    return found


def apply_corrections(table: pd.DataFrame, class_names: list[str], path: Path) -> pd.DataFrame:
    """Records with the labels of a list.

    Args:
        table: records, see common/data/records.py.
        class_names: index = label.
        path: CSV with columns id and class; an empty class leaves the image out. Further columns are for people.

    Raises:
        PodiumError: no such file or columns, an image twice or not in the table, a class that does not exist.
    """
    found = read_corrections(path)
    known = set(table["id"])
    for line, (image, name) in enumerate(zip(found["id"], found["class"], strict=True), start=2):
        if name and name not in class_names:
            raise PodiumError(f"{path} line {line}: «{name}» is no class{suggest(name, class_names)}")
        if image not in known:
            raise PodiumError(f"{path} line {line}: the data set has no image {image}")
    doubled = found["id"][found["id"].duplicated()]
    if len(doubled):
        raise PodiumError(f"{path}: {doubled.iloc[0]} stands there twice")
    label_of = {name: label for label, name in enumerate(class_names)}
    corrected = found[found["class"] != ""].set_index("id")["class"].map(label_of)
    label = table["id"].map(corrected).fillna(table["label"]).astype("int64")
    left_out = set(found.loc[found["class"] == "", "id"])
    return table.assign(label=label)[~table["id"].isin(left_out)].reset_index(drop=True)
