"""Raw grey pixels within a larger file, named by a path: `records.gnt#1034,64x58` is 64 rows of 58 bytes from 1034 on.

So formats that hold many pictures in one file need nothing else to be trained on, packed, predicted and shown.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NAME = re.compile(r"(.+)#(\d+),(\d+)x(\d+)", re.DOTALL)


class Raw(NamedTuple):
    """Grey bytes of a picture, row by row from `offset` of a file on."""

    file: str
    offset: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.file}#{self.offset},{self.height}x{self.width}"

    @classmethod
    def parse(cls, path: Path | str) -> "Raw | None":
        """What a path of this form names; None for one of another form."""
        found = _NAME.fullmatch(str(path))
        return cls(found[1], *map(int, found.groups()[1:])) if found else None

    def read(self) -> NDArray[np.uint8]:
        """uint8 (height, width). Raises OSError, EOFError where the file ends before."""
        pixels = np.empty((self.height, self.width), np.uint8)
        file = os.open(self.file, os.O_RDONLY)  # no map: a file that shrinks would end the process
        try:
            if os.preadv(file, [pixels.data], self.offset) != pixels.size:
                raise EOFError
        finally:
            os.close(file)
        return pixels
