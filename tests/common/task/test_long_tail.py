"""GAP and class accuracy against naive loops and scikit-learn, by batches, by levels and from tables."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from common.data import predictions
from common.task.long_tail_metrics import BestGuesses, LongTailMetrics
from common.task.long_tail_scores import (
    class_accuracy,
    global_average_precision,
    level_scores,
    long_tail_scores,
)


def draw(count, classes, seed=0, decimals=None):
    """Labels of a long tail and probabilities that know something of them; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = (classes * rng.random(count) ** 2).astype(np.int64)
    logits = rng.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    rows = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    return labels, rows if decimals is None else rows.round(decimals)


def naive_gap(correct, confidences):
    total = 0.0
    for own, right in zip(confidences, correct, strict=True):
        above = [hit for other, hit in zip(confidences, correct, strict=True) if other >= own]
        total += right * sum(above) / len(above)
    return total / len(correct)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize(("count", "classes"), [(1, 3), (40, 3), (90, 12)])
def test_gap_is_that_of_a_naive_loop_and_of_scikit_learn(count, classes, decimals):
    labels, rows = draw(count, classes, count, decimals)
    correct, confidences = rows.argmax(1) == labels, rows.max(1)
    found = global_average_precision(correct, confidences)
    assert found == pytest.approx(naive_gap(correct, confidences))
    if correct.any():
        assert found == pytest.approx(average_precision_score(correct, confidences) * correct.mean())


def test_gap_without_ties_is_the_definition():
    correct, confidences = np.array([True, False, True, True]), np.array([0.2, 0.9, 0.7, 0.5])
    assert global_average_precision(correct, confidences) == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 4)


def test_the_order_of_the_images_does_not_matter():
    labels, rows = draw(80, 5, decimals=1)
    correct, confidences = rows.argmax(1) == labels, rows.max(1)
    shuffled = np.random.default_rng(1).permutation(80)
    expected = global_average_precision(correct, confidences)
    assert global_average_precision(correct[shuffled], confidences[shuffled]) == expected


def test_class_accuracy_is_the_mean_over_classes_that_are_there():
    labels, rows = draw(70, 20)
    predicted = rows.argmax(1)
    shares = [(predicted[labels == label] == label).mean() for label in set(labels.tolist())]
    found = class_accuracy(labels, predicted, 20)
    assert found == pytest.approx(np.mean(shares)) and len(shares) < 20
    there = np.isin(predicted, labels)
    assert class_accuracy(labels[there], predicted[there], 20) == pytest.approx(
        balanced_accuracy_score(labels[there], predicted[there])
    )


def test_without_images_nothing_is_scored():
    none = np.array([], np.int64)
    assert all(math.isnan(value) for value in long_tail_scores(none, none, none.astype(float), 3).values())


def test_memory_grows_with_images_and_classes_not_with_their_product():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 50_030, (2, 100_000))
    confidences = rng.random(100_000, dtype=np.float32)
    tracemalloc.start()
    long_tail_scores(labels, predicted, confidences, 50_030)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 60 * (100_000 + 50_030)


PARENTS = {"family": [0, 0, 1, 1, 2, 2, 2], "order": [0, 0, 1, 1, 1, 1, 1]}


def of_level(labels, rows, parent):
    """Scores of a level, image by image: its class is the parent of the most probable leaf, as probable as that."""
    said = [(parent[row.argmax()], row.max(), parent[label]) for row, label in zip(rows, labels, strict=True)]
    predicted, confidences, right = (np.array(column) for column in zip(*said, strict=True))
    recalls = [(predicted[right == one] == one).mean() for one in set(right.tolist())]
    gap = naive_gap(predicted == right, confidences)
    return {"top1": (predicted == right).mean(), "gap": gap, "class_accuracy": np.mean(recalls)}


def test_batches_give_the_scores_of_the_whole_at_every_level_and_it_starts_over():
    labels, rows = draw(64, 7)
    metrics = LongTailMetrics(7, PARENTS)
    expected = {f"valid_{name}": value for name, value in of_level(labels, rows, range(7)).items()}
    for level, parent in PARENTS.items():
        expected |= {f"valid_{level}_{k}": value for k, value in of_level(labels, rows, parent).items()}
    for _ in range(2):
        for start in range(0, 64, 10):
            part = slice(start, start + 10)
            metrics.update(torch.tensor(rows[part]), torch.tensor(labels[part]))
        found = {name: float(value) for name, value in metrics.compute().items()}
        assert list(found) == metrics.names
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [7, 600])
def test_tables_score_as_validation_does_at_every_level(classes, tmp_path):
    labels, rows = draw(300, classes)
    levels = PARENTS if classes == 7 else {"family": (np.arange(600) // 50).tolist()}
    predictions.write(tmp_path / "p.parquet", [str(i) for i in range(300)], labels, rows)
    top = predictions.read_top(tmp_path / "p.parquet")
    found = level_scores(*(top[name].to_numpy() for name in ("label", "predicted", "probability")), levels)
    metrics = LongTailMetrics(classes, levels)
    metrics.update(torch.tensor(rows), torch.tensor(labels))
    validated = metrics.compute()
    for level, parent in levels.items():
        expected = of_level(labels, rows, parent)
        assert {name: found[level][name] for name in expected} == pytest.approx(expected, rel=1e-5)
        seen = {name: float(validated[f"valid_{level}_{name}"]) for name in expected}
        assert seen == pytest.approx(expected, rel=1e-5)


def test_the_best_class_of_a_wide_table_is_the_first_of_equals(tmp_path):
    rows = np.full((3, 600), 0.2 / 598, np.float32)
    rows[:, [7, 400]] = 0.4
    predictions.write(tmp_path / "p.parquet", list("abc"), np.zeros(3, np.int64), rows)
    top = predictions.read_top(tmp_path / "p.parquet")
    assert top["predicted"].tolist() == [7, 7, 7] and np.allclose(top["probability"], 0.4)


def test_merged_halves_are_the_whole():
    labels, rows = draw(64, 7)
    whole, one, other = (BestGuesses(7) for _ in range(3))
    for metric, part in ((whole, slice(None)), (one, slice(0, 20)), (other, slice(20, None))):
        confidences, predicted = torch.tensor(rows[part]).max(dim=1)
        metric.update(confidences, predicted, torch.tensor(labels[part]))
    one.merge_state(other)
    torch.testing.assert_close(one.compute(), whole.compute())


def in_process(rank, port, labels, rows, found):
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    metrics = LongTailMetrics(7, PARENTS)
    mine = slice(0, 20) if rank == 0 else slice(20, None)  # unequal shares
    metrics.update(torch.tensor(rows[mine]), torch.tensor(labels[mine]))
    values = {name: float(value) for name, value in metrics.compute().items()}
    distributed.destroy_process_group()
    found[rank] = values


@pytest.mark.slow
def test_two_processes_agree_on_the_scores_of_all_images():
    import socket

    import torch.multiprocessing as processes

    labels, rows = draw(64, 7)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with processes.get_context("spawn").Manager() as manager:
        found = manager.dict()
        processes.spawn(in_process, (port, labels, rows, found), nprocs=2)
        one, other = found[0], found[1]
    metrics = LongTailMetrics(7, PARENTS)
    metrics.update(torch.tensor(rows), torch.tensor(labels))
    alone = {name: float(value) for name, value in metrics.compute().items()}
    assert one == other == pytest.approx(alone, rel=1e-6)
