"""The contest's lists, `{"images": [{"image_id": "a.jpg", "class_id": "00042"}, …]}`, read in bounded memory."""

import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from common.errors import PodiumError

CHUNK = 1 << 22  # characters read at a time; also the longest that an entry may be
ROWS = 1 << 16  # entries that are Python objects at a time

_BEGIN = re.compile(r'"images"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")


def read_list(path: Path) -> tuple[pd.DataFrame, dict[int, str]]:
    """Columns image_id (str) and class_id (int64), in the file's order; and each class as the file spells it.

    A class is a number, written as such or as a string: 42, "42" and "00042" are the same.

    Raises PodiumError, with line or entry, for what is not this format.
    """
    numbers, images = array("q"), []
    pieces = [pa.array([], pa.string())]
    number_of: dict[Any, int] = {}  # as written → number
    spelled: dict[int, str] = {}
    for position, entry in enumerate(entries(path)):
        image, written = entry.get("image_id"), entry.get("class_id")
        if not isinstance(image, str) or not image or "/" in image:
            raise PodiumError(f"{path}: images[{position}]: image_id must be a file name, got {image!r}")
        if not isinstance(written, str | int):
            raise PodiumError(f"{path}: images[{position}]: class_id must be a number, got {written!r}")
        number = number_of.get(written)
        if number is None:
            number = number_of[written] = class_number(written, f"{path}: images[{position}]: class_id")
            spelled.setdefault(number, str(written))
        images.append(image)
        numbers.append(number)
        if len(images) == ROWS:
            pieces.append(pa.array(images, pa.string()))
            images = []
    pieces.append(pa.array(images, pa.string()))
    columns = {"image_id": pa.chunked_array(pieces), "class_id": np.frombuffer(numbers, np.int64)}
    return pa.table(columns).to_pandas(), spelled


def class_number(written: Any, where: str) -> int:
    """42 for 42, "42" and "00042". Raises PodiumError, beginning with `where`, for anything else."""
    if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
        return written
    if isinstance(written, str) and written.isascii() and written.isdecimal():
        return int(written)
    raise PodiumError(f"{where} must be a number such as 42 or «00042», got {written!r}")


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of the list «images», one by one, however large the file is.

    Raises PodiumError, with the line, for a file that is no such JSON or is cut short.
    """
    decode = json.JSONDecoder().raw_decode
    try:
        with path.open(encoding="utf-8-sig") as file:
            text, at, lines = file.read(CHUNK), 0, 1  # lines: number of the line that `text` begins in
            begin = _BEGIN.search(text)
            if begin is None:
                raise PodiumError(f'{path}: expected {{"images": [{{"image_id": …, "class_id": …}}, …]}}')
            at = begin.end()
            while True:
                at = _end(_BETWEEN, text, at)
                if text.startswith("]", at):
                    return
                try:
                    entry, at = decode(text, at)
                except json.JSONDecodeError as error:  # the entry goes on in what is not yet read, or is none
                    more = file.read(CHUNK) if len(text) - at < CHUNK else ""
                    if not more:
                        line = lines + text.count("\n", 0, error.pos)
                        raise PodiumError(f"{path}:{line}: not JSON, or cut short: {error.msg}") from None
                    lines += text.count("\n", 0, at)
                    text, at = text[at:] + more, 0
                    continue
                if not isinstance(entry, dict):
                    line = lines + text.count("\n", 0, at)
                    raise PodiumError(f"{path}:{line}: expected {{image_id, class_id}}, got {entry!r}")
                yield entry
    except UnicodeDecodeError as error:
        raise PodiumError(f"{path} is not UTF-8: {error.reason}; save it as UTF-8") from None
    except OSError as error:
        raise PodiumError(f"{path} cannot be read: {error.strerror}") from None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
