"""Where a job's pictures are: decoded once, into memory or a pack, or read anew in every epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning.utilities import rank_zero_only

from common.data.pixels import arrays
from common.data.pixels.arrays import Packed, Pixels, Refitted, Unread
from common.data.pixels.pack import Pack
from common.data.reading.images import Image, ImageError, fit_to, needed

VIEWED = 2  # times the model's size that image views see at least, where pictures are too many for memory


@dataclass(frozen=True)
class Store:
    """Finds each picture of a table its place.

    Args:
        preprocessing: see common/data/reading/images.py.
        as_they_are: pictures keep the size that they were read with, since image views need it.
        packs: folder of packs; None: nothing is packed.
        in_memory_bytes: the most that pictures may take in memory.
        pictures, keys: as ImageData's `pictures` and `picture_keys`.
    """

    preprocessing: dict[str, Any]
    as_they_are: bool
    packs: Path | None
    in_memory_bytes: int
    pictures: Callable[..., Callable[[int], Image]]
    keys: Callable[[pd.DataFrame], np.ndarray]

    def take(self, table: pd.DataFrame) -> tuple[Pixels | Packed | Unread, np.ndarray, list[ImageError]]:
        """The pictures that can be read, their rows in the table (int64, ascending), and the others' errors."""
        if self.as_they_are:
            return self._as_they_are(table)
        if self.packs is not None and len(table):
            pack = self._pack()
            large = len(table) * pack.row_bytes > self.in_memory_bytes
            if large or (not pack.is_empty and pack.holds(self.keys(table))):
                packed, rows, errors = pack.take(self.keys(table), self._fitted(table))
                self._say_where(len(packed), str(pack.folder))
                return packed, rows, _named(errors, table, rows)
        found = arrays.decode(range(len(table)), self._fitted(table))
        self._say_where(len(found[0]), "memory")
        return found

    def as_predicted(self, table: pd.DataFrame, rows: np.ndarray) -> Refitted:
        """The pictures as `predict` makes them, where those in `take` are as they are; `rows` are held if they fit."""
        each = int(np.prod(self.preprocessing["size"])) * self.preprocessing["channels"]
        held = rows if len(rows) * each <= self.in_memory_bytes else rows[:0]
        return Refitted(self._fitted(table), len(table), held)

    def pack(self, table: pd.DataFrame) -> tuple[Path, list[ImageError]]:
        """The pack that has every picture of the table, each pixel checked, and the errors of those that it has not."""
        pack = self._pack()
        _, rows, bad = pack.take(self.keys(table), self._fitted(table), check=True)
        self._say_where(len(rows), str(pack.folder))
        return pack.folder, _named(bad, table, rows)

    def _as_they_are(self, table: pd.DataFrame) -> tuple[Pixels | Unread, np.ndarray, list[ImageError]]:
        size = needed(self.preprocessing)
        reduced = self.pictures(table, at_least=size and (VIEWED * size[0], VIEWED * size[1]))
        found = arrays.decode_within(self.in_memory_bytes, len(table), self.pictures(table), reduced)
        if isinstance(found[0], Pixels):
            self._say_where(len(found[0]), "memory, as they are for views.image", found[0].buffer.nbytes)
        else:
            self._say_read(len(found[0]))
        return found

    def _fitted(self, table: pd.DataFrame) -> Callable[[int], Image]:
        picture = self.pictures(table, at_least=needed(self.preprocessing))
        return lambda row: fit_to(picture(row), self.preprocessing)

    def _pack(self) -> Pack:
        assert self.packs is not None
        return Pack(self.packs, self.preprocessing)

    @rank_zero_only
    def _say_read(self, count: int) -> None:
        print(
            f"{count:,} pictures take more than data.in_memory_bytes and are read in every epoch, as views.image need "
            "them; data.workers reads them beside the training",
            flush=True,
        )

    @rank_zero_only
    def _say_where(self, count: int, where: str, size: int | None = None) -> None:
        shape = (*self.preprocessing["size"], self.preprocessing["channels"])
        size = count * int(np.prod(shape)) if size is None else size
        print(f"{count:,} pictures, {size / 1e6:,.0f} MB, in {where}", flush=True)


def _named(errors: list[ImageError], table: pd.DataFrame, rows: np.ndarray) -> list[ImageError]:
    """The errors of all rows but these, in order, with the paths that the table has: a pack knows where files were."""
    others = table["path"].drop(table.index[rows])
    return [ImageError(path, error.reason) for path, error in zip(others, errors, strict=True)]
