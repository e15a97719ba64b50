"""The one reader of checkpoints: tensors and plain values, never code."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field

from common.config.shape import Part, Text
from common.data.preprocessing import Preprocessing
from common.errors import PodiumError


class Known(BaseModel):
    """What is taken of any checkpoint's `hyper_parameters`."""

    class_names: Annotated[list[Text], Field(min_length=1)]
    levels: dict[str, list[int]] | None = None


class HyperParameters(Known):
    """`hyper_parameters` of a checkpoint of ours: see ImageClassifier."""

    model: Part
    loss: Part
    optimizer: Part
    schedule: Part | None = None
    preprocessing: Preprocessing
    mean: Annotated[list[float], Field(min_length=1, max_length=3)] = [0.5]
    std: Annotated[list[float], Field(min_length=1, max_length=3)] = [0.5]
    levels: dict[str, list[int]] = {}
    seed: int = 0


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
    return content


TYPES: dict[str, Any] = {"state_dict": dict, "hyper_parameters": dict, "epoch": int, "global_step": int}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the format of before 2020, which cannot be mapped; or damaged
        return torch.load(path, map_location="cpu", weights_only=True)
