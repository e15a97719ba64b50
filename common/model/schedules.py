"""Learning-rate schedules: what the base rate is multiplied with, over the course of a run.

A schedule is called as `schedule(progress, epoch)`:

- `progress`, share of the run that is done, in [0, 1]; clipped to it;
- `epoch`, float, epochs that are done (2.5: halfway through the third).

One with a third parameter `step` is told what share of the run one step is, 0 before the first is done.

It returns a factor of the `optimizer.lr` of each parameter group. It knows neither optimizer nor step count,
so the same file fits a run of any length, and a resumed run finds its place. Where a schedule has a `warmup`,
that share of the run rises linearly to the full rate, and what follows is stretched over the rest.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from common.errors import PodiumError

WARMUP_START = 0.01  # not 0, so that the first step is not lost


class Schedule:
    """What the schedules have in common: PodiumError for a number that is out of its range."""

    def __post_init__(self) -> None:
        for names, check in CHECKS.items():
            for name in names.split():
                if hasattr(self, name):
                    check(name, getattr(self, name))


@dataclass
class Constant(Schedule):
    """The base rate throughout. warmup: share of the run, in [0, 1)."""

    warmup: float = 0.0

    def __call__(self, progress: float, epoch: float) -> float:
        return _ramp(progress, self.warmup)


@dataclass
class Cosine(Schedule):
    """Half a cosine from 1 to `final` (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983).

    warmup: share of the run, in [0, 1). final: factor at the end, >= 0.
    """

    warmup: float = 0.05
    final: float = 0.0

    def __call__(self, progress: float, epoch: float) -> float:
        return _ramp(progress, self.warmup) * _cosine(1, self.final, _after(progress, self.warmup))


@dataclass
class Linear(Schedule):
    """A straight line from 1 to `final`.

    warmup: share of the run, in [0, 1). final: factor at the end, >= 0.
    """

    warmup: float = 0.0
    final: float = 0.0

    def __call__(self, progress: float, epoch: float) -> float:
        return _ramp(progress, self.warmup) * (1 + (self.final - 1) * _after(progress, self.warmup))


@dataclass
class Polynomial(Schedule):
    """`(1 - progress)^power`, from 1 to `final`.

    power: > 0. warmup: share of the run, in [0, 1). final: factor at the end, >= 0.
    """

    power: float = 0.9
    warmup: float = 0.0
    final: float = 0.0

    def __call__(self, progress: float, epoch: float) -> float:
        left = (1 - _after(progress, self.warmup)) ** self.power
        return _ramp(progress, self.warmup) * (self.final + (1 - self.final) * left)


@dataclass
class OneCycle(Schedule):
    """Cosine up from `start` to 1, cosine down to `final` (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).

    `optimizer.lr` is the peak. Momentum is left alone. As torch's OneCycleLR the run's last step has the rate `final`,
    and the last one that rises has the peak.
    warmup: share of the run that goes up, in (0, 1). start, final: factors at the two ends, >= 0.
    """

    warmup: float = 0.3
    start: float = 0.04
    final: float = 0.000004

    def __post_init__(self) -> None:
        _check_positive("warmup", self.warmup)
        super().__post_init__()

    def __call__(self, progress: float, epoch: float, step: float = 0.0) -> float:
        peak = self.warmup - step
        if progress < peak:
            return _cosine(self.start, 1, max(progress, 0.0) / peak)
        return _cosine(1, self.final, _after(progress + step, self.warmup))


@dataclass
class Exponential(Schedule):
    """Times `gamma` after every `every` epochs.

    gamma: in (0, 1]. every: epochs, > 0. warmup: share of the run, in [0, 1).
    """

    gamma: float = 0.9
    every: float = 1.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma > 1:
            raise PodiumError(f"schedule.gamma must be in (0, 1], got {self.gamma}")

    def __call__(self, progress: float, epoch: float) -> float:
        return _ramp(progress, self.warmup) * self.gamma ** math.floor(epoch / self.every)


@dataclass
class InverseTime(Schedule):
    """`1 / (1 + decay · epoch)`, falling with every step: the `decay` of Keras' first optimizers.

    decay: an epoch, >= 0; Keras' own is a step: so many times its steps an epoch. warmup: share of the run, in [0, 1).
    """

    decay: float = 0.1
    warmup: float = 0.0

    def __call__(self, progress: float, epoch: float) -> float:
        return _ramp(progress, self.warmup) / (1 + self.decay * epoch)


@dataclass
class Steps(Schedule):
    """A table: `factors[0]` until `boundaries[0]`, then `factors[1]` until `boundaries[1]`, and so on.

    boundaries: ascending; shares of the run in (0, 1), or epochs > 0.
    factors: one more than boundaries, each >= 0.
    unit: "share" or "epoch": what the boundaries count. warmup: share of the run, in [0, 1).
    """

    boundaries: Sequence[float] = field(default_factory=lambda: [0.5, 0.75])
    factors: Sequence[float] = field(default_factory=lambda: [1.0, 0.1, 0.01])
    unit: str = "share"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        self.boundaries = [float(at) for at in self.boundaries]
        self.factors = [float(factor) for factor in self.factors]
        if self.unit not in ("share", "epoch"):
            raise PodiumError(f'schedule.unit must be "share" or "epoch", got {self.unit!r}')
        top = 1.0 if self.unit == "share" else math.inf
        increasing = [0.0, *self.boundaries, top]
        if any(a >= b for a, b in pairwise(increasing)):
            allowed = "in (0, 1), shares of the run" if self.unit == "share" else "above 0, in epochs"
            raise PodiumError(f"schedule.boundaries must be ascending and {allowed}, got {self.boundaries}")
        if len(self.factors) != len(self.boundaries) + 1:
            raise PodiumError(
                f"schedule.factors must be one more than schedule.boundaries ({len(self.boundaries)}), "
                f"got {len(self.factors)}"
            )
        for factor in self.factors:
            _check_factor("factors", factor)
        super().__post_init__()

    def __call__(self, progress: float, epoch: float) -> float:
        at = progress if self.unit == "share" else epoch
        return _ramp(progress, self.warmup) * self.factors[bisect_right(self.boundaries, at)]


@dataclass
class CosineRestarts(Schedule):
    """Half cosines from 1 to `final`, `first` epochs long, then each `multiply` times as long as the last.

    SGDR: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983. A run ends low if it ends with a
    cycle: 10, 30, 70, 150 epochs for `first` 10 and `multiply` 2.
    first: epochs, > 0. multiply: >= 1. final: factor at the end of a cycle, >= 0.
    """

    first: float = 10.0
    multiply: float = 2.0
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.multiply < 1:
            raise PodiumError(f"schedule.multiply must be at least 1, got {self.multiply}")

    def __call__(self, progress: float, epoch: float) -> float:
        length = self.first
        while epoch >= length:
            epoch -= length
            length *= self.multiply
        return _cosine(1, self.final, epoch / length)


def _ramp(progress: float, warmup: float) -> float:
    progress = max(progress, 0.0)
    return 1.0 if progress >= warmup else WARMUP_START + (1 - WARMUP_START) * progress / warmup


def _after(progress: float, warmup: float) -> float:
    """Share that is done of what follows the warm-up, in [0, 1]."""
    return min(max((progress - warmup) / (1 - warmup), 0.0), 1.0)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _check_share(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise PodiumError(f"schedule.{key} must be in [0, 1), a share of the run, got {value}")


def _check_factor(key: str, value: float) -> None:
    if not value >= 0:
        raise PodiumError(f"schedule.{key} must be at least 0, a factor of optimizer.lr, got {value}")


def _check_positive(key: str, value: float) -> None:
    if not value > 0:
        raise PodiumError(f"schedule.{key} must be above 0, got {value}")


CHECKS = {
    "power gamma every first": _check_positive,
    "warmup": _check_share,
    "start final decay": _check_factor,
}
