"""Hualu 2020: people who call, smoke, do both or neither, in the contest's layout or as `make prepare` left it."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from common.data.edits.unlabelled import PREFIX
from common.data.files.found import images_below, is_data
from common.data.module import ImageData
from common.data.reading.images import read
from common.data.records import class_folders, records
from common.data.spreadsheet import read_csv
from common.errors import PodiumError
from competitions.smoking_calling.prepare import Settings, is_pasted, prepare, prepared_table, source_of
from competitions.smoking_calling.sample import CLASSES, write_sample

PREPARED = Path("data") / "smoking_calling" / "prepared"


class SmokingCallingData(ImageData):
    """Photographs of people, of any size.

    `train/<class>/<file>` or `train/finalall/<class>/<file>`, `test/<file>`; the classes are calling, normal,
    smoking and smoking_calling, and a picture's class is the name of its folder. `source` is a prefix v1_, v2_, …
    of the file's name. Pictures named aug_… were pasted together by others, from what is unknown: they are left out.

    What is trained on is prepared first, once: shrunk, without duplicates, in folds, with pasted pictures. A pasted
    picture is trained on only where both pictures that it is made of are.

    Args:
        prepared: prepare; else train on the pictures as they are.
        pasted: train on the pasted pictures as well.
        orientation: a CSV `id,degrees`: pictures that are turned clockwise by 90, 180 or 270 degrees before use.
            `python -m competitions.smoking_calling.orientation RUN` proposes one.
        shrink: `prepare` shrinks pictures whose sides are both longer, so that the longer side has this length.
        paste: `prepare` pastes that many pictures of each class, never more than the class has.
        others: see ImageData.
    """

    allow_absent_classes = True  # collections of one's own often lack smoking_calling

    def __init__(
        self,
        *,
        prepared: bool = True,
        pasted: bool = True,
        orientation: str | None = None,
        shrink: int = 600,
        paste: dict[str, int] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.prepared = prepared
        self.pasted = pasted
        self.orientation = Path(orientation) if orientation else None
        self.settings = Settings.of(shrink, paste)

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        if not self.prepared:
            table = raw_records(self.root)
            if table["train_only"].any():
                print(f"left out: {table['train_only'].sum()} pasted pictures, made from what is unknown")
                table = table[~table["train_only"]].reset_index(drop=True)
        else:
            table = prepared_table(self.prepare())
            if self.folds == self.settings.folds and not any(self.shares.values()):
                table["part"] = "train"  # these folds fit the run
        if not self.pasted:
            table = table[~table["train_only"]].reset_index(drop=True)
        return self._turned(table), CLASSES

    def test_records(self) -> pd.DataFrame:
        test = self.root / "test"
        if not test.is_dir():
            return super().test_records()
        images = images_below(test)
        return self._turned(records(self.root, images, [-1] * len(images)))

    def _near_duplicates(self, table: pd.DataFrame, rows: np.ndarray) -> pd.Series:
        """As ImageData's; of prepared pictures groups are known, so that only those without labels are compared.

        Pasted pictures are not: they resemble what they are made of.
        """
        if not self.prepared:
            return super()._near_duplicates(table, rows)
        if not table["id"].str.startswith(PREFIX).any():
            return table["group"]
        compared = (table["made_of"] == "").to_numpy()
        found = super()._near_duplicates(table[compared].reset_index(drop=True), rows[compared])
        return table["group"].mask(compared, found.set_axis(table.index[compared]))

    def _members(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """As ImageData's; but what is pasted is trained on only where all that it is made of is, by the same label."""
        members = super()._members(table)
        uncorrected = [
            CLASSES[label] == Path(image).parent.name
            for image, label in zip(table["id"], table["label"], strict=True)
        ]
        trained = {*table["id"][members["train"] & ~table["train_only"] & np.array(uncorrected)], ""}
        whole = [trained.issuperset(sources.split(" ")) for sources in table["made_of"]]
        members["train"] = members["train"] & np.array(whole)
        return members

    @classmethod
    def write_sample(cls, root: Path, seed: int = 0) -> None:
        write_sample(root, seed)

    def prepare(self) -> Path:
        """Shrink, remove duplicates, assign folds and paste; returns the prepared folder. See prepare.py.

        Nothing, and the root, where pictures are trained on as they are.
        """
        if not self.prepared:
            return self.root
        return prepare(self.root, self.prepared_folder, raw_records(self.root), CLASSES, self.settings)

    @property
    def prepared_folder(self) -> Path:
        """Named by the root and the settings, below data/smoking_calling/prepared."""
        key = f"{self.root.resolve()}\n{self.settings}"
        return PREPARED.resolve() / hashlib.sha1(key.encode()).hexdigest()[:12]

    def _turned(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with the paths of upright copies, which are made in the run folder, for the ids listed."""
        if self.orientation is None:
            return table
        degrees = read_orientation(self.orientation)
        if not {*degrees} & {*table["id"]}:
            print(f"{self.orientation} names none of these {len(table)} pictures")
        paths = [
            str(upright(Path(path), degrees[image], self.folder / "upright")) if image in degrees else path
            for image, path in zip(table["id"], table["path"], strict=True)
        ]
        return table.assign(path=paths)


def raw_records(root: Path) -> pd.DataFrame:
    """The contest's layout: the columns of records, `train_only` (bool) and `made_of` (ids, separated by spaces)."""
    train = root / "train" / "finalall" if (root / "train" / "finalall").is_dir() else root / "train"
    table, _ = class_folders(train, CLASSES, base=root, allow_empty=True)
    stray = [path.name for path in train.iterdir() if path.is_file() and is_data(path.name)]
    if stray:
        raise PodiumError(f"{train}: {stray[0]} is in no class folder; expected {train}/<class>/{stray[0]}")
    table["source"] = [source_of(image) for image in table["id"]]
    return table.assign(train_only=[is_pasted(image) for image in table["id"]], made_of="")


def read_orientation(path: Path) -> dict[str, int]:
    """id → degrees of a CSV `id,degrees`. Raises PodiumError, with the line, for anything but 90, 180 and 270."""
    if not path.is_file():
        raise PodiumError(f"data.orientation: there is no file {path}")
    table = read_csv(path, dtype=str, keep_default_na=False)
    if list(table.columns) != ["id", "degrees"]:
        raise PodiumError(f"{path}: line 1 must be «id,degrees», got «{','.join(table.columns)}»")
    for line, (image, degrees) in enumerate(table.itertuples(index=False), start=2):
        if degrees not in ("90", "180", "270"):
            raise PodiumError(f"{path}:{line}: degrees of {image} must be 90, 180 or 270, got «{degrees}»")
    return dict(zip(table["id"], table["degrees"].astype(int), strict=True))


def upright(path: Path, degrees: int, folder: Path) -> Path:
    """A copy in `folder`, turned clockwise by degrees, without loss, and named by what is in it."""
    try:
        name = hashlib.sha1(path.read_bytes() + bytes([degrees // 90])).hexdigest()
    except OSError:
        return path  # the reader says why it cannot be read
    copy = folder / f"{name}.png"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        turned = np.ascontiguousarray(np.rot90(read(path, 3), k=-degrees // 90)[:, :, ::-1])
        partial = copy.with_suffix(".partial")
        partial.write_bytes(cv2.imencode(".png", turned)[1].tobytes())
        partial.replace(copy)
    return copy
