"""What the terminal says when a run has ended: scores, where everything is, and what to do next."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from common.run.folder import load_config
from common.run.results import Results, read_results
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
    console.print("next")
    name = results.competition
    for command in (
        *([f"make predict COMP={name} RUN={run}"] if _has_test(run) else []),
        f"make predict COMP={name} RUN={run} INPUT=<folder or image>",
        f"make evaluate COMP={name} RUN={run} INPUT=<folder of class folders>",
    ):
        console.print(f"  {command}", markup=False, emoji=False, soft_wrap=True)


def _has_test(run: Path) -> bool:
    """Whether there are pictures to predict without INPUT=: one's own folder need not have a test part."""
    data = load_config(run)["data"]
    return not data["_target_"].endswith(".FolderData") or Path(data["root"], "test").is_dir()


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
