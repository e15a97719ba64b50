"""Scores by source: calls come mostly from one collection, smoking from another, so part of a score is the source.

`python -m competitions.smoking_calling.by_source RUN` prints them for every part that a run predicted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.predictions import read_top
from common.errors import PodiumError
from common.task.mean_ap import average_precisions, mean_over_classes
from competitions.smoking_calling.commands import main
from competitions.smoking_calling.prepare import source_of
from competitions.smoking_calling.sample import CLASSES


def score_by_source(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Source → images, top1, map and the average precision of each class, None for a class it does not have.

    table: columns id, label, predicted, probability. Pictures whose name gives no source count as «none».
    """
    sources = table["id"].map(source_of).replace("", "none")
    return {str(source): score(rows, class_names) for source, rows in table.groupby(sources)}


def score(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, Any]:
    """images, top1, map and average_precision (class name → value or None) of columns label, predicted, probability."""
    labels, predicted = table["label"].to_numpy(int), table["predicted"].to_numpy(int)
    found = average_precisions(labels, predicted, table["probability"].to_numpy(), len(class_names))
    pairs = zip(class_names, found.tolist(), strict=True)
    return {
        "images": len(table),
        "top1": float((labels == predicted).mean()),
        "map": mean_over_classes(found),
        "average_precision": {name: None if value != value else value for name, value in pairs},
    }


def report(run: Path) -> Path:
    """Print the scores of all predictions below a run folder and write them to `by_source.csv`; returns it.

    A class that a source does not have is left out of its mean.
    """
    files = sorted([*run.glob("jobs/*/predictions*.parquet"), *run.glob("out_of_fold/*.parquet")])
    files = [file for file in files if not file.stem.endswith("_unlabelled")]
    if not files:
        raise PodiumError(
            f"{run} has no predictions yet: neither jobs/*/predictions.parquet nor out_of_fold/"
        )
    rows = []
    for file in files:
        top = read_top(file)
        for source, found in {"all": score(top, CLASSES), **score_by_source(top, CLASSES)}.items():
            per_class = {f"ap_{name}": value for name, value in found.pop("average_precision").items()}
            rows.append({"predictions": str(file.relative_to(run)), "source": source, **found, **per_class})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.4f}".format, na_rep="–"))
    path = run / "by_source.csv"
    table.to_csv(path, index=False)
    return path


if __name__ == "__main__":
    main(report)
