"""What the terminal says when a run has ended: scores, where everything is, and what to do next."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from common.report.next_steps import after_training
from common.report.results import Results, read_results
from common.text import printable


def print_summary(run: Path, console: Console) -> None:
    """Print the scores of a run folder and the next commands; plain text where the console is no terminal."""
    results = read_results(run)
    if results.sample:
        console.print(
            "SAMPLE DATA: these scores are of generated pictures, not of the competition's", style="bold"
        )
    console.print(_scores(results), markup=False, emoji=False)
    for remark in results.remarks():
        console.print(remark, markup=False, emoji=False)
    model = results.model
    if model:
        console.print(
            f"{model['name']}: {model['parameters']:,} parameters, {model['megabytes']} MB", markup=False
        )
    for kind, left_out in (("images", results.bad_images), ("labels", results.bad_labels)):
        if len(left_out):
            console.print(
                f"left out: {len(left_out)} bad {kind}, see {run / f'bad_{kind}.csv'}", markup=False
            )
    console.print(f"run     {run}", markup=False, emoji=False, soft_wrap=True)
    console.print(f"report  {run / 'report.html'}", markup=False, emoji=False, soft_wrap=True)
    print_next(run, console)


def print_next(run: Path, console: Console) -> None:
    """Print commands that take this run or blend."""
    console.print(
        "next, photos being any folder of pictures and labelled one of class folders", soft_wrap=True
    )
    for command in after_training(run):
        console.print(f"  {command}", markup=False, emoji=False, soft_wrap=True)


def _scores(results: Results) -> Table:
    heads = results.heads()
    table = Table("model", "part", *map(printable, heads.values()))
    for _, row in results.score_table().iterrows():
        table.add_row(printable(row["model"]), row["part"], *(formatted(name, row[name]) for name in heads))
    return table


def formatted(name: str, value: float) -> str:
    """A score for people: accuracies in per cent, losses with four digits, counts whole."""
    if pd.isna(value):
        return "–"
    if name == "images":
        return f"{int(value)}"
    return f"{value:.4f}" if "loss" in name or abs(value) > 1 else f"{100 * value:.2f} %"
