"""The typed root of every training configuration: which keys there are, what they mean and what they may be.

A *component* is a node with a `_target_` (dotted path of a class or function) and that target's keyword arguments.
Components are plain dictionaries here; `common.config.check` compares them with the signature of their target.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from common.config.nearest import show, suggest
from common.errors import PodiumError

BOUNDS = ("max_epochs", "max_steps", "max_time")  # alternatives: setting one lifts those set below it
NAMED_COMPONENTS = (
    "callbacks",
    "logger",
    "views.batch",
)  # dictionaries of named components; null switches one off

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PRECISIONS = ("32-true", "32", "16-mixed", "bf16-mixed", "64-true", "64")
ON_GPU_ALONE = "trainer.precision=16-mixed needs a GPU, and this trains on a CPU: bf16-mixed or null will do"
MEMORY_FORMATS = ("auto", "channels_last", "contiguous")
CLIP_ALGORITHMS = ("norm", "value")
DIRECTIONS = ("max", "min")
ON_FAILURE = ("continue", "stop")
CLEANING = ("out_of_fold", "original")


@dataclass
class Trainer:
    """How the loop runs. Names and meanings are those of Lightning's Trainer where it has them."""

    accelerator: str = "auto"  # auto | cpu | gpu | cuda | mps | tpu
    devices: Any = "auto"  # auto | number of devices, -1 all | list of device numbers
    num_nodes: int = 1  # hosts, >= 1
    strategy: str = "auto"  # auto | ddp | ... (Lightning's names)
    precision: str | None = None  # 32-true | bf16-mixed | 16-mixed | ...; null: the fastest in a short trial
    memory_format: str = "auto"  # channels_last | contiguous; auto: the fastest in a short trial
    threads: int | None = None  # CPU threads of one job, >= 1; null: all that this process may use

    # The end of training: alternatives. The last layer that sets one lifts those set in the layers below it.
    max_epochs: int | None = None  # >= 1
    max_steps: int | None = None  # optimizer steps, >= 1
    max_time: str | None = None  # DD:HH:MM:SS

    fast_dev_run: bool | int = False  # true: 1 batch of training and validation, then the end; n: n batches
    limit_train_batches: int | float | None = None  # int: batches an epoch; float: share of them, (0, 1]
    limit_val_batches: int | float | None = None  # as above; 0 switches validation off
    num_sanity_val_steps: int = 0  # validation batches before training, -1 all
    check_val_every_n_epoch: int | None = 1  # >= 1; null: by val_check_interval alone, across epochs
    val_check_interval: int | float | None = None  # int: every n batches; float: share of an epoch, (0, 1]

    gradient_clip_val: float | None = None  # > 0; null: no clipping
    gradient_clip_algorithm: str = "norm"  # norm | value
    accumulate_grad_batches: int = 1  # batches for one optimizer step, >= 1

    deterministic: bool | str = False  # true | false | warn
    log_every_n_steps: int = 50  # >= 1
    enable_progress_bar: bool = True
    save_every_seconds: float = 60  # at most this much work is lost by a kill, > 0
    save_every_steps: int | None = (
        None  # keep step_<n>.ckpt too, every so many optimizer steps, >= 1; null: none
    )
    keep: int = 3  # of these the newest so many, >= 1
    # where the backbone is frozen and views are fixed, its features are computed once: auto | true | false
    frozen_features: bool | str = "auto"

    def __post_init__(self) -> None:
        one_of("trainer.accelerator", self.accelerator, ACCELERATORS)
        one_of("trainer.memory_format", self.memory_format, MEMORY_FORMATS)
        one_of("trainer.gradient_clip_algorithm", self.gradient_clip_algorithm, CLIP_ALGORITHMS)
        if self.precision in ("16-true", "bf16-true"):
            raise PodiumError(
                f"trainer.precision={self.precision} keeps weights in 16 bits, where small steps are lost: "
                f"{self.precision.replace('true', 'mixed')} computes as fast"
            )
        if self.strategy.endswith("spawn"):
            raise PodiumError(
                f"trainer.strategy={self.strategy} pickles the model, which has functions: "
                f"{self.strategy.removesuffix('_spawn')} trains in as many processes without"
            )
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            raise PodiumError(ON_GPU_ALONE)
        if self.precision is not None:
            one_of("trainer.precision", self.precision, PRECISIONS, "or null for a trial")
        if isinstance(self.deterministic, str):
            one_of("trainer.deterministic", self.deterministic, ("warn",), "or true or false")
        if isinstance(self.frozen_features, str):
            one_of("trainer.frozen_features", self.frozen_features, ("auto",), "or true or false")
        for name in ("num_nodes", "accumulate_grad_batches", "log_every_n_steps", "keep"):
            at_least(f"trainer.{name}", getattr(self, name), 1)
        for name in ("threads", "max_epochs", "max_steps", "check_val_every_n_epoch", "save_every_steps"):
            at_least(f"trainer.{name}", getattr(self, name), 1, or_null=True)
        at_least("trainer.fast_dev_run", int(self.fast_dev_run), 0)
        at_least("trainer.num_sanity_val_steps", self.num_sanity_val_steps, -1)
        above_zero("trainer.save_every_seconds", self.save_every_seconds)
        above_zero("trainer.gradient_clip_val", self.gradient_clip_val)
        _count_or_share("trainer.limit_train_batches", self.limit_train_batches, least=1)
        _count_or_share("trainer.limit_val_batches", self.limit_val_batches, least=0)
        _count_or_share("trainer.val_check_interval", self.val_check_interval, least=1)
        if self.check_val_every_n_epoch is None and not isinstance(self.val_check_interval, int):
            raise PodiumError(
                "trainer.check_val_every_n_epoch=null counts batches across epochs: it needs "
                f"trainer.val_check_interval, a number of batches such as 1000; got {show(self.val_check_interval)}"
            )
        _duration("trainer.max_time", self.max_time)
        _devices("trainer.devices", self.devices)


