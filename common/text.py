"""Text that others wrote, such as names of files and classes: shown, it does no more than be read."""

import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# what moves a cursor, ends a line or turns the direction of reading; joiners of emoji and letters stay
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r"[\w@%+=:,./-]+")
_BUT_LINES = re.compile(f"(?!\n){_CONTROL.pattern}")


def printable(text: object, lines: bool = False) -> str:
    """Text for a terminal: control characters as Python writes them in a string, such as `\\x1b` and `\\n`.

    lines: line breaks stay.
    """
    control = _BUT_LINES if lines else _CONTROL
    return control.sub(lambda found: ascii(found[0])[1:-1], str(text))


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, with commas between, and how many more there are."""
    shown = ", ".join(map(printable, names[:most]))
    return shown + f", … {len(names) - most} more" * (len(names) > most)


def quoted(value: object) -> str:
    """A value as one word of a POSIX shell, in quotes where it holds more than letters and harmless signs."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else shlex.quote(text)


def utf8(name: str) -> str:
    """A file's name as text that can be written anywhere: bytes that are not UTF-8 become `\\xff` and the like."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def nfc(name: str) -> str:
    """A name as it is compared: macOS writes é as e and an accent (NFD), others as one character (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def console(**options: Any) -> "Console":
    """Rich's console, for which all text is text: `[red]` and `:smile:` are printed as they stand, in tables too."""
    from rich.console import Console

    return Console(**{"markup": False, "emoji": False, "highlight": False, **options})
