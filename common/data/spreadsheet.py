"""CSV files that people open: text that a spreadsheet would run as a formula is escaped, and read back as it was.

A spreadsheet takes a cell for a formula that begins with = + - @, a tab or a line break, also behind spaces and quotes
(OWASP, «CSV injection»). Before such text stands an apostrophe, which says that it is text. Numbers stay numbers.
Submissions are the contest's own form, and are not written by this.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from common.files import written
from common.text import nfc

_FORMULA = re.compile(r"[\s'\"]*[=+\-@＝＋－＠]|[ '\"]*[\t\r\n]")


def escape(text: str) -> str:
    """Text as a cell that no spreadsheet runs."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape(cell: str) -> str:
    """The text of a cell, whether `escape` or a person has written it: `'abc` and `-1` stay as they are."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def to_csv(table: pd.DataFrame, path: Path, suffix: str = "partial") -> None:
    """Write a table whole or not at all; suffix: see `written`."""
    with written(path, suffix) as partial:
        _of_text(table, escape).to_csv(partial, index=False)


def read_csv(path: Path, **how: Any) -> pd.DataFrame:
    """As pandas reads it, all text unescaped and, but for the column `path`, as NFC: names are compared so."""
    found = _of_text(pd.read_csv(path, **how), unescape)
    names = found.drop(columns="path", errors="ignore")
    return found.assign(**_of_text(names, nfc).to_dict("series")) if len(names.columns) else found


def _of_text(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    changed = table.copy()
    for column in table:
        if not pd.api.types.is_numeric_dtype(table[column]):
            values = [change(value) if isinstance(value, str) else value for value in table[column]]
            changed[column] = pd.Series(values, table.index, table[column].dtype)
    return changed.rename(columns=lambda name: change(name) if isinstance(name, str) else name)
