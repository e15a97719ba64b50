"""The models that a run predicts with, how their probabilities become one, and which pictures they have seen."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data.spreadsheet import read_csv
from common.errors import PodiumError, reading
from common.run import folder, shapes

MEANS = ("arithmetic", "geometric")
FOLDS = ("id", "path", "label", "class", "part", "fold")  # columns of folds.csv that are read


@dataclass(frozen=True)
class Member:
    """One trained model: a checkpoint in a job folder, which also holds the configuration to load it by."""

    job: Path
    checkpoint: str = "best.ckpt"

    @property
    def path(self) -> Path:
        return self.job / self.checkpoint


def read_members(run: Path, checkpoint: str | None = None) -> tuple[str, list[Member]]:
    """(mean, members) by the run's `members.json`; without that file the single job `jobs/train_fold0`.

    checkpoint: to take instead of the one that is named for each member.

    Raises PodiumError if the file is damaged, or if a member's folder or checkpoint is gone.
    """
    if run.parent.name == "jobs" and (run.parent.parent / "config.yaml").exists():
        raise PodiumError(f"{run} is one of a run's jobs: name the run folder, {run.parent.parent}")
    path = run / "members.json"
    mean, named = _listed(path) if path.exists() else ("arithmetic", [("jobs/train_fold0", "best.ckpt")])
    members = [Member(run / job, checkpoint or own) for job, own in named]
    for member in members:
        if not member.path.exists():
            present = sorted(other.name for other in member.job.glob("*.ckpt"))
            raise PodiumError(
                f"{member.path} does not exist; "
                + (f"the run has {', '.join(present)}" if present else "the run has no checkpoint yet")
                + (f" ({path} names it: was the run that it belongs to moved?)" if path.exists() else "")
            )
    return mean, members


def write_members(run: Path, members: Sequence[Member], mean: str = "arithmetic") -> None:
    """Write `members.json`: jobs of this run and of runs beside it by relative paths, others by absolute ones."""
    listed = [{"job": _from(run, member.job), "checkpoint": member.checkpoint} for member in members]
    folder.write_json(run / "members.json", {"mean": mean, "members": listed})


def combine(stack: np.ndarray, mean: str) -> np.ndarray:
    """The mean over members of probabilities, float (M, N, K) → (N, K) of the same dtype, rows sum to 1.

    mean: arithmetic, or geometric: renormalised, which is the softmax of the mean of the members' logits
        (Hinton 2002, products of experts). One member's probabilities come out as they are.
    """
    if len(stack) == 1:
        return stack[0]
    if mean == "arithmetic":
        return stack.mean(axis=0)
    logs = np.log(np.maximum(stack, np.finfo(stack.dtype).tiny)).mean(axis=0)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def read_folds(run: Path) -> pd.DataFrame:
    """Which picture was in which part of a run: at least id, path, label, class, part and fold, all rows.

    The label counts in the classes of the stage that brought the picture in; `class` says the same for all stages.

    Raises PodiumError if the run has no `folds.csv`.
    """
    path = run / "folds.csv"
    if not path.exists():
        raise PodiumError(f"{run} has no folds.csv: the run has not begun, or the file was removed")
    with reading(path):
        table = read_csv(path, dtype={"id": str, "class": str}, keep_default_na=False)
        if missing := {*FOLDS} - {*table.columns}:
            raise PodiumError(f"column {', '.join(sorted(missing))} is missing")
        return table.astype({"path": str, "label": "int64", "part": str, "fold": "int64"})


def class_names(job: Path) -> list[str]:
    """What a finished job tells apart, index = label, as its scores list it: stages may have classes of their own."""
    return [str(row["class"]) for row in folder.load_json(job / "scores.json", shapes.JobScores)["per_class"]]


def _listed(path: Path) -> tuple[str, list[tuple[str, str]]]:
    try:
        found = folder.load_json(path, shapes.Members)
    except PodiumError as error:
        raise PodiumError(
            f'{error}; expected {{"mean": "arithmetic", "members": [{{"job": "jobs/train_fold0", '
            '"checkpoint": "best.ckpt"}]}'
        ) from None
    mean = found["mean"]
    if mean not in MEANS:
        raise PodiumError(f"{path}: mean must be one of {', '.join(MEANS)}, got {mean!r}")
    if not found["members"]:
        raise PodiumError(f"{path} names no members")
    return mean, [(entry["job"], entry["checkpoint"]) for entry in found["members"]]


def _from(run: Path, job: Path) -> str:
    """The job as seen from the run. What lies beside the run is moved with it, so it gets a relative path."""
    run, job = Path(os.path.abspath(run)), Path(os.path.abspath(job))
    return os.path.relpath(job, run) if job.is_relative_to(run.parent) else str(job)


def best_paths(config: dict[str, Any], job: Path) -> dict[str, Path]:
    """Metric → its best checkpoint: `best.ckpt` for the first metric, `best_<metric>.ckpt` for further ones."""
    names = ["best.ckpt", *(f"best_{metric}.ckpt" for metric in list(config["best"])[1:])]
    return {metric: job / name for metric, name in zip(config["best"], names, strict=True)}