@dataclass
class Views:
    """What the model sees of a training image besides its plain self."""

    # imgaug steps, in order, for one uint8 image in the workers: see common/data/augmentation/image_views.py
    image: list[Any] = field(default_factory=list)
    # name -> component or null, in order, for a batch on the device: see common/data/augmentation/batch_views.py
    batch: dict[str, Any] = field(default_factory=dict)


@dataclass
class Trial:
    """A few steps of the real model that choose precision and memory format where they are left open."""

    enabled: bool = True
    steps: int = 3  # timed steps of each candidate, >= 1

    def __post_init__(self) -> None:
        at_least("trial.steps", self.steps, 1)


@dataclass
class Page:
    """What the service's page offers besides choosing a picture."""

    draw: bool = False  # a character may be drawn, black on white
    brush: float = 0.09  # width of a stroke at full pressure, share of the paper's side, (0, 0.5]

    def __post_init__(self) -> None:
        if not 0 < self.brush <= 0.5:
            raise PodiumError(f"page.brush must be in (0, 0.5], got {self.brush}")


@dataclass
class Stage:
    """One wave of jobs: a job for each fold, or a single one, with its own changes to the common recipe."""

    folds: int | None = None  # >= 2: each is validated once; null: one job, validated on the split data.valid
    init_from: str | None = (
        None  # where weights start: an earlier stage (same fold), a run folder, a checkpoint
    )
    soft_labels_from: str | None = None  # teacher: an earlier stage with folds, a run folder, a Parquet table
    # whose predictions say which training images this stage leaves out: an earlier stage; or a list, CSV or Parquet
    clean_from: str | None = None
    clean_by: str = (
        "out_of_fold"  # out_of_fold: confident learning | original: by accuracy on what was trained on
    )
    stable_classes: str | None = None  # class_scores.csv of evaluate: classes scoring less are left out too
    stable_score: float = 0.75  # [0, 1]
    # what differs from the common recipe: written as an experiment file, `defaults` included;
    # once composed, the root's keys that differ, each whole
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass
class Root:
    """The whole configuration of a training run."""

    competition: str = MISSING  # a file of conf/competition
    experiment: list[str] = field(default_factory=list)  # files of conf/experiment, later ones win
    choices: dict[str, str] = field(default_factory=dict)  # group -> option; written by `compose`

    seed: int = 0  # >= 0
    run_dir: str | None = None  # null: runs/<competition>/<time>, or the newest unfinished run there
    new: bool = False  # start afresh instead of continuing the newest unfinished run
    weights_from: str | None = None  # run folder whose checkpoints are predicted from and scored; null: train

    stages: dict[str, Stage] = field(default_factory=dict)  # in their order; {}: one, «train», without folds
    on_failure: str = "continue"  # continue: with the jobs that do not need the one that failed | stop
    # component: where the jobs of a stage run
    launcher: dict[str, Any] = field(
        default_factory=lambda: {"_target_": "common.train.launch.launchers.Serial"}
    )

    data: dict[str, Any] = field(default_factory=dict)  # component: a LightningDataModule
    module: dict[str, Any] = field(default_factory=dict)  # component: a LightningModule
    model: dict[str, Any] = field(default_factory=dict)  # component: an nn.Module, images -> logits
    loss: dict[str, Any] = field(default_factory=dict)  # component: an nn.Module, one value per sample
    optimizer: dict[str, Any] = field(default_factory=dict)  # component: a torch.optim.Optimizer
    schedule: dict[str, Any] | None = None  # component: a learning-rate schedule; null: constant
    views: Views = field(default_factory=Views)

    submission: dict[str, Any] = field(default_factory=dict)  # component: writes and checks a contest's file
    # component: the competition's own way to be asked over HTTP, see common/serve/contract.py; null: it has none
    service: dict[str, Any] | None = None
    page: Page = field(default_factory=Page)
    callbacks: dict[str, Any] = field(default_factory=dict)  # name -> component or null
    logger: dict[str, Any] = field(default_factory=dict)  # name -> component or null, besides history.csv
    # metric -> max | min; the first one chooses best.ckpt
    best: dict[str, str] = field(default_factory=lambda: {"valid_top1": "max"})
    trainer: Trainer = field(default_factory=Trainer)
    trial: Trial = field(default_factory=Trial)

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        one_of("on_failure", self.on_failure, ON_FAILURE)
        _stages(self.stages)
        if not self.trainer.fast_dev_run and all(getattr(self.trainer, bound) is None for bound in BOUNDS):
            raise PodiumError("training has no end: set one of trainer.max_epochs, max_steps or max_time")
        for name in ("data", "module", "model", "loss", "optimizer", "launcher"):
            if "_target_" not in getattr(self, name):
                raise PodiumError(
                    f"{name} must be a component with _target_, got {show(getattr(self, name))}"
                )
        if not self.best:
            raise PodiumError("best must name at least one metric, such as {valid_top1: max}; got {}")
        for metric, direction in self.best.items():
            one_of(f"best.{metric}", direction, DIRECTIONS)
        for place, named in zip(
            NAMED_COMPONENTS, (self.callbacks, self.logger, self.views.batch), strict=True
        ):
            for name, component in named.items():
                if component is not None and not (isinstance(component, dict) and "_target_" in component):
                    raise PodiumError(
                        f"{place}.{name} must be null or a component with _target_, got {show(component)}"
                    )


