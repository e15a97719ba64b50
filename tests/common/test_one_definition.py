"""Each measure has one value, wherever it is computed: in validation, from tables of any width, and in blends."""

import copy

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import log_loss as by_sklearn
from sklearn.metrics import top_k_accuracy_score

from common.data import predictions
from common.deliver.evaluate import _of_classes
from common.ensemble import out_of_fold
from common.ensemble.clean import judgements
from common.ensemble.selection import outcomes
from common.errors import PodiumError
from common.model.networks.backbones import efficientnet, timm_model
from common.model.networks.heads import ConvHead, DenseHead, LinearHead, end_in_float32
from common.task.level_metrics import LevelMetrics
from common.task.long_tail_scores import level_scores
from common.task.metrics import ValidationMetrics
from common.task.scores import log_loss, score_file, score_rows
from common.task.single import SingleLabel
from common.train import run_scores
from tests import toys


def table(classes: int, images: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and float32 probabilities, some of them exactly 0 or 1 and some tiny, right and wrong."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(classes, 0.05), images).astype(np.float32)
    labels = np.where(rng.random(images) < 0.6, rows.argmax(axis=1), rng.integers(0, classes, images))
    rows[:10] = np.eye(classes, dtype=np.float32)[labels[:10]]
    rows[10:20] = np.eye(classes, dtype=np.float32)[(labels[10:20] + 1) % classes]
    rows[20:30, 0] = 1e-30
    rows /= rows.sum(axis=1, keepdims=True)
    return labels, rows


def sklearns(labels: np.ndarray, rows: np.ndarray) -> float:
    return by_sklearn(labels, rows, labels=np.arange(rows.shape[1]))


@pytest.mark.parametrize("classes", [2, 7, 513, 2000])
def test_the_log_loss_is_sklearns_everywhere(classes, tmp_path):
    labels, rows = table(classes)
    expected = sklearns(labels, rows)
    names = [str(number) for number in range(classes)]
    predictions.write(tmp_path / "table.parquet", names[:1] * len(labels), labels, rows)
    task = SingleLabel(classes)
    metrics = ValidationMetrics(task, task.measures)
    for part in np.array_split(np.arange(len(labels)), 7):
        metrics.update(torch.from_numpy(rows[part]), torch.from_numpy(labels[part]))
    found = {
        "rows": score_rows(labels, rows, names)["loss"],
        "file": score_file(tmp_path / "table.parquet", names)["loss"],
        "validation": float(metrics.compute()["valid_loss"]),
        "blend": outcomes(rows[None], labels, [(0,)], "arithmetic", 1)[1].mean(),
        "function": log_loss(rows, labels),
    }
    assert found == pytest.approx(dict.fromkeys(found, expected), rel=1e-5)
    assert log_loss(rows.astype(np.float64), labels) == pytest.approx(
        sklearns(labels, rows.astype(np.float64))
    )


@pytest.mark.parametrize("classes", [7, 513, 2000])
def test_a_table_of_many_classes_scores_what_its_rows_do(classes, tmp_path):
    """Though it keeps 32 of them: also where the true class is none of these."""
    labels, rows = table(classes, seed=1)
    names = [str(number) for number in range(classes)]
    predictions.write(tmp_path / "table.parquet", names[:1] * len(labels), labels, rows)
    found, expected = score_file(tmp_path / "table.parquet", names), score_rows(labels, rows, names)
    assert {name: found[name] for name in ("top1", "top5", "images")} == {
        name: expected[name] for name in ("top1", "top5", "images")
    }
    clear = np.random.default_rng(2).permuted(np.tile(np.arange(1, classes + 1.0), (50, 1)), axis=1)
    clear = (clear / clear.sum(axis=1, keepdims=True)).astype(np.float32)
    truth = np.argsort(-clear, axis=1)[np.arange(50), np.arange(50) % 10 if classes > 10 else 0]
    for k in (1, 5):
        theirs = top_k_accuracy_score(truth, clear, k=k, labels=np.arange(classes))
        assert score_rows(truth, clear, names)[f"top{k}"] == pytest.approx(theirs)
    dense = predictions.read(tmp_path / "table.parquet", exact=True)[1]
    own = np.arange(len(labels)), labels
    np.testing.assert_array_equal(dense[own], rows[own])
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-5)


