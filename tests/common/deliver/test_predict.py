"""Predictions of folders and single pictures, from a real small run."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest

from common.config.options import parse
from common.deliver.evaluate import Evaluate, evaluate
from common.deliver.predict import Predict, predict
from common.errors import PodiumError
from common.run import folder, predictions
from common.run.train import train


@pytest.fixture(scope="module")
def run(toy_module, tmp_path_factory):
    run = tmp_path_factory.mktemp("predict") / "run"
    views = "{raw: {_target_: common.callbacks.tta.Raw}, mirrored: {_target_: common.callbacks.tta.Mirrored}}"
    train(
        toy_module(
            "trainer.max_epochs=6", "optimizer.lr=0.01", f"run_dir={run}", f"callbacks.tta.views={views}"
        )
    )
    return run


@pytest.fixture(scope="module")
def root(run):
    return folder.load_config(run)["data"]["root"]


def test_a_folder_is_predicted_in_order_and_as_training_scored_it(run, root, tmp_path):
    predict(
        parse(Predict, [f"run_dir={run}", f"input={root}", f"out={tmp_path / 'all.csv'}", "batch_size=5"])
    )
    written = pd.read_csv(tmp_path / "all.csv")
    split = pd.read_csv(run / "split.csv").sort_values("id")
    assert written["filename"].tolist() == split["id"].tolist()
    table, rows = predictions.read(run / "jobs" / "train_fold0" / "predictions.parquet")
    names = ["bar", "cross", "ring", "slash"]
    said = dict(zip(split["id"], written["label"], strict=True))
    assert [said[image] for image in table["id"]] == [names[k] for k in rows.argmax(axis=1)]


def test_evaluation_of_the_validation_part_repeats_the_runs_scores(run):
    out = evaluate(parse(Evaluate, [f"run_dir={run}"]))
    scores, own = folder.load_json(out / "scores.json"), folder.load_json(run / "scores.json")
    assert scores["top1"] == own["valid_top1"] and scores["per_class"] == own["per_class"]
    assert scores["loss"] == pytest.approx(own["valid_loss"], rel=1e-5)
    assert pd.read_csv(out / "class_scores.csv")["support"].sum() == 12


def test_evaluation_of_a_folder_may_lack_classes(run, root, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "ring").symlink_to(f"{root}/ring")
    words = [f"run_dir={run}", f"input={tmp_path / 'some'}", f"out={tmp_path / 'scores'}"]
    scores = folder.load_json(evaluate(parse(Evaluate, words)) / "scores.json")
    assert scores["images"] == 12
    assert [row["support"] for row in scores["per_class"]] == [0, 0, 12, 0]


def test_views_change_the_probabilities_only_if_they_are_on(run):
    on = evaluate(parse(Evaluate, [f"run_dir={run}"]))
    with_views = predictions.read(on / "predictions.parquet")[1]
    off = evaluate(parse(Evaluate, [f"run_dir={run}", "tta=false"]))
    assert np.abs(with_views - predictions.read(off / "predictions.parquet")[1]).max() > 1e-4
    np.testing.assert_allclose(with_views.sum(axis=1), 1, rtol=1e-5)


def test_one_picture_prints_its_best_classes(run, root, capsys):
    predict(parse(Predict, [f"run_dir={run}", f"input={root}/ring/0.png"]))
    lines = [
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.strip().endswith(("bar", "cross", "ring", "slash"))
    ]
    shares = [float(line[0]) for line in lines]
    assert (
        len(shares) == 4
        and shares == sorted(shares, reverse=True)
        and sum(shares) == pytest.approx(100, abs=0.1)
    )


def test_unreadable_pictures_are_listed_and_left_out(run, root, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        shutil.copy(f"{root}/bar/{number}.png", tmp_path / "in")
    (tmp_path / "in" / "1.png").write_bytes(b"broken")
    predict(parse(Predict, [f"run_dir={run}", f"input={tmp_path / 'in'}", f"out={tmp_path / 'out.csv'}"]))
    assert pd.read_csv(tmp_path / "out.csv")["filename"].tolist() == ["0.png", "2.png"]
    listed = list(csv.reader((tmp_path / "out_bad_images.csv").open()))
    assert listed[1][0].endswith("1.png") and listed[1][1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run_dir=nowhere"], "nowhere is no run folder"),
        (["competition=nothing"], "no finished run of nothing"),
        ([], "RUN=<folder>"),
        (["run_dir={run}", "input=nowhere"], "no file or folder nowhere"),
        (["run_dir={run}", "input={root}", "out=no/such/folder.csv"], "there is no folder no/such"),
        (["run_dir={run}", "checkpoint=other.ckpt"], "the run has best.ckpt, last.ckpt"),
        (["run_dir={run}", "inptu=x"], "input"),
        (["run_dir={run}", "batch_size=0"], "batch_size must be at least 1"),
        (["run_dir={run}"], "has no test part"),
    ],
)
def test_what_is_wrong_is_named(run, root, words, message):
    with pytest.raises(PodiumError, match=message):
        predict(parse(Predict, [word.format(run=run, root=root) for word in words]))
