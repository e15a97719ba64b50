"""The models that a blend may choose from, and their predictions side by side."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.data import predictions
from common.errors import PodiumError
from common.report.next_steps import resume
from common.run import folder
from common.run.members import class_names, read_folds


@dataclass(frozen=True)
class Candidate:
    """The best checkpoint of one finished job. called: the run in messages, by default its folder's name."""

    run: Path
    job: Path
    called: str = ""

    @property
    def name(self) -> str:
        return f"{self.called or self.run.name}/{self.job.name}"

    def predictions(self, part: str) -> Path:
        """Where this model's predictions of a part (valid, choose, score) are."""
        return folder.predictions_path(self.job, part)


@dataclass(frozen=True)
class Table:
    """Predictions of the same images: ids (N,), labels int64 (N,), stack float32 (candidates, N, K)."""

    ids: list[str]
    labels: np.ndarray
    stack: np.ndarray


def find(runs: Sequence[Path]) -> list[Candidate]:
    """All finished jobs of the runs that know the classes of their run's last stage, in order.

    Raises PodiumError for a run that has none, and for runs of different classes.
    """
    found = []
    names = Counter(run.name for run in runs)  # those of a sweep's trials are their seeds
    for run in runs:
        called = run.name if names[run.name] == 1 else f"{run.parent.name}/{run.name}"
        jobs = sorted(path.parent for path in run.glob("jobs/*/best.ckpt") if folder.is_done(path.parent))
        if not jobs:
            raise PodiumError(f"{run} has no finished job to blend: go on with it by {resume(run)}")
        last = class_names(max(jobs, key=lambda job: folder.load_config(job)["job"]["number"]))
        known = {job: class_names(job) for job in jobs}
        found += [Candidate(run, job, called) for job in jobs if known[job] == last]
        others = [job.name for job in jobs if known[job] != last]
        if others:
            print(f"{called}: {', '.join(others)} left out, which know other classes than its last stage")
        if last != class_names(found[0].job):
            raise PodiumError(
                f"{found[0].run} and {run} know different classes, so their models have no mean: "
                f"{_difference(class_names(found[0].job), last)}"
            )
    return found


def _difference(first: list[str], second: list[str]) -> str:
    for label, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return f"label {label} is «{one}» in one and «{other}» in the other"
    return f"{len(first)} classes and {len(second)}"


def part_to_choose_by(candidates: Sequence[Candidate]) -> str:
    """«choose», which no job trained on; of runs of one job without it «valid», which then chose the checkpoints too.

    Raises PodiumError if the candidates have neither in common.
    """
    lacking = [one for one in candidates if not one.predictions("choose").exists()]
    if not lacking:
        return "choose"
    runs = {one.run for one in candidates}
    alone = len(runs) == len(candidates) and all((read_folds(run)["fold"] < 0).all() for run in runs)
    if (
        len(lacking) == len(candidates)
        and alone
        and all(one.predictions("valid").exists() for one in candidates)
    ):
        return "valid"
    raise PodiumError(
        f"{lacking[0].job} has no {lacking[0].predictions('choose').name}: a blend is chosen by pictures that no job "
        'was trained on. Train with some kept aside, such as ARGS="data.choose=0.1 data.score=0.1"'
    )


def read(candidates: Sequence[Candidate], part: str) -> Table:
    """The candidates' predictions of a part, rows in the order of the first; the stack lies in a file.

    Raises PodiumError for pictures, labels or classes that differ between candidates, and for NaN.
    """
    first, like = predictions.read(candidates[0].predictions(part), exact=True)
    ids, labels, classes = first["id"].tolist(), first["label"].to_numpy(), like.shape[1]
    place = {image: row for row, image in enumerate(ids)}
    with tempfile.TemporaryFile() as scratch:  # memory need not hold the predictions of many candidates
        stack = np.memmap(scratch, np.float32, "w+", shape=(len(candidates), len(ids), classes))
    for number, candidate in enumerate(candidates):
        path, seen = candidate.predictions(part), 0
        if not path.exists():
            raise PodiumError(f"{path} does not exist, but {candidates[0].predictions(part)} does")
        for frame, rows in predictions.batches(path, exact=True):
            at = np.array([place.get(image, -1) for image in frame["id"]])
            if (at < 0).any():
                raise PodiumError(
                    f"{path} holds «{frame['id'][at < 0].iloc[0]}», which {candidates[0].predictions(part)} does not: "
                    "only runs that keep the same pictures aside can be blended; data.split=<a run's folds.csv> "
                    "gives a run another's parts"
                )
            wrong = labels[at] != frame["label"].to_numpy()
            if wrong.any():
                raise PodiumError(
                    f"{path}: «{frame['id'][wrong].iloc[0]}» has another label than in {candidates[0].job}"
                )
            if rows.shape[1] != classes:
                raise PodiumError(f"{path} knows {rows.shape[1]} classes, {candidates[0].job} {classes}")
            if not np.isfinite(rows).all():
                raise PodiumError(f"{path} holds NaN: that training went astray, leave its run out")
            stack[number, at] = rows
            seen += len(at)
        if seen != len(ids):
            raise PodiumError(f"{path} holds {seen} pictures, {candidates[0].predictions(part)} {len(ids)}")
    return Table(ids, labels, stack)


def check_unseen(ids: Iterable[str], part: str, runs: Sequence[Path]) -> None:
    """Raise PodiumError if one of the pictures was used for anything else in a run."""
    ids = list(ids)
    for run in runs:
        table = read_folds(run).set_index("id")
        place = table["part"].reindex(ids)
        other = place[place.notna() & (place != part)]
        if len(other):
            raise PodiumError(
                f"{run / 'folds.csv'}: «{other.index[0]}» is in the part {other.iloc[0]} there, and {part} in another "
                "run: a blend cannot be judged by what one of its models was trained on or chosen by"
            )


def common_folds(runs: Sequence[Path]) -> pd.DataFrame:
    """The first run's folds; what it keeps aside and another run uses otherwise counts as trained on."""
    table = read_folds(runs[0])
    for run in runs[1:]:
        other = table["id"].map(read_folds(run).drop_duplicates("id").set_index("id")["part"])
        table.loc[other.notna() & (other != table["part"]), "part"] = "train"
    return table
