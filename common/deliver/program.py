"""Exported programs: the `.pt2` that `export` writes beside the `.onnx`, for torch."""

import json
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common.config.command import export_of
from common.config.shape import check_shape
from common.data.reading.archive import read_member
from common.deliver.exported import about_of, first_line
from common.errors import PodiumError
from common.trust import is_trusted_file

SUFFIX = ".pt2"
ABOUT = 2**26  # bytes of what it says of itself, at most: 50,000 classes take 5 MB


class Program:
    """A `.pt2` written by `export`, ready to predict. What it says of itself is read without torch.

    torch unpickles it, which runs whatever it holds: so it must be trusted by its path, `trust=<file>`.

    Args and attributes as those of `Exported`. Raises PodiumError as it does, and for a file that is not trusted.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if not path.is_file():
            raise PodiumError(f"there is no file {path}: make it by {export_of(path)}")
        self.path = path
        self.threads = threads
        self.about = about_of(path, _metadata(path))
        if not is_trusted_file(path):
            raise PodiumError(
                f"{path} is code as well as weights, and runs as soon as it is loaded. Take the file "
                f"{path.with_suffix('.onnx')} beside it, or, if you know who made it, give trust={path}"
            )
        self.class_names: list[str] = self.about["class_names"]
        self.preprocessing: dict[str, Any] = self.about["preprocessing"]

    @property
    def how(self) -> str:
        return f"exported, {self.about['how']}"

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Fitted pictures, uint8 (N, H, W, C) → class probabilities, float32 (N, K)."""
        import torch

        with torch.inference_mode():
            return self._module(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    @cached_property
    def _module(self) -> Any:
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            return torch.export.load(self.path).module()
        except Exception as error:  # whatever a damaged archive makes of it
            raise PodiumError(f"{self.path} cannot be loaded: {first_line(error)}") from error


def _metadata(path: Path) -> dict[str, str]:
    try:
        about = json.loads(read_member(path, "extra/about.json", ABOUT) or b"{}")
    except (zipfile.BadZipFile, ValueError) as error:
        raise PodiumError(f"{path} cannot be loaded: {first_line(error)}") from error
    check_shape(about, dict[str, Any], path)
    return {key: json.dumps(value) for key, value in about.items()}
