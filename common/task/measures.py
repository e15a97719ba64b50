"""Measures: what a number is called, which direction is better, and how it comes from labels and probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from common.errors import PodiumError


@dataclass(frozen=True)
class Measure:
    """A number of predictions, defined once: validation, tables, curves, rankings and blends take it from here.

    Args:
        name: `valid_<name>` in validation, `<part>_<name>` of a part of the data in `scores.json`.
        of: (labels int64 (N,), probabilities float32 (N, K), rows sum to 1, N ≥ 1) → the number.
        direction: max or min, which is better.
    """

    name: str
    of: Callable[[np.ndarray, np.ndarray], float]
    direction: str = "max"

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise PodiumError(f"Measure {self.name}: direction must be max or min, got {self.direction!r}")


def direction_of(key: str, metric: str, given: str | None, directions: Mapping[str, str | None]) -> str:
    """Which direction is better by what is measured. given: what the configuration says; None leaves it open.

    Raises PodiumError that names `key` where that is the other one, or neither says it.
    """
    right = directions[metric] or given
    if right is None:
        raise PodiumError(f"{key}: say max or min, which of {metric} is better")
    if given not in (None, right):
        raise PodiumError(
            f"{key}: the best {metric} is the {right}, not the {given}: write {right}, or leave it out"
        )
    return right
