"""A job: one training of one model, a function from files to files.

It reads `config.yaml` in its folder, its run's `folds.csv` and what earlier jobs left, and leaves `history.csv`,
`last.ckpt`, `best.ckpt` (and one more checkpoint for each further metric of `best`), `predictions.parquet` of what it
validates (and `predictions_choose.parquet`, `predictions_score.parquet` of the parts that no stage trains on),
`scores.json` and, last, `done`. Killed at any moment and started again, it goes on from `last.ckpt`.

Where one model trains in several processes, all of them run this; the first alone writes, predicts and scores.
"""

import logging
import os
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from pytorch_lightning.callbacks import Callback, Timer

from common.build import build
from common.callbacks.checkpoints import AtomicCheckpointIO, SaveBest, SaveLast, SaveSteps, Stopped
from common.callbacks.freeze import Freeze
from common.callbacks.history import History
from common.callbacks.progress import Progress, note
from common.callbacks.seed_steps import SeedSteps
from common.config.nearest import listed, suggest
from common.cores import cores
from common.data import predictions
from common.data.module import ImageData
from common.errors import PodiumError
from common.model.carry_over import Classes, count_carried, rows_of_tensors
from common.model.classifier import ImageClassifier
from common.model.hierarchy import LEAF
from common.model.pretrained import file_classes, file_state, load_state
from common.run import folder as folders
from common.run import stages, trial
from common.run.features import train_on_features
from common.run.gallery import draw_views
from common.run.scores import score_file

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
    with folders.lock(job) if is_first_process() else nullcontext():
        if folders.is_done(job):
            return
        try:
            _run(job)
        except Exception as error:
            if is_first_process() and not isinstance(error, Stopped):
                folders.write_text(job / "failed.txt", "".join(traceback.format_exception(error)))
            raise


def _run(job: Path) -> None:
    (job / "failed.txt").unlink(missing_ok=True)
    run = job.parent.parent
    config = with_teacher(folders.load_config(job), run)
    quiet_lightning()
    torch.set_num_threads(threads(config))
    pl.seed_everything(config["seed"], verbose=False)
    data = make_data(config, run)
    data.setup()
    stages.check_teacher(config, run, data.class_names)
    if config["weights_from"]:
        take_checkpoints(config, job, run)
    else:
        train(config, job, data, make_module(config, data))
    if is_first_process():
        score_checkpoints(config, job, data)
        folders.write_text(job / "done", "")


def is_first_process() -> bool:
    """Whether this is the process that writes, of those that train one model together."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def threads(config: dict[str, Any]) -> int:
    """CPU threads of this job: as configured, else its share of the cores where jobs run side by side, else all."""
    return config["trainer"]["threads"] or int(os.environ.get("PODIUM_THREADS", cores()))


def with_teacher(config: dict[str, Any], run: Path) -> dict[str, Any]:
    """The configuration with the teachers' tables in place."""
    tables = [stages.soft_labels_table(config, run), stages.taught_table(config, run)]
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


def make_data(config: dict[str, Any], run: Path) -> ImageData:
    """The competition's data module, which keeps its split in the run folder and packs below `data/`."""
    place: dict[str, Any] = {key: config.get("job", {}).get(key) for key in ("folds", "fold")}
    place["packs"] = str(folders.DATA / config["competition"] / "pack")
    place["copies_folder"] = str(folders.DATA / config["competition"] / "copies")
    table = stages.taught_table(config, run) if "job" in config else None
    if table is not None and table.exists():
        place["taught"] = str(table)
    reliable = stages.reliable_list(config, run) if "job" in config else None
    if reliable is not None:
        place["cleaned"] = str(reliable)
    return build(config["data"], seed=config["seed"], views=config["views"], folder=str(run), **place)


def make_module(config: dict[str, Any], data: ImageData) -> ImageClassifier:
    """The competition's module for this data, with fresh weights."""
    parts = {name: config[name] for name in ("model", "loss", "optimizer", "schedule")}
    return build(
        config["module"],
        **parts,
        class_names=data.class_names,
        preprocessing=data.preprocessing,
        levels=data.levels,
        seed=config["seed"],
    )


def make_callbacks(config: dict[str, Any]) -> list[Callback]:
    """The callbacks that the configuration switches on, in its order."""
    parts = config["callbacks"].items()
    return [build(part) for _, part in parts if part is not None]


def train(config: dict[str, Any], job: Path, data: ImageData, module: ImageClassifier) -> None:
    """Fit, from the beginning or from `last.ckpt`."""
    options = config["trainer"]
    own = make_callbacks(config)
    _freeze(own, module)  # before the trial, which times what the job will compute
    speed = _speed(config, job, module, data.batch_size)
    _lay_out(module, speed["memory_format"])
    _check_metrics(config, module)
    _start_from(stages.init_checkpoint(config, job.parent.parent), module, job)
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
    if is_first_process() and not (job / "views.png").exists():
        draw_views(job / "views.png", data)
    with _signals_to(last):
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
    if checkpoint is None or (job / "last.ckpt").exists() or not is_first_process():
        return  # further processes get their weights from the first
    weights = file_state(checkpoint, key="init_from")
    before, now = file_classes(checkpoint), Classes(module.class_names, module.hparams["levels"])
    rows = rows_of_tensors(module.net, before, now) if before else {}
    loaded = load_state(module.net, weights, str(checkpoint), key="init_from", rows=rows)
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


