"""Tables that teach: several, partial and of many classes."""

import numpy as np
import pytest

from common.callbacks.soft_labels import SoftLabels
from common.data import predictions
from common.errors import PodiumError


def written(path, ids, classes, seed=0):
    rows = np.random.default_rng(seed).dirichlet(np.full(classes, 0.02), len(ids)).astype(np.float32)
    predictions.write(path, ids, np.zeros(len(ids), int), rows)
    return rows


def test_several_tables_teach_each_its_own_images(tmp_path):
    first, second = (
        written(tmp_path / "a.parquet", ["x", "z"], 4),
        written(tmp_path / "b.parquet", ["y", "-"], 4, 1),
    )
    soft = SoftLabels([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], temperature=1.0)
    soft.read(["w", "x", "y", "z"], 4)
    assert soft.known.tolist() == [False, True, True, True]
    np.testing.assert_allclose(soft.teacher[1:], np.stack([first[0], second[0], first[1]]), rtol=1e-5)


def test_many_classes_teach_by_what_their_table_keeps(tmp_path):
    ids = [str(number) for number in range(20)]
    rows = written(tmp_path / "wide.parquet", ids, 600)
    soft = SoftLabels(str(tmp_path / "wide.parquet"))
    soft.read(ids, 600)
    assert (soft.teacher.argmax(1).numpy() == rows.argmax(1)).all()
    np.testing.assert_allclose(soft.teacher.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(soft.teacher.max(1).values, rows.max(1), rtol=1e-4)


def test_temperature_softens_and_other_class_counts_are_refused(tmp_path):
    rows = written(tmp_path / "a.parquet", ["x"], 5)
    soft = SoftLabels(str(tmp_path / "a.parquet"), temperature=2.0)
    soft.read(["x"], 5)
    expected = np.sqrt(rows[0]) / np.sqrt(rows[0]).sum()
    np.testing.assert_allclose(soft.teacher[0], expected, rtol=1e-5)
    with pytest.raises(PodiumError, match="rows have 5 probabilities, the data set has 6 classes"):
        soft.read(["x"], 6)
    with pytest.raises(PodiumError, match="none of its ids is among the 1 images"):
        soft.read(["other"], 5)
