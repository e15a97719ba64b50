"""A job: one training of one model, a function from files to files.

It reads `config.yaml` in its folder, its run's `folds.csv` and what earlier jobs left, and leaves `history.csv`,
`last.ckpt`, `best.ckpt` (and one more checkpoint for each further metric of `best`), `predictions.parquet` of what it
validates (and `predictions_choose.parquet`, `predictions_score.parquet` of the parts that no stage trains on),
`scores.json` and, last, `done`. Killed at any moment and started again, it goes on from `last.ckpt`.

Where one model trains in several processes, all of them run this; the first alone writes, predicts and scores.
"""

import logging
import os
import sys
import traceback
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from common.callbacks.checkpoints import Stopped
from common.cores import cores
from common.data.module import ImageData
from common.errors import PodiumError
from common.files import written
from common.model.classifier import ImageClassifier
from common.processes import die_with_first, is_first_process, is_orphan
from common.run import environment, jobs
from common.run import folder as folders
from common.run.components import make_data, make_module
from common.run.members import best_paths
from common.run.predict_rows import score_checkpoints
from common.train.fit import train


def run_job(job: Path) -> None:
    """Train, predict and score what `job/config.yaml` says, or what is left of it.

    Raises PodiumError for a mistake in configuration or data, Stopped if a signal asked to stop.
    """
    first = is_first_process()
    rank_zero_only.rank = 0 if first else 1  # type: ignore[attr-defined]  # until a trainer knows it better
    if not first:
        die_with_first()
    with folders.lock(job) if first else nullcontext():
        if folders.is_done(job):
            return
        try:
            _run(job)
        except Stopped:
            if first:
                raise
            # with an exit code 0, since for any other Lightning kills the first before it has said that it has saved
        except Exception as error:
            cause = _first_cause(job, error)
            if cause is None:
                raise
            if not first:
                sys.exit(1)
            raise PodiumError(
                f"another process of this training failed first: {cause} ({job / 'failed.txt'})"
            ) from error


def _first_cause(job: Path, error: Exception) -> str | None:
    """Note an error in `failed.txt`; if another process has before, what it said: this one's error follows from that.

    None if this is the first, or the same in all of them.
    """
    note, said = job / "failed.txt", traceback.format_exception(error)
    own = "".join(said).strip().splitlines()[-1]
    if not is_first_process() and is_orphan():
        return own  # the first is gone, and its launcher says how
    with suppress(PodiumError, OSError):  # on a full disk the error itself is what counts
        with written(note, str(os.getpid())) as partial:
            if not note.exists():
                partial.write_text("".join(said), encoding="utf-8")
        cause = (note.read_text(encoding="utf-8").strip().splitlines() or [own])[-1]
        return None if cause == own else cause.removeprefix("common.errors.PodiumError: ")
    return None


def _run(job: Path) -> None:
    if is_first_process():
        (job / "failed.txt").unlink(missing_ok=True)
    run = job.parent.parent
    config = with_teacher(folders.load_config(job), run)
    quiet_lightning()
    torch.set_num_threads(threads(config))
    if is_first_process():
        folders.write_json(job / environment.NAME, environment.describe(torch.get_num_threads()))
    pl.seed_everything(config["seed"], verbose=False)
    data = make_data(config, run)
    data.setup()
    jobs.check_teacher(config, run, data.class_names)
    if config["weights_from"]:
        if is_first_process():
            take_checkpoints(config, job, run)
    else:
        train(config, job, data, _module(config, job, data))
    if is_first_process():
        score_checkpoints(config, job, data)
        folders.write_text(job / "done", "")


def _module(config: dict[str, Any], job: Path, data: ImageData) -> ImageClassifier:
    """A fresh module. Of a job that goes on, the weights are in its checkpoint; where they began may be gone."""
    last = job / "last.ckpt"
    if not last.exists() or config["model"].get("pretrained") in (None, "none"):
        return make_module(config, data)
    module = make_module({**config, "model": {**config["model"], "pretrained": "none"}}, data)
    module.load_state_dict(torch.load(last, map_location="cpu", weights_only=True)["state_dict"])
    return module


def threads(config: dict[str, Any]) -> int:
    """CPU threads of this job: as configured, else its share of the cores where jobs run side by side, else all."""
    return config["trainer"]["threads"] or cores()


def with_teacher(config: dict[str, Any], run: Path) -> dict[str, Any]:
    """The configuration with the teachers' tables in place."""
    tables = [jobs.soft_labels_table(config, run), jobs.taught_table(config, run)]
    if tables[0] is None:
        return config
    part = {
        **config["callbacks"]["soft_labels"],
        "path": [str(table) for table in tables if table is not None],
    }
    return {**config, "callbacks": {**config["callbacks"], "soft_labels": part}}


def take_checkpoints(config: dict[str, Any], job: Path, run: Path) -> None:
    """Instead of training: the checkpoints of the same job of the run `weights_from`."""
    origin = Path(config["weights_from"]) / "jobs" / job.name
    for target in best_paths(config, job).values():
        if not (origin / target.name).exists():
            raise PodiumError(f"weights_from: there is no {origin / target.name}")
        folders.copy(origin / target.name, target)
    for name in ("views.png", "speed.json"):
        if (origin / name).exists():
            folders.copy(origin / name, job / name)


def quiet_lightning() -> None:
    """Silence what Lightning says about its own internals; errors and our own lines remain."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*dataloader is not resumable.*",
        ".*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists.*",
        ".*TypedStorage is deprecated.*",
        ".*lr_scheduler.step.*",
        ".*self.log.*batch_size.*",
        ".*LeafSpec.*deprecated.*",
        ".*found .* module.* in eval mode.*",
        ".*You're resuming from a checkpoint that ended.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec.*",
        ".*when logging on epoch level in distributed setting.*",  # torchmetrics has done it already
    ):
        warnings.filterwarnings("ignore", message=message)
