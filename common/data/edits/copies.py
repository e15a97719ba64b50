"""Balancing on disk: changed copies of the pictures of small classes, made once, before training.

    <folder>/ab/ab34…f0.jpg    a copy
    <folder>/manifest.csv      id, copy_of, label, file: the copies of the data set that was balanced last

A copy is named by the hash of all that it is made from: the picture's bytes, the steps, the seed, the channels and its
number; its random numbers come from that name. So making goes on where it was killed, pictures
that changed are copied anew, and those of an earlier setting are found again. Copies are for training only, and a job
trains on one only where it trains on the picture itself: see `placed`. What is held out has copies too, which lie there
unused, so that folds and stages share one set.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from common.activity import Activity
from common.data.reading.attempts import THREADS
from common.data.reading.images import Image, ImageError
from common.data.spreadsheet import to_csv
from common.errors import PodiumError
from common.files import written

AHEAD = 32  # pictures that are read while others are copied
QUALITY = 95  # of the JPEGs


class Copies:
    """Copies of pictures, as many as bring each class up to a number of images.

    All pictures of a class have as many copies, or one more.

    Args:
        views: steps that change a picture, as in `views.image`; see common/data/augmentation/image_views.py.
        per_class: images of a class with its copies, ≥ 1; None: as many as the largest class has. Classes that have
            more keep them.
    """

    def __init__(self, views: Sequence[Any], per_class: int | None = None) -> None:
        if not views:
            raise PodiumError(
                "data.copies.views is empty: copies would be the pictures themselves, for which data.sampling=balanced "
                "needs no disk"
            )
        if per_class is not None and per_class < 1:
            raise PodiumError(f"data.copies.per_class must be at least 1 or null, got {per_class}")
        from common.data.augmentation.image_views import (
            ImageViews,  # only recipes that use imgaug pay for its import
        )

        self.steps = json.dumps(views)
        self.view = ImageViews(views)
        self.per_class = per_class

    def make(
        self,
        table: pd.DataFrame,
        keys: np.ndarray,
        picture: Callable[[int], Image],
        folder: Path,
        seed: int,
        channels: int,
    ) -> pd.DataFrame:
        """The copies' records, with a column `copy_of`; those that are not on disk are made first.

        Args:
            table: records, see common/data/records.py.
            keys: bytes (N,), others once a picture may be another.
            picture: reads that of a row, uint8 (H, W, channels). Raises ImageError if it cannot: it has no copies then.
            folder: where they are kept.
            seed: of the views.
        """
        wanted = [
            (row, number)
            for row, count in enumerate(copies_of_each(table, self.per_class))
            for number in range(count)
        ]
        paths = [folder / self._name(keys[row], number, seed, channels) for row, number in wanted]
        try:
            unread = self._write([row for row, _ in wanted], paths, picture, folder)
            rows = [place for place, (row, _) in enumerate(wanted) if row not in unread]
            found = table.iloc[[wanted[place][0] for place in rows]].reset_index(drop=True)
            made = found.assign(
                copy_of=found["id"],
                id=[
                    f"copies/{image}/{wanted[place][1]}"
                    for place, image in zip(rows, found["id"], strict=True)
                ],
                path=[str(paths[place]) for place in rows],
                source="copy",
                train_only=True,
            )
            _list(made, folder)
        except OSError as error:
            raise PodiumError(f"{folder} cannot be written to: {error.strerror or error}") from error
        return made

    def _name(self, key: bytes, number: int, seed: int, channels: int) -> str:
        said = f"{bytes(key).decode()}\n{self.steps}\n{seed}\n{number}\n{channels}"
        name = hashlib.blake2b(said.encode(), digest_size=12).hexdigest()
        return f"{name[:2]}/{name}.jpg"

    def _write(
        self, rows: list[int], paths: list[Path], picture: Callable[[int], Image], folder: Path
    ) -> set[int]:
        """Make the files that are missing, each a copy of its row; returns the rows whose picture cannot be read."""
        there = {path for path in folder.glob("*/*.jpg") if path.stat().st_size}  # empty: after a power cut
        missing: dict[int, list[Path]] = {}
        for row, path in zip(rows, paths, strict=True):
            if path not in there:
                missing.setdefault(row, []).append(path)
                path.parent.mkdir(parents=True, exist_ok=True)
        unread = set()
        with Activity("making copies", sum(map(len, missing.values()))) as counter:
            for row, found in _read(list(missing), picture):
                if isinstance(found, ImageError):  # whoever decodes the table says so
                    unread.add(row)
                    continue
                for path in missing[row]:
                    _write_jpeg(path, self.view(found, int(path.stem[:15], 16)))
                    counter.done += 1
        if missing:
            print(f"copies: {counter.done:,} pictures made in {folder}", flush=True)
        return unread


def copies_of_each(table: pd.DataFrame, per_class: int | None = None) -> list[int]:
    """How many copies each record gets, so that each class has `per_class` images, or as many as the largest.

    Which of a class's pictures have one more goes by the hash of their ids, so not by their order.
    """
    labels = table["label"].to_numpy()
    counts = np.bincount(labels[labels >= 0])
    target = int(counts.max(initial=0)) if per_class is None else per_class
    copies = np.zeros(len(table), np.int64)
    rank = np.argsort([hashlib.blake2b(image.encode()).digest() for image in table["id"]], kind="stable")
    for label in np.flatnonzero((counts > 0) & (counts < target)):
        rows = rank[labels[rank] == label]
        each, more = divmod(target - len(rows), len(rows))
        copies[rows] = each + (np.arange(len(rows)) < more)
    return copies.tolist()


def placed(copies: pd.DataFrame, originals: pd.DataFrame) -> pd.DataFrame:
    """Copies with the group, part and fold of what they are copies of; «unused» where that is held out.

    So a job that validates a fold trains on no copy of a picture in it, nor of a near-duplicate of one.
    """
    of = originals.set_index("id").loc[copies["copy_of"], ["group", "part", "fold"]].reset_index(drop=True)
    part = of["part"].where(of["part"] == "train", "unused")
    return copies.reset_index(drop=True).assign(group=of["group"], part=part, fold=of["fold"])


def _read(rows: list[int], picture: Callable[[int], Image]) -> Iterator[tuple[int, Image | ImageError]]:
    """Rows and their pictures, in order; the next ones are read while the caller works."""

    def attempt(row: int) -> Image | ImageError:
        try:
            return picture(row)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        pending = [pool.submit(attempt, row) for row in rows[:AHEAD]]
        for place, row in enumerate(rows):
            found = pending[place % AHEAD].result()
            if place + AHEAD < len(rows):
                pending[place % AHEAD] = pool.submit(attempt, rows[place + AHEAD])
            yield row, found


def _write_jpeg(path: Path, image: Image) -> None:
    """Write it whole or not at all."""
    bgr = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data: Any = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    with written(path, str(os.getpid()), sync=False) as partial:
        partial.write_bytes(data.tobytes())


def _list(made: pd.DataFrame, folder: Path) -> None:
    files = [Path(path).relative_to(folder).as_posix() for path in made["path"]]
    to_csv(made[["id", "copy_of", "label"]].assign(file=files), folder / "manifest.csv", str(os.getpid()))
