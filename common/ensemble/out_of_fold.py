"""Out-of-fold predictions: every training image once, by the model that has not seen it or its group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data import predictions
from common.errors import PodiumError
from common.run.folder import load_json, predictions_path
from common.run.jobs import job_name, out_of_fold_path
from common.run.members import read_folds


def join(run: Path, stage: str, folds: int) -> Path:
    """Join the predictions of a stage's jobs, in the order of `folds.csv`'s folds; returns the table's path.

    Raises PodiumError, naming one, if an image is missing, stands there twice or in another fold than its own.
    """
    files = [predictions_path(run / "jobs" / job_name(stage, fold), "valid") for fold in range(folds)]
    tables = [_head(file) for file in files]
    table = pd.concat([table.assign(fold=fold) for fold, table in enumerate(tables)], ignore_index=True)
    _check(table, read_folds(run), stage, _counts(files))
    path = out_of_fold_path(run, stage)
    predictions.write(
        path, table["id"].tolist(), table["label"].to_numpy(), _rows(files), table["fold"].to_numpy()
    )
    return path


def fold_scores(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """From each fold's scores: «a mean ± sd» a metric: `{metric: {"mean", "sd", "folds": [...]}}`, sd with n − 1."""
    names = [key for key, value in jobs[0].items() if key.startswith("valid_") and isinstance(value, float)]
    found = {}
    for name in names:
        values = [float(job[name]) for job in jobs if job.get(name) is not None]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[name] = {"mean": float(np.mean(values)), "sd": sd, "folds": values}
    return found


def _head(file: Path) -> pd.DataFrame:
    return pd.concat([frame for frame, _ in predictions.batches(file)], ignore_index=True)[["id", "label"]]


def _rows(files: list[Path]) -> Iterator[np.ndarray]:
    for file in files:
        for _, rows in predictions.batches(file, exact=True):  # which keeps what the true class has
            yield rows


def _counts(files: list[Path]) -> list[tuple[int, int]]:
    """(images in the folds when it began, those of them that it left out) of each of the stage's jobs that says so."""
    scores = [file.parent / "scores.json" for file in files]
    said = [load_json(path) for path in scores if path.exists()]
    return [(job["in_folds"], job.get("left_out", 0)) for job in said if "in_folds" in job]


def _check(table: pd.DataFrame, split: pd.DataFrame, stage: str, counts: list[tuple[int, int]]) -> None:
    """counts: as `_counts` gives them, of those of the run; []: all.

    Where a job began with fewer images than another, some could be read no more: these may be missing.
    """
    expected = split[(split["part"] == "train") & ~split["train_only"].astype(bool)]
    doubled = table["id"][table["id"].duplicated()]
    most = max((count for count, _ in counts), default=len(expected))
    fewest = most - sum(most - count + left_out for count, left_out in counts)
    missing = set() if counts and fewest <= len(table) <= most else set(expected["id"]) - set(table["id"])
    strange = set(table["id"]) - set(expected["id"])
    for what, ids in (("twice", set(doubled)), ("missing", missing), ("not of the folds", strange)):
        if ids:
            raise PodiumError(
                f"stage {stage}: out-of-fold predictions are not complete: {len(ids)} images {what}, "
                f"the first is {min(ids)}. If the data have changed since, NEW=1 and data.split=<this run's folds.csv> "
                "start over with the same folds"
            )
    wrong = table["id"][
        table["fold"].to_numpy() != expected.set_index("id")["fold"].loc[table["id"]].to_numpy()
    ]
    if len(wrong):
        raise PodiumError(f"stage {stage}: {wrong.iloc[0]} was predicted by another fold than its own")
