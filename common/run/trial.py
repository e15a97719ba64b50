"""The trial: which precision and memory format train this model fastest on this machine."""

import copy
import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from common.model.classifier import ImageClassifier, leaf
from common.model.deferred import losses

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
LARGEST = 128  # images a step: more take memory and time, and change no ranking
WORTH = 1.1  # a lower precision must be this much faster than 32 bits to be taken


def choose(
    module: ImageClassifier,
    batch_size: int,
    device: torch.device,
    precision: str | None,
    memory_format: str,
    steps: int,
    threads: int,
) -> dict[str, Any]:
    """Time a few training steps for each candidate, or recall an earlier trial of the same model and machine.

    Args:
        module: is copied, not trained; of frozen parameters no gradient is computed.
        batch_size: images a step of training; the trial takes at most 128.
        precision, memory_format: fixed by the user; None and "auto" leave the choice to the trial.
        steps: timed steps a candidate, of which the fastest counts; 0 switches the trial off (32 bits, channels_last).
        threads: CPU threads, part of what an earlier trial must have in common.

    Returns precision, memory_format and `images_per_second` by candidate.
    """
    precisions = [precision] if precision else ["32-true", "bf16-mixed"]
    formats = [memory_format] if memory_format != "auto" else list(FORMATS)
    if len(precisions) == len(formats) == 1:
        return {"precision": precisions[0], "memory_format": formats[0], "images_per_second": {}}
    if steps == 0:
        return {"precision": precisions[0], "memory_format": formats[-1], "images_per_second": {}}
    images = min(batch_size, LARGEST)
    shape = (images, module.preprocessing["channels"], *module.preprocessing["size"])
    question = [
        module.hparams["model"],
        len(module.class_names),
        [name for name, parameter in module.net.named_parameters() if not parameter.requires_grad],
        shape,
        precisions,
        formats,
        str(device),
        threads,
        steps,
    ]
    machine = [
        _processor(),
        torch.__version__,
        torch.cuda.get_device_name(device) if device.type == "cuda" else "",
    ]
    key = hashlib.sha256(json.dumps([question, machine], default=str).encode()).hexdigest()[:16]
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "podium" / "trials" / f"{key}.json"
    )
    if cache.exists():
        return json.loads(cache.read_text())
    candidates = [
        Candidate(module, shape, device, dtype, layout) for dtype in precisions for layout in formats
    ]
    for candidate in candidates:
        candidate.step()  # the first step allocates and picks kernels
    for _ in range(steps):  # in turn, so that other work on the machine slows all of them
        for candidate in candidates:
            candidate.step()
    speeds = {candidate.name: round(images / min(candidate.taken), 1) for candidate in candidates}
    best = max(speeds, key=lambda name: speeds[name] / (1.0 if name.startswith("32") else WORTH))
    choice = {"precision": best.split()[0], "memory_format": best.split()[1], "images_per_second": speeds}
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(choice))
        partial.replace(cache)
    except OSError:
        pass  # a home that cannot be written costs the trial again, nothing else
    return choice


class Candidate:
    """One precision and memory format, with the seconds that its forward and backward passes took."""

    def __init__(
        self,
        module: ImageClassifier,
        shape: tuple[int, ...],
        device: torch.device,
        precision: str,
        layout: str,
    ) -> None:
        self.name = f"{precision} {layout}"
        self.device = device
        self.dtype = PRECISIONS.get(precision)
        net: Any = copy.deepcopy(module.net).to(device)
        self.net = net.to(memory_format=FORMATS[layout])  # frozen parts stay in eval mode
        self.loss = copy.deepcopy(module.loss_fn).to(device)
        self.images = torch.rand(shape, device=device).contiguous(memory_format=FORMATS[layout])
        self.labels = torch.arange(shape[0], device=device) % len(module.class_names)
        self.taken: list[float] = []

    def step(self) -> None:
        start = time.perf_counter()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            loss = losses(self.loss, leaf(self.net(self.images)), self.labels).mean()
        loss.backward()
        self.net.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.taken.append(time.perf_counter() - start)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
