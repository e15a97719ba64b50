"""The trial: which precision and memory format train this model fastest on this machine."""

import copy
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from common.activity import Activity
from common.model.classifier import ImageClassifier, leaf
from common.model.deferred import losses
from common.run.components import FORMATS

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
LARGEST = 128  # images a step: more take memory and time, and change no ranking
FEWEST = 8  # images a step, where the time allows no more
FIRST = 4  # images of the very first step, which tells how long the others will take
WORTH = 1.1  # a lower precision must be this much faster than 32 bits to be taken
HOPELESS = 3.0  # a candidate whose first step takes so many times the best one's is out
MOST, ALWAYS = 20.0, 3.0  # seconds that a trial takes at most, and that it may take in any case
SHARE = 0.05  # of the training that it speeds up


def choose(
    module: ImageClassifier,
    batch_size: int,
    device: torch.device,
    precision: str | None,
    memory_format: str,
    steps: int,
    threads: int,
    training: Callable[[float], float] = lambda each: math.inf,
) -> dict[str, Any]:
    """Time a few training steps for each candidate, or recall an earlier trial of the same model and machine.

    Args:
        module: is copied, not trained; of frozen parameters no gradient is computed.
        batch_size: images a step of training; the trial takes at most 128.
        precision, memory_format: fixed by the user; None and "auto" leave the choice to the trial.
        steps: timed steps a candidate, of which the fastest counts; 0 switches the trial off (32 bits, channels_last).
        threads: CPU threads, part of what an earlier trial must have in common.
        training: from the seconds that an image takes to those of the whole training.

    It takes at most 20 s, and no more than 5 % of the training, or 3 s if that is less. What the machine cannot
    compute is not tried, and what is far slower than the best is given up within its first step.

    Returns precision, memory_format, `images_per_second` by candidate (those that were not given up) and `seconds`.
    """
    precisions = [precision] if precision else computed(("32-true", "bf16-mixed"), device)
    formats = [memory_format] if memory_format != "auto" else list(FORMATS)
    if len(precisions) == len(formats) == 1 or steps == 0:
        return {"precision": precisions[0], "memory_format": formats[-1], "images_per_second": {}}
    shape = (module.preprocessing["channels"], *module.preprocessing["size"])
    question = [
        module.hparams["model"],
        len(module.class_names),
        [name for name, parameter in module.net.named_parameters() if not parameter.requires_grad],
        min(batch_size, LARGEST),
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
    with suppress(OSError, ValueError):  # not there, or cut short
        return json.loads(cache.read_text())
    candidates = [Candidate(module, device, dtype, layout) for dtype in precisions for layout in formats]
    with Activity("trying precisions and memory formats"):
        speeds, taken = race(candidates, shape, min(batch_size, LARGEST), steps, training)
    best = max(speeds, key=lambda name: speeds[name] / (1.0 if name.startswith("32") else WORTH))
    choice = {
        "precision": best.split()[0],
        "memory_format": best.split()[1],
        "images_per_second": speeds,
        "seconds": round(taken, 2),
    }
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(choice))
        partial.replace(cache)
    except OSError:
        pass  # a home that cannot be written costs the trial again, nothing else
    return choice


def computed(precisions: Sequence[str], device: torch.device) -> list[str]:
    """Those of the precisions that the device computes; by emulation they would be many times slower than 32 bits."""
    return [precision for precision in precisions if _computes(precision.split("-")[0], device)]


def described(choice: dict[str, Any], device: torch.device) -> str:
    """What was chosen and why, as a sentence."""
    precision, speeds = choice["precision"], choice.get("images_per_second", {})
    name = f"{precision} {choice['memory_format']}"
    if not computed([precision], device):
        return f"computing in {name}: this machine has it by emulation alone, many times slower than 32-true"
    if name not in speeds:
        return f"computing in {name}"
    return f"computing in {name}: {speeds[name]:,.0f} images/s on trial, the best of {len(speeds)}"


def _computes(numbers: str, device: torch.device) -> bool:
    """numbers: the first word of a precision: 64, 32, bf16 or 16."""
    if numbers not in ("bf16", "16"):
        return True
    if device.type == "cuda":
        return numbers == "16" or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return numbers == "16"  # Apple's
    library: Any = torch.ops.mkldnn
    of = {"bf16": "_is_mkldnn_bf16_supported", "16": "_is_mkldnn_fp16_supported"}[numbers]
    return torch.backends.mkldnn.is_available() and getattr(library, of)()


def race(
    candidates: Sequence["Candidate"],
    shape: tuple[int, ...],
    most: int,
    steps: int,
    training: Callable[[float], float],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, float], float]:
    """Images a second by candidate, for those that were not given up, and the seconds that this took.

    shape: (C, H, W) of an image. most: images a step. Others as those of `choose`.
    """
    began = clock()
    first = candidates[0]
    each = (first.step(FIRST, shape, began + MOST, clock) or FIRST * MOST) / FIRST
    end = began + min(MOST, max(ALWAYS, SHARE * training(each)))
    images = int((end - began) / (len(candidates) * (steps + 1) * each))
    images = max(min(FEWEST, most), min(most, images))
    taken: dict[str, list[float]] = {}
    for candidate in candidates:  # their first steps, which allocate and pick kernels
        patience = HOPELESS * min((min(times) for times in taken.values()), default=MOST)
        seconds = candidate.step(images, shape, min(end, clock() + patience), clock)
        if seconds is not None:
            taken[candidate.name] = [seconds]
    for _ in range(steps):  # in turn, so that other work on the machine slows all of them
        for candidate in candidates:
            times = taken.get(candidate.name)
            if times and clock() + min(times) < end:
                times.append(candidate.step(images, shape, None, clock) or math.inf)
    speeds = {name: round(images / min(times), 1) for name, times in taken.items()}
    return speeds or {first.name: round(1 / each, 1)}, clock() - began


class TooSlow(Exception):
    """A step's time is up."""


class Candidate:
    """One precision and memory format, with the seconds that its forward and backward passes took."""

    def __init__(self, module: ImageClassifier, device: torch.device, precision: str, layout: str) -> None:
        self.name = f"{precision} {layout}"
        self.device = device
        self.dtype = PRECISIONS.get(precision)
        net: Any = copy.deepcopy(module.net).to(device)
        self.net = net.to(memory_format=FORMATS[layout])  # frozen parts stay in eval mode
        self.layout = FORMATS[layout]
        self.classes = len(module.class_names)
        self.loss = copy.deepcopy(module.loss_fn).to(device)

    def step(
        self, images: int, shape: tuple[int, ...], deadline: float | None, clock: Callable[[], float]
    ) -> float | None:
        """Seconds of a forward and backward pass of so many images; None if it was given up at the deadline."""
        batch = torch.rand((images, *shape), device=self.device).contiguous(memory_format=self.layout)
        labels = torch.arange(images, device=self.device) % self.classes

        def in_time(*_: Any) -> None:
            if deadline is not None and clock() > deadline:
                raise TooSlow

        def watch(module: Any, given: Any, made: Any) -> None:
            in_time()
            if isinstance(made, torch.Tensor) and made.requires_grad:
                made.register_hook(in_time)

        hooks = []
        for part in self.net.modules() if deadline is not None else ():
            hooks += [part.register_forward_pre_hook(in_time), part.register_forward_hook(watch)]
        start = clock()
        try:
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                loss = losses(self.loss, leaf(self.net(batch)), labels).mean()
            loss.backward()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        except TooSlow:
            return None
        finally:
            self.net.zero_grad(set_to_none=True)
            for hook in hooks:
                hook.remove()
        return clock() - start


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
