"""Models as graphs: pixels in, probabilities out, written as ONNX and as a program of torch.export."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from common.model.classifier import ImageClassifier


class PixelsToProbabilities(nn.Module):
    """What is exported: normalisation, test-time views (if the members have them) and the mean over members inside.

    Args:
        members: models in eval mode, of one preprocessing and the same classes.
        mean: arithmetic or geometric, see common/run/members.py.
    """

    def __init__(self, members: Sequence[ImageClassifier], mean: str = "arithmetic") -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.mean = mean
        for part in self.modules():
            if hasattr(part, "set_swish"):  # EfficientNet's: that which saves memory in training has no graph
                part.set_swish(memory_efficient=False)  # type: ignore[operator]

    def forward(self, image: Tensor) -> Tensor:
        """Fitted pictures, uint8 (N, H, W, C) → class probabilities, float32 (N, K)."""
        images = image.permute(0, 3, 1, 2).to(torch.float32) / 255
        each = [member.step_hooks.predict(images) for member in self.members]  # type: ignore[union-attr, operator]
        if len(each) == 1:
            return each[0]
        stack = torch.stack(each)
        if self.mean == "arithmetic":
            return stack.mean(dim=0)
        return stack.clamp_min(torch.finfo(stack.dtype).tiny).log().mean(dim=0).softmax(dim=1)


@contextmanager
def plain_layout(model: nn.Module) -> Iterator[None]:
    """In a graph the layout of memory is the business of what runs it; the models have theirs again afterwards."""
    members = [part for part in model.modules() if isinstance(part, ImageClassifier)]
    before = [member.memory_format for member in members]
    try:
        for member in members:
            member.memory_format = torch.contiguous_format
        yield
    finally:
        for member, layout in zip(members, before, strict=True):
            member.memory_format = layout


def trace(model: nn.Module, preprocessing: Mapping[str, Any]) -> ExportedProgram:
    """The graph of a model of uint8 (N, H, W, C), for pictures of this preprocessing and any N ≥ 1."""
    height, width = preprocessing["size"]
    example = torch.zeros(2, height, width, preprocessing["channels"], dtype=torch.uint8)
    with torch.no_grad(), _quiet(), plain_layout(model):
        return torch.export.export(model.eval(), (example,), dynamic_shapes={"image": {0: Dim("batch")}})


def write_program(program: ExportedProgram, path: Path, about: Mapping[str, Any]) -> None:
    """Write a `.pt2` for `torch.export.load`; `about` is its extra file `about.json`."""
    whole = BytesIO()  # torch's own writer ends the process where a disk is full
    with _quiet():
        torch.export.save(program, whole, extra_files={"about.json": json.dumps(about, ensure_ascii=False)})
    path.write_bytes(whole.getbuffer())


def write_onnx(program: ExportedProgram, path: Path, about: Mapping[str, Any]) -> None:
    """Write an ONNX file: input `image`, output `probabilities`, and `about` as metadata, each value as JSON."""
    with _quiet():
        written = torch.onnx.export(
            program, input_names=["image"], output_names=["probabilities"], dynamo=True, verbose=False
        )
    assert written is not None
    for key, value in about.items():
        written.model.metadata_props[key] = json.dumps(value, ensure_ascii=False)
    written.save(path)


class _quiet(warnings.catch_warnings):
    """Without what the exporters say about their own internals."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        self.disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *error: Any) -> None:
        logging.disable(self.disabled)
        super().__exit__(*error)
