"""The training of one model: a module, data and a folder in, checkpoints and `history.csv` out."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from common.activity import Activity
from common.build import build
from common.callbacks.checkpoints import AtomicCheckpointIO, SaveBest, SaveLast, SaveSteps
from common.callbacks.freeze import Freeze
from common.config.nearest import listed, suggest
from common.config.schema import ON_GPU_ALONE
from common.data.module import ImageData
from common.errors import PodiumError, reading
from common.model.checkpoint import load_checkpoint
from common.model.classifier import ImageClassifier
from common.model.networks.carry_over import Classes, count_carried, rows_of_tensors
from common.model.networks.pretrained import file_classes, file_state, load_state
from common.processes import FIRST, is_first_process
from common.report.gallery import draw_near_duplicates, draw_views
from common.run import folder as folders
from common.run import jobs, shapes
from common.run.components import device_of, lay_out, make_callbacks
from common.run.members import best_paths
from common.task.hierarchy import LEAF
from common.task.measures import direction_of
from common.train import speed_probe
from common.train.frozen_backbone import train_on_features
from common.train.history import History
from common.train.progress import Progress, note
from common.train.seed_steps import SeedSteps

TRAINER_KEYS = {  # of the `trainer` node, those that are Lightning's; the others are read here
    "accelerator", "devices", "num_nodes", "strategy", "max_steps", "fast_dev_run",
    "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "check_val_every_n_epoch",
    "val_check_interval", "limit_train_batches", "limit_val_batches", "log_every_n_steps", "deterministic",
    "num_sanity_val_steps",
}  # fmt: skip  # fmt: skip
DEVICES = ("accelerator", "devices", "num_nodes", "strategy")
NULLABLE = {"check_val_every_n_epoch"}  # where null is Lightning's None, and not its default
PATIENCE = 600.0  # seconds that a process waits for the first one to choose how to compute
RESUMED = ("state_dict", "epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")


def train(config: dict[str, Any], job: Path, data: ImageData, module: ImageClassifier) -> None:
    """Fit, from the beginning or from `last.ckpt`."""
    options = config["trainer"]
    own = make_callbacks(config)
    _freeze(own, module)  # before the trial, which times what the job will compute
    speed = _speed(config, job, module, data)
    lay_out(module, speed["memory_format"])
    check_metrics(config, module)
    _check_validation(options, data, 1)
    _start_from(jobs.init_checkpoint(config, job.parent.parent), module, job)
    device = device_of(options["accelerator"])
    on_features = train_on_features(config, job, data, module, speed["precision"], device)
    spent = on_features.first if on_features else 0.0  # seconds that count as training
    last = SaveLast(
        str(job / "last.ckpt"), options["save_every_seconds"], every_epoch=on_features is None
    )  # an epoch on features takes less time than writing the network
    callbacks = [
        *own,
        *([on_features] if on_features else []),
        SeedSteps(config["seed"]),
        Progress(title(config, job), str(job / "log.txt"), options["enable_progress_bar"]),
        History(str(job / "history.csv"), spent),
        *(
            SaveBest(str(path), metric, config["best"][metric])
            for metric, path in best_paths(config, job).items()
        ),
        *(
            [SaveSteps(str(job), options["save_every_steps"], options["keep"])]
            if options["save_every_steps"]
            else []
        ),
        last,
    ]
    if options["max_time"] is not None:
        timer = Timer(options["max_time"], verbose=False)
        timer._offset = spent  # type: ignore[assignment]
        callbacks.insert(0, timer)
    loggers = [build(part, "logger", save_dir=str(job)) for part in config["logger"].values() if part]
    trainer = make_trainer(
        options,
        **{key: options[key] for key in TRAINER_KEYS if options[key] is not None or key in NULLABLE},
        max_epochs=-1 if options["max_epochs"] is None else options["max_epochs"],
        precision=speed["precision"],
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(job),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if speed["precision"] == "16-mixed" != trainer.precision:  # Lightning takes bf16 in its place
        raise PodiumError(ON_GPU_ALONE)
    _check_processes(config, data, trainer.world_size)
    resume = job / "last.ckpt"
    if resume.exists():
        _check_resumable(resume, module)
    if is_first_process() and not (job / "views.png").exists():
        with Activity("drawing training views"):
            draw_views(job / "views.png", data)
            draw_near_duplicates(data)
    with _known_to_others(), _signals_to(last), _refusals(), _ended(trainer):
        trainer.fit(
            module, datamodule=data, ckpt_path=str(resume) if resume.exists() else None, weights_only=True
        )
    for path in best_paths(config, job).values() if is_first_process() else ():
        if not path.exists():  # validation was switched off: the last is all there is
            folders.copy(resume, path)


def title(config: dict[str, Any], job: Path) -> str:
    """What lines of this job begin with: nothing where it is the run's only one."""
    place = config["job"]
    return f"{job.name} ({place['number']}/{place['of']})" if place["of"] > 1 else ""


