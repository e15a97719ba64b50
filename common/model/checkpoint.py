"""The one reader of checkpoints: tensors and plain values, never code."""

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field
from torch import nn

from common.config.shape import Part, Text, check_shape
from common.data.reading.preprocessing import Preprocessing
from common.errors import PodiumError
from common.renamed import current


class Known(BaseModel):
    """What is taken of any checkpoint's `hyper_parameters`."""

    class_names: Annotated[list[Text], Field(min_length=1)]
    levels: dict[str, list[int]] | None = None


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0)]
Means = Annotated[list[Finite], Field(min_length=1, max_length=3)]
Deviations = Annotated[list[Positive], Field(min_length=1, max_length=3)]


class HyperParameters(Known):
    """`hyper_parameters` of a checkpoint of ours: see ImageClassifier."""

    model: Part
    loss: Part
    optimizer: Part
    schedule: Part | None = None
    preprocessing: Preprocessing
    mean: Means = [0.5]
    std: Deviations = [0.5]
    levels: dict[str, list[int]] = {}
    seed: int = 0


def check_hyper_parameters(hyper_parameters: dict[str, Any], module: type, file: Path) -> None:
    """Raise PodiumError for hyperparameters that are not of our shape, or that the module does not take."""
    check_shape(dict(hyper_parameters), HyperParameters, file)
    taken = {
        name
        for base in module.__mro__
        if "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters
    } - {"self", "args", "kwargs"}
    for key in hyper_parameters:
        if key not in taken:
            raise PodiumError(f"{file}: hyper_parameters.{key} is none that {module.__name__} takes")
    channels = hyper_parameters["preprocessing"]["channels"]
    for key in ("mean", "std"):
        if len(hyper_parameters.get(key, [0])) not in (1, channels):
            raise PodiumError(
                f"{file}: {key} must be one value or one a channel ({channels}), got {hyper_parameters[key]}"
            )


@contextmanager
def no_larger_than(state: Mapping[str, Any]) -> Iterator[None]:
    """Raise PodiumError where a network is built inside that is much larger than the weights it is to hold.

    Parameters are looked at as they are registered, before they are filled: what is only reserved takes no memory.
    """
    tensors = [tensor for tensor in state.values() if isinstance(tensor, torch.Tensor)]
    most, many = 4 * sum(tensor.numel() for tensor in tensors) + 2**24, 4 * len(tensors) + 1000
    here, numbers, count = threading.get_ident(), 0, 0

    def registered(module: nn.Module, name: str, value: Any) -> None:
        nonlocal numbers, count
        if threading.get_ident() != here or value is None:
            return
        if isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
            return
        numbers, count = numbers + value.numel(), count + 1
        if numbers > most or count > many:
            raise PodiumError(
                f"model: it is larger than the weights of the checkpoint: {name} {tuple(value.shape)} of a "
                f"{type(module).__name__} is one too many"
            )

    hooks = [
        nn.modules.module.register_module_parameter_registration_hook(registered),
        nn.modules.module.register_module_buffer_registration_hook(registered),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def load_checkpoint(path: Path, *required: str, key: str = "") -> dict[str, Any]:
    """What a checkpoint holds, its tensors mapped from the file where its format allows that.

    required: keys that it must have; of `state_dict` and `hyper_parameters` the types are checked too.
    key: of the configuration, for messages.

    Raises PodiumError for a file that is missing or damaged, or that holds other objects, which would run code.
    """
    where = f"{key}: " if key else ""
    if not path.is_file():
        raise PodiumError(f"{where}there is no checkpoint {path}")
    try:
        content = _load(path)
    except Exception as error:  # a damaged file fails in the unpickler, in zipfile or in torch
        raise PodiumError(
            f"{where}{path} is damaged, or holds Python objects beside tensors, not loaded since they run "
            f"code ({type(error).__name__}). Save the state dict only: torch.save(model.state_dict(), path)"
        ) from None
    if not isinstance(content, dict):
        raise PodiumError(
            f"{where}{path} is no checkpoint: it holds {type(content).__name__}, expected a dictionary"
        )
    for name in required:
        value, wanted = content.get(name), TYPES.get(name, object)
        if name not in content or not isinstance(value, wanted) or isinstance(value, bool):
            raise PodiumError(f"{where}{path} is no checkpoint of a run: {name} is missing or damaged")
    if isinstance(content.get("hyper_parameters"), dict):
        content["hyper_parameters"] = current(content["hyper_parameters"])
    return content


TYPES: dict[str, Any] = {"state_dict": dict, "hyper_parameters": dict, "epoch": int, "global_step": int}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the format of before 2020, which cannot be mapped; or damaged
        return torch.load(path, map_location="cpu", weights_only=True)
