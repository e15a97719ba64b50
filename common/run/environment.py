"""What a run ran on, so that its figures can be judged later."""

import platform
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from common.cores import cores

PACKAGES = [
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm", "efficientnet-pytorch", "imaug",
    "hydra-core", "omegaconf", "numpy", "opencv-python-headless",
]  # fmt: skip


def describe() -> dict[str, Any]:
    """Versions, machine, devices and the command, all as plain values."""
    import torch

    return {
        "command": f"python -m common {shlex.join(map(_plain, sys.argv[1:]))}",
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": cores(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(word: str) -> str:
    """An override without the quotes that make puts around its value, where it needs none."""
    return re.sub(r"='([\w./-]+)'$", r"=\1", word)
