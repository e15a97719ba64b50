"""GAP and class accuracy against naive loops and scikit-learn, by levels and from tables."""

import math
import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from common.data import predictions
from common.task.long_tail_scores import (
    class_accuracy,
    global_average_precision,
    long_tail_measures,
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


def test_every_level_is_measured_as_image_by_image():
    labels, rows = draw(64, 7)
    expected = {name: value for name, value in of_level(labels, rows, range(7)).items() if name != "top1"}
    for level, parent in PARENTS.items():
        expected |= {f"{level}_{name}": value for name, value in of_level(labels, rows, parent).items()}
    measures = long_tail_measures(7, PARENTS)
    assert [measure.name for measure in measures] == list(expected)
    assert {measure.name: measure.of(labels, rows) for measure in measures} == pytest.approx(expected)


def test_the_best_class_of_a_wide_table_is_the_first_of_equals(tmp_path):
    rows = np.full((3, 600), 0.2 / 598, np.float32)
    rows[:, [7, 400]] = 0.4
    predictions.write(tmp_path / "p.parquet", list("abc"), np.zeros(3, np.int64), rows)
    top = predictions.read_top(tmp_path / "p.parquet")
    assert top["predicted"].tolist() == [7, 7, 7] and np.allclose(top["probability"], 0.4)
