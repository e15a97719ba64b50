"""Validation metrics against those of the whole table, and in the memory that very many classes leave."""

import numpy as np
import pytest
import torch

from common.task.metrics import ValidationMetrics
from common.task.scores import score_rows


def draw(count, classes, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    return rng.integers(0, classes, count), rows if decimals is None else rows.round(decimals)


def measure(metrics, labels, rows, batch=7):
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metrics.update(torch.tensor(rows[part]), torch.tensor(labels[part]))
    return {name: float(value) for name, value in metrics.compute().items()}


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("classes", [3, 5, 9])
def test_batches_give_the_scores_of_the_whole_and_it_starts_over(classes, decimals):
    labels, rows = draw(60, classes, decimals=decimals)
    metrics = ValidationMetrics(classes)
    expected = score_rows(labels, rows, [str(i) for i in range(classes)])
    for _ in range(2):
        found = measure(metrics, labels, rows)
        assert list(found) == metrics.names
        for name in ("top1", "top5"):
            assert found.get(f"valid_{name}") == pytest.approx(expected.get(name))
    if decimals is None:
        assert found["valid_loss"] == pytest.approx(expected["loss"], rel=1e-4)


def test_a_constant_answer_and_nan_are_never_right():
    metrics = ValidationMetrics(6)
    for value in (1 / 6, float("nan")):
        found = measure(metrics, np.arange(6), np.full((6, 6), value, np.float32))
        assert found["valid_top1"] == found["valid_top5"] == 0
