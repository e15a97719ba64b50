"""The jobs of a run, stage by stage: what is done is skipped, what fails is recorded, what does not need it goes on."""

import sys
import time
from pathlib import Path

from common.activity import duration
from common.callbacks.checkpoints import Stopped
from common.ensemble import out_of_fold
from common.ensemble.clean import write_reliable
from common.ensemble.pseudo_labels import write_pseudo_labels
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import Job, out_of_fold_path
from common.train.job import run_job
from common.train.launch.commands import ASKED_TO_STOP
from common.train.launch.launchers import Launcher
from common.trust import given


class JobsFailed(Exception):
    """Some of a run's jobs did not end well. `failed`: name → why."""

    def __init__(self, failed: dict[str, str]) -> None:
        super().__init__("\n".join(f"{name}: {why}" for name, why in failed.items()))
        self.failed = failed


def run_waves(run: Path, waves: list[list[Job]], launcher: Launcher, stop_on_failure: bool) -> None:
    """Run what is left of the jobs, each in a process of its own, the jobs of a stage by the launcher.

    Raises JobsFailed at the end, Stopped after a signal.
    """
    failed: dict[str, str] = {}
    progress = _Progress(sum(not folder.is_done(run / "jobs" / job.name) for wave in waves for job in wave))
    for wave in waves:
        todo = []
        for job in wave:
            lacking = sorted({*job.needs} & failed.keys())
            if folder.is_done(run / "jobs" / job.name):
                _check_fresh(run, job)
            elif stop_on_failure and failed:
                failed[job.name] = "not started"
            elif lacking:
                failed[job.name] = f"not started: it needs {', '.join(lacking)}"
            else:
                todo.append(job)
        progress.drop(sum(job.name in failed for job in wave))
        if todo:
            failed |= _run(run, todo, launcher, stop_on_failure, progress)
        _join(run, wave)
    if failed:
        raise JobsFailed(failed)


def _run(
    run: Path, jobs: list[Job], launcher: Launcher, stop_on_failure: bool, progress: "_Progress"
) -> dict[str, str]:
    """Run jobs of one stage; returns those that failed and why. Raises Stopped after a signal."""
    write_pseudo_labels(run, jobs[0].config)
    write_reliable(run, jobs[0].config)
    words = [f"trust={','.join(given())}"] if given() else []
    commands = [[sys.executable, "-m", "common", "job", str(run / "jobs" / job.name), *words] for job in jobs]
    for job in jobs:
        (run / "jobs" / job.name / "failed.txt").unlink(missing_ok=True)
    progress.begin(jobs)
    codes = launcher(commands, stop_on_failure, progress.started, progress.ended)
    failed = {}
    for job, code in zip(jobs, codes, strict=True):
        if code in ASKED_TO_STOP:
            raise Stopped(code - 128)
        if code is None:
            failed[job.name] = "not started"
        elif code or not folder.is_done(run / "jobs" / job.name):
            failed[job.name] = _why(run / "jobs" / job.name, code)
    return failed


def _check_fresh(run: Path, job: Job) -> None:
    """A job that is done must be younger than those whose files it read."""
    done = run / "jobs" / job.name / "done"
    for name in job.needs:
        origin = run / "jobs" / name / "done"
        if origin.exists() and origin.stat().st_mtime_ns > done.stat().st_mtime_ns:
            raise PodiumError(
                f"{done.parent} was made from an older {name}: remove it to train it again, or keep it by "
                f"`touch {done}`"
            )


def run_alone(run: Path, job: Job) -> None:
    """Run the only job of a run in this process."""
    write_pseudo_labels(run, job.config)
    run_job(run / "jobs" / job.name)


def _join(run: Path, wave: list[Job]) -> None:
    """Out-of-fold predictions, as soon as every fold of a stage has been predicted."""
    ends = [run / "jobs" / job.name / "done" for job in wave]
    if wave[0].config["job"]["fold"] is None or not all(end.exists() for end in ends):
        return
    path = out_of_fold_path(run, wave[0].stage)
    if not path.exists() or path.stat().st_mtime_ns < max(end.stat().st_mtime_ns for end in ends):
        out_of_fold.join(run, wave[0].stage, len(wave))


def _why(job: Path, code: int) -> str:
    """What the job said, or how its process ended; kept in the job's folder, unless the job runs elsewhere."""
    elsewhere = folder.in_use(job)
    if elsewhere is not None:
        return elsewhere
    note = job / "failed.txt"
    if not note.exists():
        how = (
            f"its process was ended by signal {code - 128}"
            if code > 128
            else f"its process ended with code {code}"
        )
        folder.write_text(note, how + (" (out of memory?)" if code == 137 else "") + "\n")
    lines = note.read_text(encoding="utf-8").strip().splitlines()
    return f"{lines[-1] if lines else f'exit code {code}'} ({note})"


class _Progress:
    """Lines between the jobs: which one begins, which has ended, and how long the rest will take."""

    def __init__(self, count: int) -> None:
        self.left = self.count = count
        self.began = time.monotonic()
        self.since: dict[int, float] = {}

    def begin(self, jobs: list[Job]) -> None:
        self.jobs = jobs

    def drop(self, jobs: int) -> None:
        """So many will not start."""
        self.count -= jobs
        self.left -= jobs

    def started(self, number: int) -> None:
        self.since[number] = time.monotonic()
        place = self.jobs[number].config["job"]
        of_fold = "" if place["fold"] is None else f", fold {place['fold']} (of 0 to {place['folds'] - 1})"
        print(f"job {place['number']} of {place['of']}: stage {place['stage']}{of_fold}", flush=True)

    def ended(self, number: int, code: int) -> None:
        self.left -= 1
        now = time.monotonic()
        rest = (now - self.began) / (self.count - self.left) * self.left  # by what went through so far
        how = "done" if code == 0 else f"failed with code {code}"
        print(
            f"{self.jobs[number].name} {how} in {duration(now - self.since[number])}"
            + (f"; {self.left} more, about {duration(rest)} left" if self.left else ""),
            flush=True,
        )