def _freeze(callbacks: list[Callback], module: ImageClassifier) -> None:
    """Freeze what never learns; modules that are frozen for a few epochs learn in most."""
    for freeze in callbacks:
        if isinstance(freeze, Freeze) and freeze.until_epoch is None:
            freeze.set_learning(module, False)


def _start_from(checkpoint: Path | None, module: ImageClassifier, job: Path) -> None:
    """Load start weights by name; what is left out or left as it was is listed in `init.json`."""
    if checkpoint is None or (job / "last.ckpt").exists():
        return
    weights = file_state(checkpoint, key="init_from")
    before, now = file_classes(checkpoint), Classes(module.class_names, module.hparams["levels"])
    rows = rows_of_tensors(module.net, before, now) if before else {}
    loaded = load_state(module.net, weights, str(checkpoint), key="init_from", rows=rows)
    if not is_first_process():
        return
    classes = count_carried(rows, loaded.fitted, now)
    folders.write_json(job / "init.json", {"from": str(checkpoint), **vars(loaded), "classes": classes})
    lines = [f"{len(loaded.fitted)} tensors from {checkpoint}"]
    for level, count in classes.items():
        at = "" if level == LEAF else f" of {level}"
        lines.append(f"{count['carried']} classes{at} are carried over, {count['fresh']} are fresh")
    if loaded.left_out:
        lines.append(f"left out: {listed(f'{name} ({why})' for name, why in loaded.left_out.items())}")
    if loaded.missing:
        lines.append(f"not there, so as made: {listed(loaded.missing)}")
    for line in lines:
        print(f"{job.name}: {line}")
        note(job / "log.txt", line)


def check_metrics(config: dict[str, Any], module: ImageClassifier, classes_known: bool = True) -> None:
    """A metric that nothing measures is refused before the first step, not after the first epoch.

    classes_known: else the levels of a class tree may bring metrics that the module does not know of.
    """
    asked = {f"best.{metric}": (metric, direction) for metric, direction in config["best"].items()}
    for name, part in config["callbacks"].items():
        if part is not None and part.get("monitor") is not None:
            default = "min" if part["_target_"].startswith("pytorch_lightning.") else None  # Lightning's own
            asked[f"callbacks.{name}.monitor"] = part["monitor"], part.get("mode", default)
    directions = module.directions
    known = [*directions]
    for key, (metric, direction) in asked.items():
        if key == "best.train_loss":
            raise PodiumError(
                "best.train_loss: what is trained on says little of new pictures and does not choose; take one of "
                f"{', '.join(name for name in known if name != 'train_loss')}"
            )
        if (
            config["trainer"]["limit_val_batches"] == 0
            and metric != "train_loss"
            and not key.startswith("best.")
        ):
            raise PodiumError(
                f"{key}: trainer.limit_val_batches=0 switches validation off, so there is no {metric}: set {key}="
                f"train_loss, or {key.rpartition('.')[0]}=null"
            )
        if metric not in known:
            if not classes_known and metric.endswith("_top1"):
                continue
            raise PodiumError(
                f"{key}: there is no metric {metric}{suggest(metric, known)}; there are {', '.join(known)}"
            )
        direction_of(key, metric, direction, directions)


def _check_processes(config: dict[str, Any], data: ImageData, processes: int) -> None:
    """One that has nothing to train on is refused before the others wait for it."""
    images = len(data.rows("train"))
    if images < processes:
        raise PodiumError(
            f"trainer.devices: {images} training pictures are too few for {processes} processes, each of which needs "
            f"one: set trainer.devices (and trainer.num_nodes) so that they are at most {images}, or leave more to "
            f"train on, by a smaller data.valid={config['data'].get('valid')}"
        )
    _check_validation(config["trainer"], data, processes)