def _check_metrics(config: dict[str, Any], module: ImageClassifier) -> None:
    """A metric that nothing measures is refused before the first step, not after the first epoch."""
    asked = {f"best.{metric}": metric for metric in config["best"]}
    for name, part in config["callbacks"].items():
        if part is not None and part.get("monitor") is not None:
            asked[f"callbacks.{name}.monitor"] = part["monitor"]
    known = [*module.metrics.names, *module.level_metrics.names, "train_loss"]
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
    """The module that a checkpoint holds, in eval mode, with the seams that the configuration's callbacks bend.

    It computes in the memory format that its job's training chose: on CPUs the other one can take three times as long.
    """
    module_class: Any = get_class(config["module"]["_target_"])
    model = dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["hyper_parameters"]["model"])
    if "pretrained" in model:
        model["pretrained"] = (
            "none"  # the weights are in the checkpoint; where they began may be out of reach
        )
    module: ImageClassifier = module_class.load_from_checkpoint(
        checkpoint, map_location="cpu", weights_only=True, model=model
    )
    untaught = {**config["callbacks"], "soft_labels": None}  # its table is for training, and may be gone
    callbacks = make_callbacks({**config, "callbacks": untaught})
    module.compose(callbacks)
    for callback in callbacks:
        if hasattr(callback, "before_predicting"):
            callback.before_predicting(module)
    speed = checkpoint.parent / "speed.json"
    if speed.exists():
        _lay_out(module, folders.load_json(speed)["memory_format"])
    return module.eval()


def _lay_out(module: ImageClassifier, memory_format: str) -> None:
    """Weights and images of the network in this memory format: channels_last or contiguous."""
    module.memory_format = trial.FORMATS[memory_format]
    module.net.to(memory_format=module.memory_format)  # type: ignore[call-overload]


def score_checkpoints(config: dict[str, Any], job: Path, data: ImageData) -> None:
    """Predict what no training picture is in, from each best checkpoint loaded afresh, and write what it scores."""
    assert data.table is not None
    scores: dict[str, Any] = {}
    further: dict[str, Any] = {}
    if config["trainer"]["fast_dev_run"]:  # a score that nobody reads is not worth the time of further views
        config = {**config, "callbacks": {**config["callbacks"], "tta": None}}
    for metric, path in best_paths(config, job).items():
        if not path.exists():
            continue
        module = load_module(config, path)
        epoch = torch.load(path, map_location="cpu", weights_only=True)["epoch"] + 1
        found = {"chosen_by": metric, "epoch": epoch}
        for part in ("valid", "choose", "score"):
            rows = data.rows(part)
            if not len(rows):
                continue
            table = data.table.iloc[rows]
            labels = table["label"].to_numpy()
            file = (
                folders.predictions_path(job, part) if path.name == "best.ckpt" else job / ".further.parquet"
            )
            pieces = predict_rows(module, data, rows, config["trainer"]["accelerator"])
            predictions.write(file, table["id"].tolist(), labels, pieces)
            of_part = score_table(file, module, data.class_names) | module.level_metrics.take()
            if path.name == "best.ckpt":
                scores |= scores_of_part(part, of_part)
            elif part == "valid":
                found |= of_part
        if path.name == "best.ckpt":
            scores |= {"chosen_by": metric, "epoch": epoch}
        else:
            further[path.name] = found
    (job / ".further.parquet").unlink(missing_ok=True)
    if data.fold is not None:
        scores["in_folds"] = data.in_folds
    folders.write_json(job / "scores.json", {**scores, "checkpoints": further})


def score_table(file: Path, module: ImageClassifier, class_names: list[str]) -> dict[str, Any]:
    """What predictions score: what all competitions measure, and what this one's module adds."""
    return score_file(file, class_names) | module.extra_scores(predictions.read_top(file))


def scores_of_part(part: str, scores: dict[str, Any]) -> dict[str, Any]:
    """Scores under names that tell the part: valid_top1, score_top1, …; images and per_class are those of valid."""
    named = {f"{part}_{key}": value for key, value in scores.items() if key != "per_class"}
    if part == "valid":
        named |= {"images": named.pop("valid_images"), "per_class": scores["per_class"]}
    return named


def predict_rows(
    module: ImageClassifier, data: ImageData, rows: np.ndarray, accelerator: str
) -> Iterator[np.ndarray]:
    """Probabilities of these rows of the data, in their order: pieces of float32 (N, K)."""
    device = device_of(accelerator)
    module.to(device)
    together = data.together()
    for start in range(0, len(rows), together):
        items = [(0, int(row)) for row in rows[start : start + together]]
        with torch.inference_mode():
            batch = data.valid_images.__getitems__(items)
            images, labels = batch["image"].to(device).float().div_(255), batch["label"].to(device)
            yield module.predict_scored(images, labels).float().cpu().numpy()


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
        ".*found .* module.* in eval mode.*",
        ".*You're resuming from a checkpoint that ended.*",
        ".*GPU available but not used.*",
        ".*isinstance.treespec.*",
        ".*when logging on epoch level in distributed setting.*",  # torchmetrics has done it already
    ):
        warnings.filterwarnings("ignore", message=message)


def _speed(config: dict[str, Any], job: Path, module: ImageClassifier, batch_size: int) -> dict[str, Any]:
    """Precision and memory format: those of this job's first start, so that a resumed run computes the same."""
    path = job / "speed.json"
    while not (path.exists() or is_first_process()):
        time.sleep(0.1)  # all processes compute as the first has chosen
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