def test_tables_made_of_tables_score_as_exactly(tmp_path):
    """Out-of-fold predictions, means of several models, and what cleaning asks for: each from the rows themselves."""
    names = [str(number) for number in range(2000)]
    parts, every = [tmp_path / f"{number}.parquet" for number in range(2)], []
    for seed, part in enumerate(parts):
        labels, rows = table(2000, seed=seed)
        predictions.write(part, [f"{seed}_{row}" for row in range(len(labels))], labels, rows)
        every.append((labels, rows))
    labels, rows = (np.concatenate(both) for both in zip(*every, strict=True))
    ids = predictions.read(parts[0])[0]["id"].tolist() + predictions.read(parts[1])[0]["id"].tolist()
    predictions.write(tmp_path / "joined.parquet", ids, labels, out_of_fold._rows(parts))
    assert score_file(tmp_path / "joined.parquet", names)["loss"] == pytest.approx(
        sklearns(labels, rows), rel=1e-5
    )
    found = judgements(tmp_path / "joined.parquet").set_index("id").loc[ids, "own"]
    np.testing.assert_array_equal(found, rows[np.arange(len(labels)), labels])

    predictions.write(parts[1], ids[:200], every[0][0], every[1][1])
    run_scores._write_mean(tmp_path / "mean.parquet", parts)
    mean = (every[0][1] + every[1][1]) / 2
    assert score_file(tmp_path / "mean.parquet", names)["loss"] == pytest.approx(
        sklearns(every[0][0], mean), rel=1e-5
    )


def test_tables_of_before_are_read_as_they_were(tmp_path):
    labels, rows = table(600)
    names = [str(number) for number in range(600)]
    predictions.write(tmp_path / "new.parquet", names[:1] * len(labels), labels, rows)
    new = pq.read_table(tmp_path / "new.parquet")
    pq.write_table(new.drop_columns(["own", "rank"]), tmp_path / "old.parquet")
    found, exact = (score_file(tmp_path / f"{age}.parquet", names) for age in ("old", "new"))
    assert found["top1"] == exact["top1"] and found["loss"] == pytest.approx(exact["loss"], rel=0.3)
    predictions.join(tmp_path / "both.parquet", [tmp_path / "old.parquet", tmp_path / "new.parquet"])
    assert len(predictions.read_top(tmp_path / "both.parquet")) == 2 * len(labels)


def test_no_pictures_is_no_number_and_no_error(tmp_path):
    nothing, none = np.empty((0, 6), np.float32), np.empty(0, np.int64)
    names = list("abcdef")
    predictions.write(tmp_path / "empty.parquet", [], none, nothing)
    for found in (score_rows(none, nothing, names), score_file(tmp_path / "empty.parquet", names)):
        assert (found["top1"], found["top5"], found["loss"], found["images"]) == (None, None, None, 0)
    assert len(predictions.read_top(tmp_path / "empty.parquet")) == 0
    frame, rows = predictions.read(tmp_path / "empty.parquet", exact=True)
    assert len(frame) == 0 and rows.shape == (0, 6)


HEADS = {
    "resnet": lambda k: timm_model("resnet10t", num_classes=k, in_channels=1, image_size=(32, 32)),
    "vit": lambda k: timm_model("vit_tiny_patch16_224", num_classes=k, in_channels=1, image_size=(32, 32)),
    "convnext": lambda k: timm_model("convnext_atto", num_classes=k, in_channels=1, image_size=(32, 32)),
    "mobilenet": lambda k: timm_model(
        "mobilenetv3_small_050", num_classes=k, in_channels=1, image_size=(32, 32)
    ),
    "efficientnet": lambda k: efficientnet(
        "efficientnet-b0", num_classes=k, in_channels=1, image_size=(32, 32)
    ),
    "linear": lambda k: with_head(LinearHead, k),
    "dense": lambda k: with_head(DenseHead, k),
    "conv": lambda k: with_head(ConvHead, k),
}


