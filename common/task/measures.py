"""Measures: what a number is called, which direction is better, and how it comes from labels and probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from common.data.predictions import ranked
from common.errors import PodiumError


@dataclass(frozen=True)
class Answers:
    """What most measures need of the predictions: five numbers a picture, however many classes there are.

    Validation collects them batch by batch, tables hold them, and `Answers.of` makes them of rows of probabilities.

    label: int64 (N,). own: float (N,), the probability of the label. rank: int64 (N,), how many other classes are at
    least as probable; K where `own` is NaN. predicted: int64 (N,), the most probable class. confidence: float (N,), its
    probability.
    """

    label: np.ndarray
    own: np.ndarray
    rank: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, probabilities: np.ndarray) -> "Answers":
        """labels: int (N,) in 0..K-1. probabilities: float (N, K)."""
        predicted = probabilities.argmax(axis=1) if len(labels) else labels
        confidence = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
        return cls(labels, *ranked(probabilities, labels), predicted, confidence)


@dataclass(frozen=True)
class Measure:
    """A number of predictions, defined once: validation, tables, curves, rankings and blends take it from here.

    Args:
        name: `valid_<name>` in validation, `<part>_<name>` of a part of the data in `scores.json`.
        of: (labels int64 (N,), probabilities float32 (N, K), rows sum to 1, N ≥ 1) → the number.
        direction: max or min, which is better; None: the recipe says it.
        of_answers: the same number of Answers; None where it takes all probabilities. See `by_answers`.
    """

    name: str
    of: Callable[[np.ndarray, np.ndarray], float]
    direction: str | None = "max"
    of_answers: Callable[[Answers], float] | None = None

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min", None):
            raise PodiumError(f"Measure {self.name}: direction must be max or min, got {self.direction!r}")


def by_answers(name: str, of: Callable[[Answers], float], direction: str | None = "max") -> Measure:
    """A measure of Answers: validation keeps five numbers a picture for it, and not its K probabilities."""
    return Measure(name, lambda labels, rows: of(Answers.of(labels, rows)), direction, of)


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
