"""Mean average precision against a naive loop over thresholds, scikit-learn, and by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from common.task.mean_ap import average_precisions, mean_average_precision, mean_over_classes


def draw(count, classes, seed, skill=1.0, decimals=None):
    """Labels and probabilities that know something of them; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities if decimals is None else probabilities.round(decimals)


def precisions(labels, probabilities):
    predicted, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    return average_precisions(labels, predicted, scores, probabilities.shape[1])


def naive(labels, probabilities, label):
    """For each threshold the precision and recall of what is above; then every recall's best precision after it."""
    rows = [(max(p), list(p).index(max(p)), t) for p, t in zip(probabilities.tolist(), labels, strict=True)]
    mine = [(score, truth == label) for score, predicted, truth in rows if predicted == label]
    points = []
    for threshold in sorted({score for score, _ in mine}, reverse=True):
        above = [hit for score, hit in mine if score >= threshold]
        points.append((sum(above) / sum(truth == label for truth in labels), sum(above) / len(above)))
    area, before = 0.0, 0.0
    for number, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[number:])
        before = recall
    return area


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize(("count", "classes", "seed"), [(60, 4, 0), (25, 3, 1), (80, 2, 2), (1, 4, 3)])
def test_it_equals_a_naive_loop(count, classes, seed, decimals):
    labels, probabilities = draw(count, classes, seed, decimals=decimals)
    found = precisions(labels, probabilities)
    for label in range(classes):
        if (labels == label).any():
            assert found[label] == pytest.approx(naive(labels, probabilities, label))
        else:
            assert math.isnan(found[label])
    assert mean_average_precision(classes).of(labels, probabilities) == pytest.approx(np.nanmean(found))


def test_it_equals_the_envelope_of_scikit_learns_curve():
    labels, probabilities = draw(200, 4, 4)
    predicted, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    for label, found in enumerate(precisions(labels, probabilities)):
        claimed = np.where(predicted == label, scores, -1.0)  # the pictures that are not claimed come last
        precision, recall, thresholds = precision_recall_curve(labels == label, claimed)
        kept = thresholds >= 0
        precision, recall = precision[:-1][kept][::-1], recall[:-1][kept][::-1]
        envelope = [precision[number:].max() for number in range(len(precision))]
        assert found == pytest.approx(sum(np.diff(recall, prepend=0) * envelope))


def test_where_precision_only_falls_it_equals_scikit_learns_average_precision():
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    sure = np.array(
        [0.95, 0.9, 0.85, 0.6, 0.7, 0.05, 0.1, 0.15]
    )  # of class 0: right four times, wrong once, last
    probabilities = np.stack([sure, 1 - sure], axis=1)
    expected = average_precision_score(labels == 0, sure)
    assert precisions(labels, probabilities)[0] == pytest.approx(expected) == 1


def test_by_hand():
    """Class 0: right at .9, wrong at .8, right at .7, one of three never said: recall 1/3 at 1, 2/3 at 2/3."""
    labels = np.array([0, 1, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.35, 0.65]])
    assert precisions(labels, probabilities) == pytest.approx([1 / 3 + 1 / 3 * 2 / 3, 1 / 2])


def test_a_class_without_pictures_is_left_out_of_the_mean_but_its_claims_cost_nothing_else():
    labels = np.array([0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    assert np.isnan(precisions(labels, probabilities)[2])
    assert mean_over_classes(precisions(labels, probabilities)) == pytest.approx((1 + 0.5) / 2)
    assert math.isnan(mean_over_classes(precisions(labels[:0], probabilities[:0])))


def test_the_order_of_the_pictures_does_not_matter():
    labels, probabilities = draw(50, 3, 5, decimals=1)
    shuffled = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(
        precisions(labels, probabilities),
        precisions(labels[shuffled], probabilities[shuffled]),
    )
