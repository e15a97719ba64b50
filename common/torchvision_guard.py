"""Lets timm and Lightning import a torchvision whose compiled operators do not fit the installed torch.

PyPI's torchvision is built for CUDA; beside a CPU torch its library does not load, and the import then fails with
«operator torchvision::nms does not exist». Podium uses none of those operators: declaring the two that torchvision
describes at import is enough.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


def install() -> None:
    """Run `declare_missing_operators` just before the first import of torchvision, and cost nothing until then."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _BeforeTorchvision) for f in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


def operators_load() -> bool:
    """Whether torchvision's compiled operators fit the installed torch (loads them if they do)."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return True


def declare_missing_operators() -> None:
    """Declare `torchvision::nms` and `torchvision::qnms` unless torchvision's own library provides them."""
    import torch

    if operators_load():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _keep_alive.append(library)


_keep_alive: list[object] = []  # a torch.library.Library takes its operators with it when it is collected


class _BeforeTorchvision(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare_missing_operators()
        return None
