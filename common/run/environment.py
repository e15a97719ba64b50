"""What a run ran on, so that its figures can be judged later."""

import json
import platform
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from common.cores import cores

NAME = "environment.json"  # in the folder of a run, and of a job, which may run elsewhere
PACKAGES = [
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm", "efficientnet-pytorch", "imaug",
    "hydra-core", "omegaconf", "numpy", "opencv-python-headless",
]  # fmt: skip


def describe(threads: int | None = None) -> dict[str, Any]:
    """Versions, machine, devices and the command, all as plain values.

    threads: CPU threads that it computes with; None: those that torch has now.
    """
    import torch

    return {
        "command": f"python -m common {shlex.join(map(_plain, sys.argv[1:]))}",
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": cores(),
        "threads": threads or torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def measured(known: dict[str, Any], jobs: list[Path]) -> dict[str, Any]:
    """What a run knows of its environment, and of its jobs: the threads that they had, the seconds that they trained.

    Seconds of a job are those of all its starts, without what a kill lost and what nobody worked.
    """
    had = [json.loads(path.read_text("utf-8"))["threads"] for job in jobs if (path := job / NAME).exists()]
    trained = [pd.read_csv(path) for job in jobs if (path := job / "history.csv").exists()]
    seconds = sum(float(history["seconds"].max()) for history in trained if "seconds" in history)
    threads = sorted(set(had)) or [known.get("threads")]
    return {
        **known,
        "threads": threads[0] if len(threads) == 1 else threads,
        **({"training_seconds": round(seconds, 1)} if trained else {}),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(word: str) -> str:
    """An override without the quotes that make puts around its value, where it needs none."""
    return re.sub(r"='([\w./-]+)'$", r"=\1", word)
