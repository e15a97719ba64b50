"""What is wrong with a list, by name: entries without a file, listed twice, or of two classes."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.text import utf8

Bools = NDArray[np.bool_]


class Report:
    """Findings, one row each: `list` (train, val or tree), `kind`, `what` (image or class), `class_id`, `note`."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []

    def add(self, where: str, kind: str, what: str, class_id: str = "", note: str = "") -> None:
        self.rows.append((where, kind, what, class_id, note))

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["list", "kind", "what", "class_id", "note"], dtype="str")

    def counts(self) -> dict[str, int]:
        """Kind → number of findings, the most frequent first."""
        return dict(Counter(row[1] for row in self.rows).most_common())


def sound(
    table: pd.DataFrame, folder: Path, name: str, spell: Callable[[int], str], report: Report
) -> pd.DataFrame:
    """The entries that can be used, by class and name; all others go into the report.

    Left out are: missing (no file), doubled (the same image and class again), contradictory (one picture with several
    classes: the one in whose folder it lies counts; none, where equal files lie in several). Files that no entry
    names are reported too, as unlisted.

    table: columns image_id, class_id (int64). folder: of the class folders. spell: class → as the contest writes it.
    """
    again = table.duplicated(["class_id", "image_id"]).to_numpy()
    _add(report, name, "doubled", table[again], spell)
    table = table[~again].sort_values(["class_id", "image_id"], ignore_index=True)
    there = _have_files(table, folder, name, spell, report)
    shared = table["image_id"].duplicated(keep=False).to_numpy()  # by entries of several classes
    elsewhere = shared & ~there
    elsewhere[elsewhere] = table["image_id"][elsewhere].isin(table["image_id"][shared & there])
    equal = _equal_files(table, shared & there, folder)
    others = _classes_of(table[shared], spell)
    notes = [f"also listed as {others[image]}; " for image in table["image_id"][elsewhere | equal]]
    lie = np.where(equal, "equal files lie in several", "its file lies elsewhere")[elsewhere | equal]
    _add(
        report,
        name,
        "contradictory",
        table[elsewhere | equal],
        spell,
        [a + b for a, b in zip(notes, lie, strict=True)],
    )
    _add(report, name, "missing", table[~there & ~elsewhere], spell)
    return table[there & ~equal].reset_index(drop=True)


def not_in(
    train: pd.DataFrame, val: pd.DataFrame, root: Path, spell: Callable[[int], str], report: Report
) -> pd.DataFrame:
    """The training entries whose file is not, byte for byte, a validation file of the same name as well."""
    named = train["image_id"].isin(val["image_id"]).to_numpy()
    if not named.any():
        return train
    held = val[val["image_id"].isin(train["image_id"])]
    digests = {(image, _digest(path)) for image, path in _files(held, root / "val")}
    leaked = np.zeros(len(train), bool)
    leaked[named] = [
        (image, _digest(path)) in digests for image, path in _files(train[named], root / "train")
    ]
    _add(report, "train", "in val too", train[leaked], spell)
    return train[~leaked].reset_index(drop=True)


def class_folder(number: int) -> str:
    """00042 for 42."""
    return f"{number:05d}"


def _have_files(
    table: pd.DataFrame, folder: Path, name: str, spell: Callable[[int], str], report: Report
) -> Bools:
    """Whether each entry of a table sorted by class has its file: one listing for each class folder, no more."""
    there = np.zeros(len(table), bool)
    for number, rows in _runs(table["class_id"].to_numpy()):
        files = _file_names(folder / class_folder(number))
        listed = table["image_id"].iloc[rows].tolist()
        there[rows] = [image in files for image in listed]
        if strangers := files.difference(listed):
            note = f"{len(strangers)} files that no entry names, the first is {min(strangers)}"
            report.add(name, "unlisted", class_folder(number), spell(number), note)
    return there


def _runs(values: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Each value of a sorted array with the slice where it stands."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    ends = np.append(starts[1:], len(values))[: len(starts)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield int(values[start]), slice(start, end)


def _file_names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as found:
            return {utf8(entry.name) for entry in found if not entry.name.startswith(".")}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _equal_files(table: pd.DataFrame, asked: Bools, folder: Path) -> Bools:
    """Which of the rows asked for have the same name and the same bytes as another of them."""
    equal = np.zeros(len(table), bool)
    rows = np.flatnonzero(asked)
    keys = [(image, _digest(path)) for image, path in _files(table.iloc[rows], folder)]
    often = Counter(keys)
    equal[rows] = [often[key] > 1 for key in keys]
    return equal


def _files(table: pd.DataFrame, folder: Path) -> Iterator[tuple[str, Path]]:
    for image, number in zip(table["image_id"], table["class_id"], strict=True):
        yield image, folder / class_folder(number) / image


def _digest(path: Path) -> str:
    try:
        return hashlib.sha1(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)  # equal to no other; reading the pictures says why


def _classes_of(table: pd.DataFrame, spell: Callable[[int], str]) -> dict[str, str]:
    """Image → all its classes."""
    grouped = table.groupby("image_id")["class_id"]
    return {image: " and ".join(map(spell, sorted(set(numbers)))) for image, numbers in grouped}


def _add(
    report: Report,
    name: str,
    kind: str,
    table: pd.DataFrame,
    spell: Callable[[int], str],
    notes: Sequence[str] = (),
) -> None:
    for row, (image, number) in enumerate(zip(table["image_id"], table["class_id"], strict=True)):
        report.add(name, kind, image, spell(number), notes[row] if notes else "")
