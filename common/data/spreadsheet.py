"""CSV files that people open: text that a spreadsheet would run as a formula is escaped, and read back as it was.

A spreadsheet takes a cell for a formula that begins with = + - @, a tab or a line break, also behind spaces and quotes
(OWASP, «CSV injection»). Before such text stands an apostrophe, which says that it is text. Numbers stay numbers.
Submissions are the contest's own form, and are not written by this.
"""

import csv
import re
from pathlib import Path
from typing import Any

import pandas as pd

from common.errors import PodiumError
from common.files import written
from common.text import nfc

_OTHERS = {";": "«;»", "\t": "tabs", "|": "«|»"}
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
        safe = _of_text(table, escape)
        text = (value for column in safe for value in (column, *safe[column]) if isinstance(value, str))
        # a lone carriage return ends a line for pandas, which does not quote it by itself
        quoting = csv.QUOTE_NONNUMERIC if any("\r" in value for value in text) else csv.QUOTE_MINIMAL
        safe.to_csv(partial, index=False, quoting=quoting)


def read_csv(path: Path, **how: Any) -> pd.DataFrame:
    """As pandas reads it, all text unescaped and, but for the column `path`, as NFC: names are compared so.

    Raises PodiumError for a file that is no CSV in UTF-8 with commas, as some spreadsheets write by default.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline().strip()
        for separator, called in _OTHERS.items():
            columns = next(csv.reader([header], delimiter=separator), [])
            if len(columns) > 1 and "," not in header:
                raise PodiumError(
                    f"{path}: its columns are separated by {called}, expected are commas: its first line would be "
                    f"{','.join(columns)}"
                )
        found = _of_text(pd.read_csv(path, **how), unescape)
    except UnicodeDecodeError:
        raise PodiumError(f"{path} is not UTF-8: save it as CSV in UTF-8, separated by commas") from None
    except pd.errors.EmptyDataError:
        raise PodiumError(
            f"{path} is empty: expected is a first line with the names of the columns"
        ) from None
    except pd.errors.ParserError as error:
        raise PodiumError(f"{path} is no CSV separated by commas: {str(error).strip()}") from None
    named = _of_text(found, nfc)
    return named.assign(path=found["path"]) if "path" in found else named


def _of_text(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    changed = table.copy()
    for column in table:
        if not pd.api.types.is_numeric_dtype(table[column]):
            values = [change(value) if isinstance(value, str) else value for value in table[column]]
            changed[column] = pd.Series(values, table.index, table[column].dtype)
    return changed.rename(columns=lambda name: change(name) if isinstance(name, str) else name)
