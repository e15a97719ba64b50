"""Forms of one model side by side: do they say the same, and how fast?"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

Predict = Callable[
    [np.ndarray], np.ndarray
]  # fitted pictures, uint8 (N, H, W, C) → probabilities, float32 (N, K)

EAGER, COMPILED, PROGRAM = "torch eager", "torch.compile", "torch.export"
ONNX, INT8 = "ONNX fp32", "ONNX int8"
FILES = {PROGRAM: "model.pt2", ONNX: "model.onnx", INT8: "model_int8.onnx"}

TOLERANCE = 1e-4  # of a probability
TIE = 1e-3  # another class may seem the best if it is expected to be as probable but for this share
ROUNDS, WARM_UP = 9, 3


@dataclass(frozen=True)
class Parity:
    """How far probabilities are from those of the training code.

    largest: absolute difference over all pictures and classes. agreement: share of pictures with the same best class.
    equal: no probability differs by more than TOLERANCE, and no best class by more than a TIE.
    """

    largest: float
    agreement: float
    equal: bool


def parity(expected: np.ndarray, found: np.ndarray) -> Parity:
    """Compare probabilities, float (N, K) each.

    With many classes all probabilities may be small: so the classes that seem best count too, and where they differ,
    their expected probabilities must be a TIE.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return Parity(float("nan"), 0.0, False)
    rows = np.arange(len(expected))
    best, other = expected.argmax(axis=1), found.argmax(axis=1)
    lead = 1 - expected[rows, other] / expected[rows, best]
    largest = float(np.abs(expected - found).max())
    equal = largest <= TOLERANCE and bool((lead <= TIE).all())
    return Parity(largest, float((best == other).mean()), equal)


def in_batches(predict: Predict, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Probabilities of all pictures, float32 (N, K)."""
    starts = range(0, len(images), batch_size)
    return np.concatenate([predict(images[start : start + batch_size]) for start in starts])


@dataclass(frozen=True)
class Speed:
    """Seconds of one picture and of a batch, the median of each round."""

    single: list[float]
    batch: list[float]
    batch_size: int

    @property
    def milliseconds(self) -> float:
        """Of one picture."""
        return 1000 * median(self.single)

    @property
    def images_per_second(self) -> float:
        """In batches."""
        return self.batch_size / median(self.batch)


def gain(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """How many times as fast: median and 96 % interval of the ratio, by rounds that were timed beside each other.

    The interval is that of the sign test, from the second lowest of nine ratios to the second highest: other work on
    the machine makes it wider, and moves no end of it by making a single round slow.
    """
    ratios = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return median(ratios), ratios[1], ratios[-2]


def speeds(
    forms: Mapping[str, Predict], images: np.ndarray, seconds: float, batch_size: int = 32
) -> dict[str, Speed]:
    """form → its speed; in nine rounds in which each has its turn, so that all see one machine.

    images: of which the first are taken, again and again. seconds: of each form, for both together.
    """
    one, many = images[:1], np.resize(images, (batch_size, *images.shape[1:]))
    singles: dict[str, list[float]] = {name: [] for name in forms}
    batches: dict[str, list[float]] = {name: [] for name in forms}
    for predict in forms.values():
        for _ in range(WARM_UP):
            predict(one)
            predict(many)
    for _ in range(ROUNDS):
        for name, predict in forms.items():
            singles[name].append(_timed(predict, one, seconds / 2 / ROUNDS))
            batches[name].append(_timed(predict, many, seconds / 2 / ROUNDS))
    return {name: Speed(singles[name], batches[name], batch_size) for name in forms}


def _timed(predict: Predict, images: np.ndarray, seconds: float) -> float:
    """Median of the seconds of a call, called until so many are over; one call at least."""
    taken: list[float] = []
    while sum(taken) < seconds:
        start = time.perf_counter()
        predict(images)
        taken.append(time.perf_counter() - start)
    return median(taken)
