"""Tags of .gnt records: two bytes that hold a GBK code, in one of several ways, and the characters they stand for.

A code is an int: the two GBK bytes, high byte first; the one byte of an ASCII character; 0 where the tag is unknown.
`stored` is how the two bytes stand in the file, the first one high.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import PodiumError

Tags = NDArray[np.uint16]


def codes(stored: Tags, file: NDArray[np.int32] | None = None) -> Tags:
    """Codes of tags, uint16 (N,): bytes in either order, one byte padded on either side.

    The order is that by which more tags of a file are Chinese characters (GB 2312, its frequent ones counted twice);
    the high byte first where both are equal.

    file: number of the file that each is from, int (N,); None: all are from one.
    """
    first, second = stored >> 8, stored & 0xFF
    if file is None:
        file = np.zeros(len(stored), np.int32)
    is_swapped = np.bincount(file, _evidence(second, first)) > np.bincount(file, _evidence(first, second))
    code = np.where(is_swapped[file], stored.byteswap(), stored)
    return np.where((first == 0) | (second == 0), first | second, code).astype(np.uint16)


def _evidence(high: NDArray[Any], low: NDArray[Any]) -> NDArray[Any]:
    in_row = (low >= 0xA1) & (low <= 0xFE) & (high >= 0xB0)
    return (in_row & (high <= 0xD7)).astype(np.int8) + (in_row & (high <= 0xF7))


def plausible(stored: Tags) -> NDArray[np.bool_]:
    """Whether a tag can be a GBK code, in any of these ways; 0 is none."""
    first, second = stored >> 8, stored & 0xFF
    double = ((first >= 0x81) & (second >= 0x40)) | ((second >= 0x81) & (first >= 0x40))
    single = ((first == 0) ^ (second == 0)) & (first + second < 0x80)
    return double | single


def character(code: int) -> str:
    """The character of a code; its hexadecimal number, such as <A2A0>, if GBK has none that is seen; empty for 0."""
    if code == 0:
        return ""
    try:
        text = code.to_bytes(1 if code < 0x100 else 2).decode("gbk")
    except UnicodeDecodeError:
        text = ""
    return text if len(text) == 1 and text.isprintable() and text != " " else f"<{code:04X}>"


def characters(found: Tags) -> list[str]:
    """The character of each code."""
    unique, inverse = np.unique(found, return_inverse=True)
    names = [character(int(code)) for code in unique]
    return [names[at] for at in inverse.tolist()]


def stored_tag(text: str) -> int:
    """How CASIA stores a character: the high byte first, ASCII with a zero behind; 0 for none.

    Raises PodiumError for a character that GBK does not have.
    """
    if not text:
        return 0
    encoded = text.encode("gbk", errors="ignore")
    if len(text) != 1 or not encoded:
        raise PodiumError(f"«{text}» is no single character of GBK, so it has no tag")
    return int.from_bytes(encoded.ljust(2, b"\0"))


def read_lexicon(path: Path) -> list[str]:
    """The characters of a lexicon, one a line: class = line number.

    Encoded in UTF-8 or, like the original's `lexicon3755.txt`, in GB 2312 with CRLF.
    Raises PodiumError for a line that is not one character, and for one that comes twice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PodiumError(f"data.lexicon: {path} cannot be read: {error.strerror}") from error
    for encoding in ("utf-8-sig", "gbk"):
        try:
            lines = data.decode(encoding).splitlines()
            break
        except UnicodeDecodeError:
            continue
    else:
        raise PodiumError(f"data.lexicon: {path} is neither UTF-8 nor GB 2312")
    line_of: dict[str, int] = {}
    for number, line in enumerate(_without_blank_end(lines), start=1):
        name = line.strip()
        if len(name) != 1:
            raise PodiumError(f"{path}:{number}: expected one character, got «{name}»")
        if name in line_of:
            raise PodiumError(f"{path}:{number}: «{name}» stands in line {line_of[name]} already")
        line_of[name] = number
    if not line_of:
        raise PodiumError(f"data.lexicon: {path} is empty: expected one character a line")
    return list(line_of)


def _without_blank_end(lines: Sequence[str]) -> Sequence[str]:
    end = len(lines)
    while end and not lines[end - 1].strip("\x1a \t"):  # DOS ends a text by \x1a
        end -= 1
    return lines[:end]