def one_of(key: str, value: str, allowed: tuple[str, ...], more: str = "") -> None:
    """Raise a PodiumError that names the key unless the value is one of those allowed."""
    if value not in allowed:
        choices = ", ".join(allowed) + (f" {more}" if more else "")
        raise PodiumError(f"{key} must be one of {choices}; got {show(value)}{suggest(value, allowed)}")


def at_least(key: str, value: int | None, least: int, or_null: bool = False) -> None:
    """Raise a PodiumError that names the key if the number is smaller than the least allowed."""
    if value is not None and not value >= least:  # so also for nan
        raise PodiumError(f"{key} must be at least {least}{' or null' if or_null else ''}, got {value}")


def above_zero(key: str, value: float | None) -> None:
    """Raise a PodiumError that names the key unless the number is null or above zero (so also for nan)."""
    if value is not None and not value > 0:
        raise PodiumError(f"{key} must be above 0, got {value}")


def _count_or_share(key: str, value: int | float | None, least: int) -> None:
    if isinstance(value, float) and not 0 < value <= 1:
        raise PodiumError(
            f"{key} must be a number of batches (int) or a share in (0, 1] (float), got {value}"
        )
    if isinstance(value, int):
        at_least(key, value, least, or_null=True)


def _duration(key: str, value: str | None) -> None:
    if value is None:
        return
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", value)
    if not match or int(match[2]) > 23 or int(match[3]) > 59 or int(match[4]) > 59:
        raise PodiumError(
            f'{key} must be days:hours:minutes:seconds such as "00:01:30:00", got {show(value)}'
        )
    if not any(int(number) for number in match.groups()):
        raise PodiumError(f"{key} must be longer than no time, got {show(value)}")


