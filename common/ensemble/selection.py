"""Which models to blend: the best of all small subsets by their predictions, and how much of that is luck."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np

from common.errors import PodiumError
from common.run.members import MEANS, combine
from common.task.measures import Measure
from common.task.scores import log_losses

SUBSETS = 50_000  # no more are all tried; then models are added one by one
WORK = 3e10  # probabilities to be looked at by trying all, a few minutes on one core
TOGETHER = 64  # subsets looked at together
BLOCK = 1 << 22  # probabilities looked at together: bounds memory
METRICS = ("top1", "top5", "loss")  # means over images
MEASURED, FEWEST = 20_000, 20  # times that another measure is computed at most; resamples at least
Subset = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """What may be chosen, and which of two choices is better."""

    # one of METRICS, or a measure of the competition; where it is equal, the loss decides (and top1, where the loss is)
    metric: str | Measure = "top1"
    means: tuple[str, ...] = MEANS
    most: int = 3  # models
    milliseconds: tuple[float, ...] | None = None  # of each candidate, an image
    budget: float | None = None  # of the blend's milliseconds

    @property
    def sign(self) -> int:
        """-1 where less is better."""
        direction = "max" if self.metric != "loss" else "min"
        return (
            -1 if (self.metric.direction if isinstance(self.metric, Measure) else direction) == "min" else 1
        )

    def allows(self, subset: Subset) -> bool:
        if self.budget is None or self.milliseconds is None:
            return True
        return sum(self.milliseconds[member] for member in subset) <= self.budget


@dataclass(frozen=True)
class Selection:
    """A choice; score, and optimism: by how much the score is expected to exceed that on new images, by resamples."""

    members: Subset
    mean: str
    score: float
    optimism: float
    exhaustive: bool
    resamples: int

    @property
    def corrected(self) -> float:
        return self.score - self.optimism


def select(
    stack: np.ndarray, labels: np.ndarray, rule: Rule, resamples: int = 200, seed: int = 0
) -> Selection:
    """The best subset of candidates by their probabilities, float32 (C, N, K), and labels, int64 (N,).

    All subsets are tried where there are few enough; else the best models are added one by one, and the best subset
    on the way counts. The optimism is Efron's bootstrap estimate (Efron 1983, JASA 78:316-331): the whole selection
    is repeated on resampled images, and the mean is taken of the score of each choice there less its score on the
    images themselves. Choosing among many candidates of equal worth has about 1.4 times that much luck in it.

    Raises PodiumError if no candidate keeps the budget, and without images.
    """
    count, images, classes = stack.shape
    if not images:
        raise PodiumError(
            "there are no pictures to choose a blend by: hold some out, such as by data.choose=0.1, and train again"
        )
    if not any(rule.allows((member,)) for member in range(count)):
        fastest = min(rule.milliseconds or ())
        raise PodiumError(
            f"milliseconds={rule.budget}: no candidate is that fast, the fastest takes {fastest:.1f} ms an image"
        )
    subsets = sum(comb(count, size) for size in range(1, rule.most + 1))
    exhaustive = subsets <= SUBSETS and subsets * len(rule.means) * images * classes <= WORK
    if isinstance(
        rule.metric, Measure
    ):  # no mean over images: it is computed anew for each subset and resample
        affordable = min(MEASURED, int(WORK / (images * classes)))
        exhaustive = exhaustive and subsets * len(rule.means) * FEWEST <= affordable
        tried = (subsets if exhaustive else rule.most * count) * len(rule.means)
        resamples = min(resamples, max(FEWEST, affordable // tried))
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + resamples, images))
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(0, images, images), minlength=images)
    best = _Best(weights, rule, stack, labels)
    for mean in rule.means:
        (_try_all if exhaustive else _add_one_by_one)(count, rule, mean, best)
    optimism = float((best.value[1:] - best.own[1:]).mean()) if resamples else 0.0
    members, mean = best.choice[0]
    return Selection(
        members, mean, rule.sign * float(best.value[0]), rule.sign * optimism, exhaustive, resamples
    )


def _try_all(count: int, rule: Rule, mean: str, best: "_Best") -> None:
    columns = np.arange(len(best.weights))
    for size in range(1, rule.most + 1):
        for subsets in _pieces(filter(rule.allows, combinations(range(count), size))):
            best.offer(subsets, mean, columns)


def _add_one_by_one(count: int, rule: Rule, mean: str, best: "_Best") -> None:
    """Forward selection (Caruana et al. 2004, each model at most once), of each resample along its own way."""
    ways: dict[Subset, list[int]] = {(): list(range(len(best.weights)))}  # chosen so far → columns
    for _ in range(rule.most):
        further: dict[Subset, list[int]] = {}
        for chosen, columns in ways.items():
            longer = [
                tuple(sorted({*chosen, new}))
                for new in range(count)
                if new not in chosen and rule.allows((*chosen, new))
            ]
            if not longer:
                continue
            picked = best.offer(longer, mean, np.array(columns))
            for column, pick in zip(columns, picked, strict=True):
                further.setdefault(longer[pick], []).append(column)
        ways = further


def outcomes(
    stack: np.ndarray, labels: np.ndarray, subsets: Sequence[Subset], mean: str, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """(whether the true class is among the first k, bool (S, N); loss in nats, float64 (S, N)) of blended subsets.

    As topk_accuracy, log_loss and combine have it, but for many subsets in one product of matrices.
    """
    count, images, classes = stack.shape
    inside = np.zeros((len(subsets), count), np.float32)
    for row, subset in zip(inside, subsets, strict=True):
        row[list(subset)] = 1
    sizes = inside.sum(axis=1)
    if (sizes == 1).all():
        mean = "arithmetic"  # one model is its own mean, without rounding
    hits = np.empty((len(subsets), images), bool)
    losses = np.empty((len(subsets), images))
    step = max(1, BLOCK // (classes * max(len(subsets), count)))
    for start in range(0, images, step):
        block = slice(start, start + step)
        values = np.ascontiguousarray(stack[:, block])
        if mean == "geometric":
            values = np.log(np.maximum(values, np.finfo(np.float32).tiny))
        totals = (inside @ values.reshape(count, -1)).reshape(len(subsets), -1, classes)
        own = np.take_along_axis(totals, labels[None, block, None], axis=2)  # (S, n, 1)
        hits[:, block] = (totals >= own).sum(axis=2) <= k  # the true class itself is one of these
        if mean == "geometric":
            totals /= sizes[:, None, None]
            top = totals.max(axis=2, keepdims=True)
            share = np.exp(own / sizes[:, None, None] - top)[..., 0] / np.exp(totals - top).sum(axis=2)
        else:
            share = own[..., 0] / sizes[:, None]
        losses[:, block] = log_losses(share.astype(np.float32))
    return hits, losses


class _Best:
    """The best subset so far for each weighting of the images, float64 (1 + B, N); the first is of ones."""

    def __init__(self, weights: np.ndarray, rule: Rule, stack: np.ndarray, labels: np.ndarray) -> None:
        self.weights, self.rule, self.stack, self.labels = weights, rule, stack, labels
        self.value = np.full(
            len(weights), -np.inf
        )  # of the metric, times the rule's sign, under these weights
        self.tie = np.full(len(weights), -np.inf)
        self.own = np.zeros(len(weights))  # the same choice, under equal weights
        self.choice: list[tuple[Subset, str]] = [((), "")] * len(weights)

    def offer(self, subsets: Sequence[Subset], mean: str, columns: np.ndarray) -> np.ndarray:
        """Compare with these subsets; returns which of them is the best in each of the columns."""
        metric, first = self.rule.metric, np.zeros(1, np.int64)
        k = 5 if metric == "top5" else 1
        hits, losses = outcomes(self.stack, self.labels, subsets, mean, k)
        by, tie = (-losses, hits) if metric == "loss" else (hits, -losses)
        ties = self._means(tie, columns)
        if isinstance(metric, Measure):
            measured = [self._measured(metric, subset, mean, np.append(columns, first)) for subset in subsets]
            values, own = np.array(measured).T[:-1], np.array(measured).T[-1]  # (columns, S), (S,)
        else:
            values, own = self._means(by, columns), self._means(by, first)[0]
        top = values.max(axis=1)
        pick = np.where(values == top[:, None], ties, -np.inf).argmax(axis=1)
        tied = ties[np.arange(len(columns)), pick]
        better = (top > self.value[columns]) | ((top == self.value[columns]) & (tied > self.tie[columns]))
        self.value[columns[better]], self.tie[columns[better]] = top[better], tied[better]
        self.own[columns[better]] = own[pick[better]]
        for column, which in zip(columns[better].tolist(), pick[better].tolist(), strict=True):
            self.choice[column] = (subsets[which], mean)
        return pick

    def _measured(self, measure: Measure, subset: Subset, mean: str, columns: np.ndarray) -> list[float]:
        """The measure of a blend under the columns' weights, times the sign; what is no number is the worst."""
        rows = combine(self.stack[list(subset)], mean)
        found = []
        for weights in self.weights[columns]:
            drawn = np.repeat(np.arange(len(rows)), weights.astype(np.int64))
            value = self.rule.sign * float(measure.of(self.labels[drawn], rows[drawn]))
            found.append(round(value, 6) if value == value else -np.inf)
        return found

    def _means(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Weighted means (columns, S). Rounded: what differs by less is equal, and then fewer models are taken."""
        weights = self.weights[columns]
        return np.round(weights @ values.T.astype(np.float64) / weights.shape[1], 6)


def _pieces(subsets: Iterable[Subset]) -> Iterator[list[Subset]]:
    rest = iter(subsets)
    while piece := list(islice(rest, TOGETHER)):
        yield piece