def with_head(head, classes: int):
    made = lambda in_features, num_classes: head(in_features, num_classes)  # noqa: E731
    return timm_model("resnet10t", num_classes=classes, in_channels=1, image_size=(96, 96), head=made)


@pytest.mark.parametrize("name", HEADS)
def test_heads_end_in_32_bits_so_that_many_classes_do_not_tie(name):
    torch.manual_seed(0)
    net = HEADS[name](1000).eval()
    images = torch.randn(8, 1, *((96, 96) if name in ("linear", "dense", "conv") else (32, 32)))
    with torch.no_grad():
        before = net(images)
        end_in_float32(net, [1000])
        assert torch.equal(net(images), before)  # in 32 bits nothing changes
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(images)
    assert logits.dtype == torch.float32
    distinct = [len(row.unique()) for row in logits]
    assert min(distinct) > 990, distinct  # in bf16 some 300 to 600


def test_a_classifier_ends_so_in_training_and_predicting():
    module = toys.classifier(class_names=list(map(str, range(1000))))
    with torch.autocast("cpu", torch.bfloat16):
        assert module(torch.rand(4, 1, 16, 16)).dtype == torch.float32
        assert copy.deepcopy(module)(torch.rand(4, 1, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize("classes", [6, 600])
def test_tables_made_of_empty_tables_are_empty_tables(classes, tmp_path):
    """They know their classes, are written whole, and score no number."""
    names, parts = list(map(str, range(classes))), [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for part in parts:
        predictions.write(part, [], np.empty(0, np.int64), np.empty((0, classes), np.float32))
    run_scores._write_mean(tmp_path / "mean.parquet", parts)
    predictions.write(tmp_path / "joined.parquet", [], np.empty(0, np.int64), out_of_fold._rows(parts))
    for name in ("mean", "joined"):
        assert predictions.class_count(tmp_path / f"{name}.parquet") == classes
        assert predictions.read(tmp_path / f"{name}.parquet", exact=True)[1].shape == (0, classes)
        assert score_file(tmp_path / f"{name}.parquet", names)["loss"] is None
    assert list(judgements(parts[0])) == ["id", "label", "predicted", "probability", "own"]
    assert list(out_of_fold._head(parts[0])) == ["id", "label"]


def test_levels_without_pictures_have_no_number(recwarn):
    metrics = LevelMetrics({"above": torch.tensor([0, 0, 1])})
    assert all(value.isnan() for value in metrics.compute().values())
    none = np.empty(0, np.int64)
    found = level_scores(none, none, np.empty(0), {"above": [0, 0, 1]})["above"]
    assert all(np.isnan(value) for value in found.values())
    assert not [one for one in recwarn if one.category is RuntimeWarning]


def test_an_empty_table_that_does_not_say_its_classes_scores_no_number(tmp_path):
    columns = {"id": pa.string(), "label": pa.int64(), "probabilities": pa.list_(pa.float32())}
    pq.write_table(pa.schema(columns).empty_table(), tmp_path / "empty.parquet")
    assert score_file(tmp_path / "empty.parquet", ["a", "b"])["top1"] is None
    assert len(predictions.read_top(tmp_path / "empty.parquet")) == 0


def test_evaluating_only_classes_that_the_models_do_not_know_is_refused():
    with pytest.raises(PodiumError, match=r"none of the 1 pictures .* INPUT="):
        _of_classes(pd.DataFrame({"id": ["1"], "class": ["c"]}), ["a", "b"])
