"""A ranking for people and programs: `ranking.csv` unrounded, `ranking.md`, `ranking.png` and the terminal rounded."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from common.data.spreadsheet import to_csv
from common.run import folder
from common.sweep.ranking import Difference, Ranked, Ranking, rank
from common.sweep.ranking_picture import draw_ranking
from common.text import console, printable


def write_ranking(root: Path) -> Ranking:
    """Write ranking.csv, ranking.md and ranking.png into a sweep's folder."""
    ranking = write_tables(root)
    draw_ranking(root / "ranking.png", ranking)
    return ranking


def write_tables(root: Path) -> Ranking:
    """Write ranking.csv and ranking.md: what there is so far."""
    ranking = rank(root)
    to_csv(_frame(ranking), root / "ranking.csv")
    folder.write_text(root / "ranking.md", _markdown(ranking))
    return ranking


def print_ranking(ranking: Ranking) -> None:
    terminal = console()
    heads, rows = cells(ranking)
    table = Table()
    longest = max(len(row.name) for row in ranking.rows)
    for head in heads:  # on a narrow terminal further scores take two lines, names stay whole
        table.add_column(
            head,
            no_wrap=head in (ranking.metric, "difference", "seeds"),
            min_width=min(longest, 20) if head == "row" else None,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(printable, row))
    for line in ranking.heads:
        terminal.print(line, soft_wrap=True, style="bold")
    terminal.print(table)
    for line in ranking.notes:
        terminal.print(line, soft_wrap=True)


def cells(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """The table as people read it: heads and rows."""
    metric = ranking.metric
    heads = ["", "row", metric, "difference", *list(ranking.metrics)[1:], "seeds", ""]
    rows = [
        [
            "–" if row.place is None else str(row.place),
            row.name,
            _spread(ranking.in_shares(metric), metric, row),
            "baseline" if row.name == ranking.baseline else _gain(ranking.in_shares(metric), row.difference),
            *(_spread(ranking.in_shares(other), other, row) for other in list(ranking.metrics)[1:]),
            f"{len(row.scores[metric])} of {row.seeds}",
            row.state,
        ]
        for row in ranking.rows
    ]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    if not ranking.compares:
        at = heads.index("difference")
        heads, rows = heads[:at] + heads[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]
    return heads, rows


def _frame(ranking: Ranking) -> pd.DataFrame:
    """One row a line, numbers as they are."""
    lines: list[dict[str, Any]] = []
    for row in ranking.rows:
        line: dict[str, Any] = {"place": row.place, "row": row.name, "seeds": len(row.scores[ranking.metric])}
        for metric in ranking.metrics:
            line |= {metric: row.mean(metric), f"{metric}_sd": row.sd(metric)}
        gain = row.difference or Difference(math.nan, math.nan, math.nan)
        line |= {"difference": gain.mean, "difference_low": gain.low, "difference_high": gain.high}
        lines.append({**line, "state": row.state})
    return pd.DataFrame(lines).astype({"place": "Int64"})


def _markdown(ranking: Ranking) -> str:
    heads, rows = cells(ranking)
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join(
        "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
    return "\n\n".join([f"# {ranking.title}", *ranking.heads, table, *ranking.notes]) + "\n"


def shown(share: bool, value: float, signed: bool = False) -> str:
    """Shares in per cent, others with four digits."""
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if share else f"{value:{sign}.4f}"


def _spread(share: bool, metric: str, row: Ranked) -> str:
    if not row.scores[metric]:
        return "failed" if row.failed else "–"
    spread = "" if math.isnan(row.sd(metric)) else f" ± {shown(share, row.sd(metric))}"
    return shown(share, row.mean(metric)) + spread + (" %" if share else "")


def _gain(share: bool, difference: Difference | None) -> str:
    if difference is None:
        return ""
    mean = shown(share, difference.mean, signed=True)
    if math.isnan(difference.low):
        return mean
    low, high = (shown(share, value, signed=True) for value in (difference.low, difference.high))
    return f"{mean} [{low}, {high}]"
