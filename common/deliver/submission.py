"""Submissions: the file that a contest scores, and the check that it is one."""

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from common.data.spreadsheet import escape, unescape
from common.errors import PodiumError

Rows = Iterable[tuple[str, np.ndarray]]  # (image id, probabilities float (K,))


class Submission(Protocol):
    """How a competition writes and checks its predictions.

    Where a competition's pictures are not one a file, it may also have `pictures(source: Path)`: ids and paths of those
    of INPUT, in order; see common/data/reading/raw.py.
    """

    suffix: str  # of the file, with its dot

    def write(self, path: Path, rows: Rows, class_names: list[str]) -> int:
        """Write one row an image as it comes; returns how many."""
        ...

    def validate(self, path: Path, ids: list[str], class_names: list[str]) -> list[str]:
        """What is wrong with the file, in words, most basic first; empty if nothing is. `ids`: the images, in order."""
        ...


def faulty_names(names: list[str], expected: list[str]) -> list[str]:
    """What is wrong with the images that a file names, in words: each must be there once; order does not count."""
    faults = []
    if missing := set(expected) - set(names):
        faults.append(f"{len(missing)} images are missing, the first is {min(missing)}")
    if unknown := set(names) - set(expected):
        faults.append(f"{len(unknown)} images are unknown, the first is {min(unknown)}")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        faults.append(f"{doubled[0]} stands in the file more than once")
    return faults


class TopK:
    """CSV `filename,label`: the names of the k best classes, best first.

    Args:
        k: classes a row, ≥ 1.
        separator: between them.
        bare_name: write the file's name without its folders.
    """

    suffix = ".csv"
    header: tuple[str, ...] = ("filename", "label")

    def __init__(self, k: int = 1, separator: str = " ", bare_name: bool = False) -> None:
        if k < 1:
            raise PodiumError(f"submission.k must be at least 1, got {k}")
        self.k = k
        self.separator = separator
        self.bare_name = bare_name

    def write(self, path: Path, rows: Rows, class_names: list[str]) -> int:
        count = 0
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerow(self.header)
            for image, probabilities in rows:
                best = np.argsort(-probabilities, kind="stable")[: self.k]
                label = self.separator.join(class_names[label] for label in best)
                cells = [self._cell(text) for text in (*self.names(image), label)]
                lone_return = any("\r" in cell for cell in cells)  # it ends a line where it is not quoted
                (quoting if lone_return else writer).writerow(cells)
                count += 1
        return count

    def validate(self, path: Path, ids: list[str], class_names: list[str]) -> list[str]:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [[self._text(cell) for cell in row] for row in csv.reader(file)]
        except UnicodeDecodeError as error:
            return [f"not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"]
        except OSError as error:
            return [f"cannot be read: {error.strerror}"]
        if not rows or tuple(rows[0]) != self.header:
            return [f"line 1 must be «{','.join(self.header)}», got «{','.join(rows[0]) if rows else ''}»"]
        faults = [
            f"line {n}: expected {len(self.header)} columns, got {len(row)}"
            for n, row in enumerate(rows[1:], 2)
            if len(row) != len(self.header)
        ]
        if faults:
            return faults
        return self._faulty_names(rows[1:], ids) + self._faulty_labels(rows[1:], class_names)

    def _faulty_names(self, rows: list[list[str]], ids: list[str]) -> list[str]:
        expected = [",".join(self.names(image)) for image in ids]
        names = [",".join(row[:-1]) for row in rows]
        faults = faulty_names(names, expected)
        if not faults and names != expected:
            line = next(
                number for number, (a, b) in enumerate(zip(names, expected, strict=True), 2) if a != b
            )
            faults.append(f"line {line}: wrong order, expected {expected[line - 2]}")
        return faults

    def _faulty_labels(self, rows: list[list[str]], class_names: list[str]) -> list[str]:
        known = set(class_names)
        wanted = min(self.k, len(class_names))
        faults = []
        for line, (*_, label) in enumerate(rows, start=2):
            labels = (
                [label] if wanted == 1 else label.split(self.separator) if self.separator else list(label)
            )
            unknown = [name for name in labels if name not in known]
            if unknown:
                faults.append(f"line {line}: «{unknown[0]}» is no known class")
            elif len(labels) != wanted:
                faults.append(f"line {line}: expected {wanted} classes, got {len(labels)}")
            elif len(set(labels)) < len(labels):
                faults.append(f"line {line}: a class stands there twice")
        return faults

    def names(self, image: str) -> list[str]:
        """What stands before the label: all columns of the header but the last."""
        return [self._name(image)]

    def _name(self, image: str) -> str:
        return image.rsplit("/", 1)[-1] if self.bare_name else image

    def _cell(self, text: str) -> str:
        return text

    def _text(self, cell: str) -> str:
        return cell


class Labels(TopK):
    """What `TopK` writes, as people open it: for a folder of one's own, of which no contest says how it is to be.

    See common/data/spreadsheet.py.
    """

    def _cell(self, text: str) -> str:
        return escape(text)

    def _text(self, cell: str) -> str:
        return unescape(cell)
