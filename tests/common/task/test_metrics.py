"""Validation metrics against those of the whole table: one definition, by batches and by tables."""

import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes

from common.data import predictions
from common.task.long_tail_scores import level_scores, long_tail_measures
from common.task.mean_ap import mean_average_precision
from common.task.measures import Measure
from common.task.metrics import ValidationMetrics
from common.task.scores import score_rows
from common.task.single import SingleLabel
from tests.toys import brier

PARENTS = {"family": [0, 0, 1, 1, 2, 2, 2], "order": [0, 0, 1, 1, 1, 1, 1]}


def metrics_of(classes, *more):
    task = SingleLabel(classes)
    return ValidationMetrics(task, [*task.measures, *more])


def draw(count, classes, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    return rng.integers(0, classes, count), rows if decimals is None else rows.round(decimals)


def measure(metrics, labels, rows, batch=7):
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metrics.update(torch.tensor(rows[part]), torch.tensor(labels[part]))
    values = {name: float(value) for name, value in metrics.compute().items()}
    assert list(values) == metrics.names
    metrics.reset()
    return values


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("classes", [3, 5, 9])
def test_batches_give_the_scores_of_the_whole_and_it_starts_over(classes, decimals):
    labels, rows = draw(60, classes, decimals=decimals)
    metrics = metrics_of(classes)
    expected = score_rows(labels, rows, [str(i) for i in range(classes)])
    for _ in range(2):
        values = measure(metrics, labels, rows)
        for name in ("top1", "top5", "loss"):
            assert values.get(f"valid_{name}") == pytest.approx(expected.get(name))


def test_a_constant_answer_and_nan_are_never_right():
    metrics = metrics_of(6)
    for value in (1 / 6, float("nan")):
        values = measure(metrics, np.arange(6), np.full((6, 6), value, np.float32))
        assert values["valid_top1"] == values["valid_top5"] == 0


MORE = [*long_tail_measures(7, PARENTS), mean_average_precision(7), Measure("brier", brier, "min")]


@pytest.mark.parametrize("decimals", [None, 1])
def test_each_measure_of_a_table_is_that_of_its_batches(decimals):
    labels, rows = draw(64, 7, decimals=decimals)
    metrics = metrics_of(7, *MORE)
    values = measure(metrics, labels, rows)
    assert values == pytest.approx({f"valid_{one.name}": one.of(labels, rows) for one in metrics.measures})


def test_without_pictures_all_are_nan():
    for update in (False, True):
        metrics = metrics_of(7, *MORE)
        if update:
            metrics.update(torch.empty(0, 7), torch.empty(0, dtype=torch.int64))
        assert all(value.isnan() for value in metrics.compute().values())


def test_probabilities_are_kept_only_for_measures_that_take_all_of_them():
    labels, rows = draw(8, 7)
    for metrics, kept in ((metrics_of(7, *MORE), True), (metrics_of(7, *MORE[:-1]), False)):
        metrics.update(torch.tensor(rows), torch.tensor(labels))
        numbers = sum(tensor.numel() for state in metrics.metric_state.values() for tensor in state)
        assert numbers == 8 * (5 + 7 * kept)


@pytest.mark.parametrize("classes", [7, 600])
def test_tables_score_as_validation_does_at_every_level(classes, tmp_path):
    labels, rows = draw(300, classes)
    levels = PARENTS if classes == 7 else {"family": (np.arange(600) // 50).tolist()}
    predictions.write(tmp_path / "p.parquet", [str(i) for i in range(300)], labels, rows)
    top = predictions.read_top(tmp_path / "p.parquet")
    scores = level_scores(*(top[name].to_numpy() for name in ("label", "predicted", "probability")), levels)
    values = measure(metrics_of(classes, *long_tail_measures(classes, levels)), labels, rows, batch=300)
    for level in levels:
        for name in ("top1", "gap", "class_accuracy"):
            assert values[f"valid_{level}_{name}"] == pytest.approx(scores[level][name], rel=1e-5)


def test_merged_halves_are_the_whole():
    labels, rows = draw(64, 7)
    one, other = metrics_of(7, *MORE), metrics_of(7, *MORE)
    for metric, part in ((one, slice(0, 20)), (other, slice(20, None))):
        metric.update(torch.tensor(rows[part]), torch.tensor(labels[part]))
    one.merge_state(other)
    values = {name: float(value) for name, value in one.compute().items()}
    assert values == pytest.approx(
        measure(other.__class__(other.task, other.measures), labels, rows), rel=1e-6
    )


def in_process(rank, port, labels, rows, values):
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    part = slice(0, 20) if rank == 0 else slice(20, None)  # unequal shares
    values[rank] = measure(metrics_of(7, *MORE), labels[part], rows[part])
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_on_the_scores_of_all_images():
    labels, rows = draw(64, 7)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with processes.get_context("spawn").Manager() as manager:
        values = manager.dict()
        processes.spawn(in_process, (port, labels, rows, values), nprocs=2)
        one, other = values[0], values[1]
    assert one == other == pytest.approx(measure(metrics_of(7, *MORE), labels, rows), rel=1e-6)