def _stages(stages: dict[str, Stage]) -> None:
    """Names, fold counts, and that no stage learns from a model that has seen what it is validated on."""
    counted: dict[int, str] = {}
    before: list[str] = []
    for name, stage in stages.items():
        key = f"stages.{name}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise PodiumError(
                f"{key}: a stage's name is its folder's: a to z, digits and _, not {show(name)}"
            )
        at_least(f"{key}.folds", stage.folds, 2, or_null=True)
        if stage.folds:
            counted.setdefault(stage.folds, name)
        if len(counted) > 1:
            (first, its), (second, other) = counted.items()
            raise PodiumError(
                f"{key}.folds: {its} has {first} and {other} {second}; all stages of a run share one set of folds"
            )
        _origin(f"{key}.init_from", stage.init_from, before, stages)
        _origin(f"{key}.soft_labels_from", stage.soft_labels_from, before, stages)
        _cleaning(key, stage, before, stages)
        if stage.init_from in stages and bool(stages[stage.init_from].folds) != bool(stage.folds):
            raise PodiumError(
                f"{key}.init_from: {name} and {stage.init_from} must both have folds or both none: "
                "else the start weights have seen pictures that validate"
            )
        if stage.soft_labels_from in stages and not stages[stage.soft_labels_from].folds:
            raise PodiumError(
                f"{key}.soft_labels_from: {stage.soft_labels_from} needs folds: without them its model has seen "
                f"every picture that it would teach; set stages.{stage.soft_labels_from}.folds=5"
            )
        before.append(name)


def _cleaning(key: str, stage: Stage, before: list[str], stages: dict[str, Stage]) -> None:
    """A stage is cleaned by models that exist, and that may be asked so."""
    _origin(f"{key}.clean_from", stage.clean_from, before, stages)
    one_of(f"{key}.clean_by", stage.clean_by, CLEANING)
    if not 0 <= stage.stable_score <= 1:
        raise PodiumError(f"{key}.stable_score must be in [0, 1], got {stage.stable_score}")
    origin = stages.get(stage.clean_from or "")
    if stage.stable_classes is not None and origin is None:
        raise PodiumError(
            f"{key}.stable_classes goes with clean_from, an earlier stage; got {show(stage.clean_from)}"
        )
    if stage.stable_classes is not None and not Path(stage.stable_classes).is_file():
        raise PodiumError(f"{key}.stable_classes: there is no file {stage.stable_classes}")
    if origin is None:
        return
    if stage.clean_by == "out_of_fold" and not origin.folds:
        raise PodiumError(
            f"{key}.clean_from: {stage.clean_from} needs folds: without them its model has learnt the wrong labels "
            f"that it would find; set stages.{stage.clean_from}.folds=5, or {key}.clean_by=original"
        )
    if stage.clean_by == "original" and origin.folds:
        raise PodiumError(
            f"{key}.clean_by=original asks one model of all training images, and {stage.clean_from} has folds: "
            f"set {key}.clean_by=out_of_fold"
        )


def _origin(key: str, value: str | None, before: list[str], stages: dict[str, Stage]) -> None:
    if value is None or value in before or (value not in stages and Path(value).exists()):
        return
    if value in stages:
        raise PodiumError(f"{key}: {value} does not come before this stage")
    raise PodiumError(
        f"{key} must be an earlier stage ({', '.join(before) or 'there is none'}) or a path that exists; "
        f"got {show(value)}{suggest(value, before)}"
    )


def _devices(key: str, value: Any) -> None:
    numbers = value if isinstance(value, list) else []
    count = isinstance(value, int) and not isinstance(value, bool) and (value >= 1 or value == -1)
    listed = numbers and all(isinstance(number, int) and number >= 0 for number in numbers)
    if not (value == "auto" or count or listed):
        raise PodiumError(
            f'{key} must be "auto", a number of devices, -1 or a list of device numbers; got {show(value)}'
        )


ConfigStore.instance().store(name="schema", node=Root, provider="common.config.schema")
