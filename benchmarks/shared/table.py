"""What a benchmark found, on the terminal and as files."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from common.run.folder import RUNS, write_text


def new_folder() -> Path:
    """`runs/bench/<time>`, made now."""
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder, count = RUNS / "bench" / stamp, 1
    while folder.exists():
        count += 1
        folder = RUNS / "bench" / f"{stamp}_{count}"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    """`<name>.csv` with the rows, and `<name>.md` with the same rows below the notes."""
    write_text(folder / f"{name}.csv", pd.DataFrame(rows).to_csv(index=False))
    remarks = "".join(f"- {note}\n" for note in notes)
    write_text(folder / f"{name}.md", f"# {name}\n\n{remarks}\n{markdown(rows)}\n")


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table whose columns line up on a terminal too; a row without a key has an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
