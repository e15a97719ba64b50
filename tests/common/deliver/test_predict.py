"""Predictions of folders and single pictures, from a real small run."""

import csv
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch

from common.config.options import parse
from common.data import predictions
from common.deliver.predict import Predict, predict
from common.errors import PodiumError
from common.run import folder
from common.run.members import read_folds


def test_a_folder_is_predicted_in_order_and_as_training_scored_it(run, root, tmp_path):
    predict(
        parse(Predict, [f"run_dir={run}", f"input={root}", f"out={tmp_path / 'all.csv'}", "batch_size=5"])
    )
    written = pd.read_csv(tmp_path / "all.csv")
    split = read_folds(run).sort_values("id")
    assert written["filename"].tolist() == split["id"].tolist()
    table, rows = predictions.read(run / "jobs" / "train_fold0" / "predictions.parquet")
    names = ["bar", "cross", "ring", "slash"]
    said = dict(zip(split["id"], written["label"], strict=True))
    assert [said[image] for image in table["id"]] == [names[k] for k in rows.argmax(axis=1)]


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
        (["run_dir={run}", "input={root}", "out={root}"], "is a folder; name the file to write"),
        (["run_dir={run}", "input={root}", "out=a.json"], "would hold a .csv file: name it a.csv"),
        (["run_dir={run}/jobs/train_fold0"], "is one of a run's jobs: name the run folder"),
        (["run_dir={run}", "competition=garbage"], "is of toy, but COMP says garbage"),
        (
            ["run_dir={run}/jobs/train_fold0/best.ckpt"],
            "name the run folder, and the checkpoint by ARGS=checkpoint=best",
        ),
        (["run_dir={run}", "checkpoint=other.ckpt"], "the run has best.ckpt, last.ckpt"),
        (["run_dir={run}", "inptu=x"], "input"),
        (["run_dir={run}", "batch_size=0"], "batch_size must be at least 1"),
        (["run_dir={run}"], "has no test part"),
    ],
)
def test_what_is_wrong_is_named(run, root, words, message):
    with pytest.raises(PodiumError, match=message):
        predict(parse(Predict, [word.format(run=run, root=root) for word in words]))


def test_nothing_to_predict_is_an_error_and_leaves_no_file(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(b"broken")
    with pytest.raises(PodiumError, match=r"none of the 1 pictures could be read; the first: .*0.png: "):
        predict(parse(Predict, [f"run_dir={run}", f"input={tmp_path / 'in'}", f"out={tmp_path / 'out.csv'}"]))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_diverged_model_predicts_nothing(run, root, tmp_path):
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    path = broken / "jobs" / "train_fold0" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for name, value in checkpoint["state_dict"].items():
        if name.startswith("net.") and value.is_floating_point():
            value.fill_(torch.nan)
    torch.save(checkpoint, path)
    for out in ([], [f"out={tmp_path / 'out.csv'}"]):
        with pytest.raises(PodiumError, match="its training has diverged"):
            predict(parse(Predict, [f"run_dir={broken}", f"input={root}/ring/0.png", *out]))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_wrong_options_are_refused_without_waiting_for_torch():
    code = (
        "import sys\nfrom common.__main__ import main\n"
        "verbs, wrong = ('predict', 'evaluate', 'blend'), ('inptu=x', 'run_dir=nowhere')\n"
        "codes = [main([verb, word]) for verb in verbs for word in wrong]\n"
        "assert codes == [2] * 6 and 'torch' not in sys.modules, (codes, 'torch' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=str(folder.__file__).rsplit("/common/", 1)[0]
    )
