"""A job: one training of one model, a function from files to files.

It reads `config.yaml` in its folder and leaves `history.csv`, `last.ckpt`, `best.ckpt` (and one more checkpoint for
each further metric of `best`), `predictions.parquet`, `scores.json` and, last, `done`. Killed at any moment and
started again, it goes on from `last.ckpt`.
"""

import logging
import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from pytorch_lightning.callbacks import Callback, Timer

from common.build import build
from common.callbacks.checkpoints import AtomicCheckpointIO, SaveBest, SaveLast
from common.callbacks.history import History
from common.callbacks.progress import Progress
from common.callbacks.seed_steps import SeedSteps
from common.config.nearest import suggest
from common.data.module import ImageData
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from common.run import folder as folders
from common.run import predictions, trial
from common.run.gallery import draw_views

TRAINER_KEYS = {  # of the `trainer` node, those that are Lightning's; the others are read here
    "accelerator", "devices", "num_nodes", "strategy", "max_steps", "fast_dev_run",
    "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "check_val_every_n_epoch",
    "val_check_interval", "limit_train_batches", "limit_val_batches", "log_every_n_steps", "deterministic",
    "num_sanity_val_steps",
}  # fmt: skip


def run_job(job: Path) -> None:
    """Train, predict and score what `job/config.yaml` says, or what is left of it.

    Raises PodiumError for a mistake in configuration or data, Stopped if a signal asked to stop.
    """
    with folders.lock(job):
        if folders.is_done(job):
            return
        config = folders.load_config(job)
        quiet_lightning()
        torch.set_num_threads(config["trainer"]["threads"] or os.cpu_count() or 1)
        pl.seed_everything(config["seed"], verbose=False)
        data = make_data(config, job.parent.parent)
        data.setup()
        module = make_module(config, data)
        train(config, job, data, module)
        score_checkpoints(config, job, data)
        folders.write_text(job / "done", "")


def make_data(config: dict[str, Any], run: Path) -> ImageData:
    """The competition's data module, which keeps its split in the run folder."""
    return build(config["data"], seed=config["seed"], views=config["views"], folder=str(run))


def make_module(config: dict[str, Any], data: ImageData) -> ImageClassifier:
    """The competition's module for this data, with fresh weights."""
    parts = {name: config[name] for name in ("model", "loss", "optimizer", "schedule")}
    return build(
        config["module"],
        **parts,
        class_names=data.class_names,
        preprocessing=data.preprocessing,
        seed=config["seed"],
    )


def make_callbacks(config: dict[str, Any]) -> list[Callback]:
    """The callbacks that the configuration switches on, in its order."""
    parts = config["callbacks"].items()
    return [build(part) for _, part in parts if part is not None]


def train(config: dict[str, Any], job: Path, data: ImageData, module: ImageClassifier) -> None:
    """Fit, from the beginning or from `last.ckpt`."""
    options = config["trainer"]
    speed = _speed(config, job, module, data.batch_size)
    module.memory_format = trial.FORMATS[speed["memory_format"]]
    module.net.to(memory_format=module.memory_format)  # type: ignore[call-overload]
    _check_metrics(config, module)
    last = SaveLast(str(job / "last.ckpt"), options["save_every_seconds"])
    callbacks = [
        *make_callbacks(config),
        SeedSteps(config["seed"]),
        Progress(job.name, str(job / "log.txt"), options["enable_progress_bar"]),
        History(str(job / "history.csv")),
        *(
            SaveBest(str(path), metric, config["best"][metric])
            for metric, path in best_paths(config, job).items()
        ),
        last,
    ]
    if options["max_time"] is not None:
        callbacks.insert(0, Timer(options["max_time"], verbose=False))
    loggers = [build(part, save_dir=str(job)) for part in config["logger"].values() if part]
    trainer = pl.Trainer(
        **{key: options[key] for key in TRAINER_KEYS if options[key] is not None},
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
    resume = job / "last.ckpt"
    if not (job / "views.png").exists():
        draw_views(job / "views.png", data)
    with _signals_to(last):
        trainer.fit(
            module, datamodule=data, ckpt_path=str(resume) if resume.exists() else None, weights_only=True
        )
    for path in best_paths(config, job).values():
        if not path.exists():  # validation was switched off: the last is all there is
            shutil.copyfile(resume, path)


def _check_metrics(config: dict[str, Any], module: ImageClassifier) -> None:
    """A metric that nothing measures is refused before the first step, not after the first epoch."""
    asked = {f"best.{metric}": metric for metric in config["best"]}
    for name, part in config["callbacks"].items():
        if part is not None and part.get("monitor") is not None:
            asked[f"callbacks.{name}.monitor"] = part["monitor"]
    known = [*module.metrics.names, "train_loss"]
    for key, metric in asked.items():
        if metric not in known:
            raise PodiumError(
                f"{key}: there is no metric {metric}{suggest(metric, known)}; there are {', '.join(known)}"
            )


def best_paths(config: dict[str, Any], job: Path) -> dict[str, Path]:
    """Metric → its best checkpoint: `best.ckpt` for the first metric, `best_<metric>.ckpt` for further ones."""
    names = ["best.ckpt", *(f"best_{metric}.ckpt" for metric in list(config["best"])[1:])]
    return {metric: job / name for metric, name in zip(config["best"], names, strict=True)}


def load_module(config: dict[str, Any], checkpoint: Path) -> ImageClassifier:
    """The module that a checkpoint holds, in eval mode, with the seams that the configuration's callbacks bend."""
    module_class: Any = get_class(config["module"]["_target_"])
    model = dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["hyper_parameters"]["model"])
    if "pretrained" in model:
        model["pretrained"] = (
            "none"  # the weights are in the checkpoint; where they began may be out of reach
        )
    module: ImageClassifier = module_class.load_from_checkpoint(
        checkpoint, map_location="cpu", weights_only=True, model=model
    )
    module.compose(make_callbacks(config))
    return module.eval()


