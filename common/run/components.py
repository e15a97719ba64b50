"""The parts that a job's configuration names, made: data, module, callbacks, and the module that a checkpoint holds."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback

from common import trust
from common.build import build
from common.config.check import check
from common.data.module import ImageData
from common.data.reading.images import check_picture
from common.errors import reading
from common.model.checkpoint import check_hyper_parameters, load_checkpoint, no_larger_than
from common.model.classifier import ImageClassifier
from common.run import folder as folders
from common.run import jobs, shapes

# How weights and images lie in memory.
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def make_data(config: dict[str, Any], run: Path) -> ImageData:
    """The competition's data module, which keeps its split in the run folder and packs below `data/`."""
    place: dict[str, Any] = {key: config.get("job", {}).get(key) for key in ("folds", "fold")}
    place["packs"] = str(folders.DATA / config["competition"] / "pack")
    place["copies_folder"] = str(folders.DATA / config["competition"] / "copies")
    table = jobs.taught_table(config, run) if "job" in config else None
    if table is not None and table.exists():
        place["taught"] = str(table)
    reliable = jobs.reliable_list(config, run) if "job" in config else None
    if reliable is not None:
        place["cleaned"] = str(reliable)
    return build(config["data"], "data", seed=config["seed"], views=config["views"], folder=str(run), **place)


def make_module(config: dict[str, Any], data: ImageData) -> ImageClassifier:
    """The competition's module for this data, with fresh weights."""
    parts = {name: config[name] for name in ("model", "loss", "optimizer", "schedule")}
    return build(
        config["module"],
        "module",
        **parts,
        class_names=data.class_names,
        preprocessing=data.preprocessing,
        levels=data.levels,
        seed=config["seed"],
    )


def make_callbacks(config: dict[str, Any]) -> list[Callback]:
    """The callbacks that the configuration switches on, in its order."""
    parts = config["callbacks"].items()
    return [build(part, "callback") for _, part in parts if part is not None]


def check_received(config: dict[str, Any], file: Path) -> None:
    """Raise PodiumError that names the file for a job's configuration with parts that may not or cannot be built."""
    trust.check(config, file)
    with reading(file):
        check({"callbacks": config["callbacks"]})


def load_module(config: dict[str, Any], checkpoint: Path) -> ImageClassifier:
    """The module that a checkpoint holds, in eval mode, with the step hooks of the configuration's callbacks.

    It computes in the memory format that its job's training chose: on CPUs the other one can take three times as long.
    """
    said = checkpoint.parent / "config.yaml"
    check_received(config, said)
    content = load_checkpoint(checkpoint, "state_dict", "hyper_parameters")
    known = content["hyper_parameters"]
    with reading(said):
        module_class: Any = trust.resolve(config["module"]["_target_"], "module")
    check_hyper_parameters(known, module_class, checkpoint)
    trust.check(known, checkpoint)
    with reading(checkpoint), no_larger_than(content["state_dict"]):
        check({key: known[key] for key in ("model", "loss", "optimizer", "schedule") if known.get(key)})
        check({"picture": known["preprocessing"].get("picture")})
        check_picture(known["preprocessing"])
        module: ImageClassifier = module_class.load_from_checkpoint(
            checkpoint, map_location="cpu", weights_only=True, model=from_scratch(known["model"])
        )
    untaught = {**config["callbacks"], "soft_labels": None}  # its table is for training, and may be gone
    with reading(said):
        callbacks = make_callbacks({**config, "callbacks": untaught})
        module.compose(callbacks)
        for callback in callbacks:
            if hasattr(callback, "before_predicting"):
                callback.before_predicting(module)
    speed = checkpoint.parent / "speed.json"
    if speed.exists():
        lay_out(module, folders.load_json(speed, shapes.Speed)["memory_format"])
    return module.eval()


def from_scratch(part: Any) -> Any:
    """A network's part without what begins it: the weights are in the checkpoint, and no file or hub is asked."""
    if isinstance(part, dict):
        return {
            key: "none" if key == "pretrained" and value is not None else from_scratch(value)
            for key, value in part.items()
        }
    return [from_scratch(value) for value in part] if isinstance(part, list) else part


def lay_out(module: ImageClassifier, memory_format: str) -> None:
    """Weights and images of the network in this memory format: channels_last or contiguous."""
    module.memory_format = FORMATS[memory_format]
    module.net.to(memory_format=module.memory_format)  # type: ignore[call-overload]


def device_of(accelerator: str) -> torch.device:
    """Where predictions run: the GPU where there is one, unless the configuration says cpu."""
    return torch.device(
        "cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"
    )
