"""The three reports on a finished run: by source, latency, orientation."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from common.config.compose import compose
from common.data import predictions
from common.data.predictions import read_top
from common.ensemble.blend import Blend, blend
from common.run.members import read_members
from common.train.train import train
from competitions.smoking_calling import by_source, latency, orientation
from competitions.smoking_calling.sample import CLASSES, write_sample


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch on 48 drawn people."""
    from omegaconf import OmegaConf

    root = tmp_path_factory.mktemp("reports")
    write_sample(root / "sample", per_class=12, tests=4)
    words = [
        "competition=smoking_calling", f"data.root={root / 'sample'}", f"run_dir={root / 'run'}",
        "data.size=[32, 32]", "trainer.max_epochs=1", "trainer.threads=1", "trial.enabled=false",
        "model.stem=8", "model.widths=[8, 8, 8]",
    ]  # fmt: skip
    return train(OmegaConf.to_container(compose(words)))


def test_scores_by_source_add_up(run):
    table = pd.read_csv(by_source.report(run))
    top = read_top(run / "jobs" / "train_fold0" / "predictions.parquet")
    whole, parts = table[table["source"] == "all"].iloc[0], table[table["source"] != "all"]
    assert set(parts["source"]) <= {"v1", "v2"} and parts["images"].sum() == whole["images"] == len(top)
    assert (parts["images"] * parts["top1"]).sum() / len(top) == pytest.approx(whole["top1"])
    scores = json.loads((run / "scores.json").read_text())
    assert scores["valid_map"] == pytest.approx(whole["map"])
    assert set(scores["valid_by_source"]) == set(parts["source"])


def test_a_blend_is_scored_as_the_contest_does(run, tmp_path, capsys):
    """Of two models that are sure of different pictures, so that both are taken."""
    copy = shutil.copytree(run, tmp_path / "copy")
    jobs = [one / "jobs" / "train_fold0" for one in (run, copy)]
    frame, rows = predictions.read(jobs[0] / "predictions.parquet")
    labels = frame["label"].to_numpy()
    turned = np.where(rows.argmax(1)[:, None] == labels[:, None], rows, np.eye(4)[labels] * 0.96 + 0.01)
    predictions.write(jobs[1] / "predictions.parquet", frame["id"].tolist(), labels, turned)
    out = blend(Blend(run_dir=[str(run), str(copy)], out=str(tmp_path / "blend"), max=2, mean="arithmetic"))
    stack = [predictions.read(member.job / "predictions.parquet")[1] for member in read_members(out)[1]]
    mean = np.mean(stack, axis=0)
    top = frame[["id", "label"]].assign(predicted=mean.argmax(1), probability=mean.max(1))
    scores = json.loads((out / "scores.json").read_text())
    assert scores["valid_map"] == pytest.approx(by_source.score(top, CLASSES)["map"])
    assert scores["valid_by_source"] == by_source.score_by_source(top, CLASSES)
    assert f", map {scores['valid_map']:.4f}" in capsys.readouterr().out


def test_latency_is_measured_with_and_without_views(run):
    found = json.loads(latency.report(run).read_text())
    assert "mean of 2 views" in found["with TTA"]["how"] and "TTA off" in found["without TTA"]["how"]
    for measured in found.values():
        assert 0 < measured["median_ms"] <= measured["p95_ms"] <= measured["longest_ms"]


def test_latency_counts_what_a_call_takes_and_not_the_first_ones(monkeypatch):
    calls, now = [], [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def predict(path):
        calls.append(path)
        now[0] += 0.25 if len(calls) > latency.WARM_UP else 8

    seconds = latency.seconds_of_each(predict, list(range(5)))
    assert seconds == [0.25] * 5 and len(calls) == 5 + latency.WARM_UP
    assert latency.summary([0.1, 0.3, 0.2]) == {
        "median_ms": 200.0, "p95_ms": 290.0, "longest_ms": 300.0, "within_limit": False,
    }  # fmt: skip
    assert latency.summary([0.1, 0.2])["within_limit"]


def test_pictures_are_proposed_only_where_one_turn_is_clearly_surer():
    rows = np.array([
        [0.5, 0.9, 0.4, 0.4],  # a quarter turn is much surer
        [0.7, 0.9, 0.4, 0.4],  # not by enough
        [0.2, 0.3, 0.4, 0.7],  # not sure enough
        [0.4, 0.5, 0.3, 0.95],
        [0.9, 0.5, 0.3, 0.2],
    ])  # fmt: skip
    assert orientation.turns(rows).tolist() == [90, 0, 0, 270, 0]


def test_confidences_are_those_of_the_picture_turned_clockwise(run):
    ensemble = orientation.Ensemble.of_run(run)
    image = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)
    found = orientation.confidences(ensemble, image)
    clockwise = np.ascontiguousarray(image[::-1].transpose(1, 0, 2))
    assert orientation.confidences(ensemble, clockwise) == pytest.approx(np.roll(found, -1), abs=1e-5)


def test_the_orientation_list_names_known_pictures(run, monkeypatch):
    monkeypatch.setattr(orientation, "SURE", 0.0)
    monkeypatch.setattr(orientation, "MARGIN", 0.001)
    listed = pd.read_csv(orientation.report(run))
    assert list(listed.columns) == ["id", "degrees"] and len(listed) > 0
    assert set(listed["degrees"]) <= {90, 180, 270} and len(CLASSES) == 4
    assert listed["id"].str.match(r"(train/\w+|test)/v\d_\w+\.jpg").all()
