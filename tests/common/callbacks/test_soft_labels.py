"""Tables that teach: several, partial and of many classes."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from common.callbacks.soft_labels import SoftLabels
from common.data import predictions
from common.errors import PodiumError
from common.model.step_hooks import StepHooks


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
    np.testing.assert_allclose(
        soft.teacher(torch.tensor([1, 2, 3])), np.stack([first[0], second[0], first[1]]), rtol=1e-5
    )


def test_many_classes_teach_by_what_their_table_keeps(tmp_path):
    ids = [str(number) for number in range(20)]
    rows = written(tmp_path / "wide.parquet", ids, 600)
    soft = SoftLabels(str(tmp_path / "wide.parquet"))
    soft.read(ids, 600)
    teacher = soft.teacher(torch.arange(20))
    assert (teacher.argmax(1).numpy() == rows.argmax(1)).all()
    np.testing.assert_allclose(teacher.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(teacher.max(1).values, rows.max(1), rtol=1e-4)


def test_many_classes_take_no_more_memory_than_their_table(tmp_path):
    """Of 5,000 classes, dense rows would take 40 MB; what a batch is taught equals what dense rows say."""
    ids = [str(number) for number in range(2000)]
    written(tmp_path / "wide.parquet", ids[:1000], 5000)
    pd.DataFrame({"id": ids[1000:1001], "probabilities": [np.full(5000, 1 / 5000)]}).to_parquet(
        tmp_path / "foreign.parquet"
    )
    soft = SoftLabels([str(tmp_path / "wide.parquet")], hard_weight=0.25, temperature=3.0)
    tracemalloc.start()
    soft.read(ids, 5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
    _, dense = predictions.read(tmp_path / "wide.parquet")
    expected = dense ** (1 / 3) / (dense ** (1 / 3)).sum(axis=1, keepdims=True)
    batch = {"index": torch.tensor([999, 3, 1500]), "label": torch.tensor([7, 4999, 0])}
    target = soft.step_hooks(StepHooks(lambda batch: batch["label"], None, None, None, None)).target
    hard = np.eye(5000, dtype=np.float32)[[7, 4999, 0]]
    found = target(batch).numpy()
    np.testing.assert_allclose(found[:2], 0.25 * hard[:2] + 0.75 * expected[[999, 3]], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found[2], 0.9 * hard[2] + 0.1 / 5000, rtol=1e-5)
    both = SoftLabels([str(tmp_path / name) for name in ("foreign.parquet", "wide.parquet")])
    both.read(ids, 5000)  # a table of another kind
    np.testing.assert_allclose(
        both.teacher(torch.tensor([1000, 3])), [[1 / 5000] * 5000, dense[3]], rtol=1e-4
    )


def test_temperature_softens_and_other_class_counts_are_refused(tmp_path):
    rows = written(tmp_path / "a.parquet", ["x"], 5)
    soft = SoftLabels(str(tmp_path / "a.parquet"), temperature=2.0)
    soft.read(["x"], 5)
    expected = np.sqrt(rows[0]) / np.sqrt(rows[0]).sum()
    np.testing.assert_allclose(soft.teacher(torch.tensor([0]))[0], expected, rtol=1e-5)
    with pytest.raises(PodiumError, match="rows have 5 probabilities, the data set has 6 classes"):
        soft.read(["x"], 6)
    with pytest.raises(PodiumError, match="none of its ids is among the 1 images"):
        soft.read(["other"], 5)
