"""Doubted labels: those that were exchanged on purpose are found, clean ones are not."""

import numpy as np
import pandas as pd

from common.report.label_issues import find_doubts


def believable(labels, classes, rng):
    """Probabilities of a good model: 0.8 to 0.95 on the true class."""
    rows = rng.dirichlet(np.ones(classes), len(labels))
    sure = rng.uniform(0.8, 0.95, len(labels))[:, None]
    return (1 - sure) * rows + sure * np.eye(classes)[labels]


def test_exchanged_labels_are_found_most_doubtful_first():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(4), 50)
    given = true.copy()
    wrong = rng.choice(200, 12, replace=False)
    given[wrong] = (true[wrong] + 1) % 4
    table = pd.DataFrame({"id": [f"{i:03d}" for i in range(200)], "label": given, "fold": 0})
    names = ["bar", "cross", "ring", "slash"]
    found = find_doubts(table, believable(true, 4, rng), names)
    assert set(found["id"]) <= {f"{i:03d}" for i in wrong} and len(found) >= 11
    assert found["quality"].is_monotonic_increasing
    for _, row in found.iterrows():
        number = int(row["id"])
        assert (row["was"], row["class"]) == (names[given[number]], names[true[number]])
        assert names[true[number]] in row["reason"]


def test_classes_without_images_do_no_harm():
    rng = np.random.default_rng(1)
    true = np.repeat([0, 3], 40)
    table = pd.DataFrame({"id": [str(i) for i in range(80)], "label": true, "fold": 0})
    assert len(find_doubts(table, believable(true, 5, rng), list("abcde"))) == 0


def test_a_class_keeps_an_image():
    """All images of a class look like another: not all are doubted."""
    rng = np.random.default_rng(2)
    given = np.repeat([0, 1], [40, 6])
    table = pd.DataFrame({"id": [str(i) for i in range(46)], "label": given, "fold": 0})
    found = find_doubts(table, believable(np.zeros(46, int), 2, rng), ["a", "b"])
    assert (found["was"] == "b").sum() < 6
