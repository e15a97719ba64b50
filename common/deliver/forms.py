"""All forms of one model as functions of pixels: the training code itself, compiled, and files loaded from disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.activity import Activity
from common.deliver.compare import COMPILED, EAGER, FILES, INT8, ONNX, PROGRAM, Predict
from common.deliver.exported import Exported, first_line
from common.deliver.graph import PixelsToProbabilities, plain_layout, trace, write_onnx, write_program
from common.deliver.quantise import quantise
from common.run.predictor import Ensemble


def all_forms(
    ensemble: Ensemble,
    about: dict[str, Any],
    folder: Path,
    *,
    calibration: np.ndarray,
    batch_size: int,
    threads: int,
    compile: bool,
) -> dict[str, Predict | str]:
    """form → what predicts, or words where it cannot be had; the files are written into `folder`.

    Args:
        ensemble: on the CPU; of one preprocessing.
        about: what the files carry; see Exported.
        calibration: uint8 (N, H, W, C), fitted; without any, there is no int8.
        batch_size: that torch.compile compiles for, besides a single picture.
    """
    torch.set_num_threads(threads)
    model = PixelsToProbabilities(ensemble.modules, ensemble.mean).eval()
    found: dict[str, Predict | str] = {EAGER: lambda images: ensemble.probabilities([images])}
    if compile:
        with Activity("compiling"):
            found[COMPILED] = _compiled(model, about["preprocessing"], batch_size)
    with Activity(f"writing {FILES[PROGRAM]}"):
        program = trace(model, about["preprocessing"])
        write_program(program, folder / FILES[PROGRAM], about)
        found[PROGRAM] = partial(_call, torch.export.load(folder / FILES[PROGRAM]).module())
    with Activity(f"writing {FILES[ONNX]}"):
        write_onnx(program, folder / FILES[ONNX], about)
        found[ONNX] = Exported(folder / FILES[ONNX], threads).probabilities
    if len(calibration):
        with Activity(f"writing {FILES[INT8]}"):
            found[INT8] = _quantised(folder, calibration, threads)
    return found


def _compiled(model: nn.Module, preprocessing: dict[str, Any], batch_size: int) -> Predict | str:
    """The model compiled for one picture and for a full batch; smaller batches are filled up."""
    call = partial(_call, torch.compile(model, dynamic=False))

    def predict(images: np.ndarray) -> np.ndarray:
        whole = images if len(images) == 1 else np.resize(images, (batch_size, *images.shape[1:]))
        with plain_layout(model):
            return call(whole)[: len(images)]

    try:
        for count in (1, batch_size):
            predict(np.zeros((count, *preprocessing["size"], preprocessing["channels"]), np.uint8))
    except Exception as error:  # no C++ compiler, or a model that it cannot take
        return f"cannot be had: {first_line(error)}"
    return predict


def _quantised(folder: Path, calibration: np.ndarray, threads: int) -> Predict | str:
    try:
        quantise(folder / FILES[ONNX], folder / FILES[INT8], calibration)
        return Exported(folder / FILES[INT8], threads).probabilities
    except OSError:  # no room on the disk
        raise
    except Exception as error:  # a layer without a form in int8; the file in 32 bits is as good as before
        return f"cannot be had: {first_line(error)}"


def _call(module: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(torch.from_numpy(np.ascontiguousarray(images))).numpy()