def score_checkpoints(config: dict[str, Any], job: Path, data: ImageData) -> None:
    """Predict the validation part from each best checkpoint, loaded afresh, and write what it scores."""
    rows = data.rows("valid")
    assert data.table is not None
    table = data.table.iloc[rows]
    labels = table["label"].to_numpy()
    found: dict[str, Any] = {}
    for metric, path in best_paths(config, job).items():
        if not path.exists():
            continue
        module = load_module(config, path)
        probabilities = predict_rows(module, data, rows, config["trainer"]["accelerator"])
        scores = predictions.score(labels, probabilities, data.class_names)
        scores["epoch"] = torch.load(path, map_location="cpu", weights_only=True)["epoch"] + 1
        found[path.name] = {"chosen_by": metric, **scores}
        if path.name == "best.ckpt":
            predictions.write(job / "predictions.parquet", table["id"].tolist(), labels, probabilities)
    best = found.pop("best.ckpt", {})
    named = {f"valid_{key}" if key in ("top1", "top5", "loss") else key: value for key, value in best.items()}
    folders.write_json(job / "scores.json", {**named, "checkpoints": found})


def predict_rows(module: ImageClassifier, data: ImageData, rows: np.ndarray, accelerator: str) -> np.ndarray:
    """Probabilities of these rows of the data, in their order: float32 (N, K)."""
    device = device_of(accelerator)
    module.to(device)
    chunks = []
    with torch.inference_mode():
        for start in range(0, len(rows), 2 * data.batch_size):
            items = [(0, int(row)) for row in rows[start : start + 2 * data.batch_size]]
            images = data.valid_images.__getitems__(items)["image"].to(device).float().div_(255)
            chunks.append(module.seams.predict(images).float().cpu().numpy())
    return np.concatenate(chunks)


def device_of(accelerator: str) -> torch.device:
    """Where predictions run: the GPU where there is one, unless the configuration says cpu."""
    return torch.device(
        "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"
    )


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
        ".*found .* modules? in eval mode.*",
        ".*You're resuming from a checkpoint that ended.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def _speed(config: dict[str, Any], job: Path, module: ImageClassifier, batch_size: int) -> dict[str, Any]:
    """Precision and memory format: those of this job's first start, so that a resumed run computes the same."""
    path = job / "speed.json"
    if path.exists():
        return folders.load_json(path)
    options, enabled = config["trainer"], config["trial"]["enabled"]
    choice = trial.choose(
        module,
        batch_size,
        device_of(options["accelerator"]),
        options["precision"],
        options["memory_format"],
        config["trial"]["steps"] if enabled and not options["fast_dev_run"] else 0,
        torch.get_num_threads(),
    )
    folders.write_json(path, choice)
    return choice


@contextmanager
def _signals_to(last: SaveLast) -> Iterator[None]:
    """SIGTERM and SIGINT reach `last` while training, and their old handlers afterwards."""
    before = {number: signal.signal(number, last.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