def _check_validation(options: dict[str, Any], data: ImageData, processes: int) -> None:
    """An interval that no epoch is long enough for is refused before the first step."""
    interval, batches = options["val_check_interval"], max(1, data.batches_per_epoch // processes)
    limit = options["limit_train_batches"]  # no trainer has told the data of it
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    every = options["check_val_every_n_epoch"]
    if options["fast_dev_run"] or every is None or not isinstance(interval, int) or interval <= batches:
        return
    raise PodiumError(
        f"trainer.val_check_interval={interval} is longer than an epoch of {batches} batches: set "
        f"trainer.check_val_every_n_epoch=null to count across epochs, or an interval of at most {batches}"
    )


def make_trainer(options: dict[str, Any], **arguments: Any) -> pl.Trainer:
    """Raises PodiumError where devices or strategy are not to be had here."""
    arguments = {key: options[key] for key in DEVICES} | arguments
    try:
        return pl.Trainer(**arguments)
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        asked = ", ".join(f"trainer.{key}={options[key]}" for key in ("accelerator", "devices", "strategy"))
        raise PodiumError(f"{asked}: trainer=auto takes what this machine has ({error})") from error


@contextmanager
def _refusals() -> Iterator[None]:
    """What Lightning says of options that do not go together is a mistake of the user's, not of ours."""
    try:
        yield
    except MisconfigurationException as error:
        raise PodiumError(f"trainer: {error}") from error


@contextmanager
def _ended(trainer: pl.Trainer) -> Iterator[None]:
    """Where another process was ended by a signal, that is the error, and not what became of the connection to it."""
    try:
        yield
    except RuntimeError as error:
        processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        if processes:
            time.sleep(0.5)  # its connections are closed a moment before it has ended
        for rank, process in enumerate(processes, start=1):
            if (code := process.poll() or 0) < 0:
                why = " (out of memory?)" if code == -signal.SIGKILL else ""
                raise PodiumError(
                    f"process {rank} of the training was ended by signal {-code}{why}"
                ) from error
        raise


def _speed(config: dict[str, Any], job: Path, module: ImageClassifier, data: ImageData) -> dict[str, Any]:
    """Precision and memory format: those of this job's first start, so that a resumed run computes the same."""
    path = job / "speed.json"
    if not is_first_process():
        _wait_for(path)  # all processes compute as the first has chosen
    options, enabled = config["trainer"], config["trial"]["enabled"]
    device = device_of(options["accelerator"])
    if path.exists():
        choice = folders.load_json(path, shapes.Speed)
        print(speed_probe.described(choice, device))
        return choice
    choice = speed_probe.choose(
        module,
        data.batch_size,
        device,
        options["precision"],
        options["memory_format"],
        config["trial"]["steps"] if enabled and not options["fast_dev_run"] else 0,
        torch.get_num_threads(),
        lambda each: _predicted(options, len(data.rows("train")), each, data.batch_size),
    )
    print(speed_probe.described(choice, device))
    folders.write_json(path, choice)
    return choice


def _wait_for(path: Path) -> None:
    """Until the first process has written a file. Raises PodiumError where it does not."""
    began = time.monotonic()
    while not path.exists():
        if time.monotonic() - began > PATIENCE:
            raise PodiumError(
                f"the first of the processes that train together has not written {path} for {PATIENCE:.0f} s: either "
                "it has ended, which its own output says, or its host and this one do not share that folder"
            )
        time.sleep(0.1)


def _predicted(options: dict[str, Any], images: int, each: float, batch_size: int) -> float:
    """Seconds that the training will take if an image takes `each`, by the bound that ends it first."""
    ends = []
    if options["max_epochs"] is not None:
        ends.append(options["max_epochs"] * images * each)
    if options["max_steps"] is not None:
        ends.append(options["max_steps"] * options["accumulate_grad_batches"] * batch_size * each)
    if options["max_time"] is not None:
        days, hours, minutes, seconds = map(int, options["max_time"].split(":"))
        ends.append(((days * 24 + hours) * 60 + minutes) * 60.0 + seconds)
    return min(ends)


def _check_resumable(checkpoint: Path, module: ImageClassifier) -> None:
    """Raise PodiumError for a checkpoint that Lightning would stumble over in the middle of things."""
    content = load_checkpoint(checkpoint, *RESUMED)
    with reading(checkpoint):
        module.load_state_dict(content["state_dict"])


@contextmanager
def _known_to_others() -> Iterator[None]:
    """The processes that Lightning starts meanwhile know this one by its number, if it is the first."""
    if is_first_process():
        os.environ[FIRST] = str(os.getpid())
    try:
        yield
    finally:
        if is_first_process():
            os.environ.pop(FIRST, None)


@contextmanager
def _signals_to(last: SaveLast) -> Iterator[None]:
    """SIGTERM and SIGINT reach `last` while training, and their old handlers afterwards."""
    before = {number: signal.signal(number, last.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
