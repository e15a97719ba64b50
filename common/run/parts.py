"""The parts that a job's configuration names, made: data, module, callbacks, and the module that a checkpoint holds."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from pytorch_lightning.callbacks import Callback

from common.build import build
from common.data.module import ImageData
from common.model.classifier import ImageClassifier
from common.run import folder as folders
from common.run import stages, trial


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


def load_module(config: dict[str, Any], checkpoint: Path) -> ImageClassifier:
    """The module that a checkpoint holds, in eval mode, with the seams that the configuration's callbacks bend.

    It computes in the memory format that its job's training chose: on CPUs the other one can take three times as long.
    """
    module_class: Any = get_class(config["module"]["_target_"])
    model = dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["hyper_parameters"]["model"])
    if "pretrained" in model:  # the weights are in the checkpoint; where they began may be out of reach
        model["pretrained"] = "none"
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
        lay_out(module, folders.load_json(speed)["memory_format"])
    return module.eval()


def lay_out(module: ImageClassifier, memory_format: str) -> None:
    """Weights and images of the network in this memory format: channels_last or contiguous."""
    module.memory_format = trial.FORMATS[memory_format]
    module.net.to(memory_format=module.memory_format)  # type: ignore[call-overload]


def device_of(accelerator: str) -> torch.device:
    """Where predictions run: the GPU where there is one, unless the configuration says cpu."""
    return torch.device(
        "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"
    )
