"""Blends of real small runs: chosen, written, predicted with; and what cannot be blended."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from common.config.options import parse
from common.data import predictions
from common.deliver.evaluate import Evaluate, evaluate
from common.deliver.predict import Predict, predict
from common.ensemble.blend import Blend, blend
from common.errors import PodiumError
from common.run import folder
from common.run.members import combine, read_folds, read_members
from common.task.scores import log_loss, topk_accuracy
from common.train.train import train


@pytest.fixture(scope="module")
def runs(toy_module, tmp_path_factory):
    """Two runs of one job each that keep the same pictures aside; the second sees smaller pictures."""
    root = tmp_path_factory.mktemp("runs")
    parts = ["data.choose=0.2", "data.score=0.2", "optimizer.lr=0.01"]
    train(toy_module(*parts, f"run_dir={root / 'a'}"))
    same = [f"data.split={root / 'a' / 'folds.csv'}", "data.size=[12, 12]", "seed=1", "trainer.max_epochs=1"]
    train(toy_module(*parts, *same, f"run_dir={root / 'b'}"))
    return root / "a", root / "b"


def made(runs, out, *words):
    named = ",".join(str(run) for run in runs)
    return blend(parse(Blend, [f"run_dir='{named}'", f"out={out}", *words]))


def table(run, part):
    return predictions.read(run / "jobs" / "train_fold0" / f"predictions_{part}.parquet")


def test_a_blend_is_a_run_folder_that_predicts_what_it_says(runs, tmp_path, capsys):
    out = made(runs, tmp_path / "blend", "max=2", "mean=geometric")
    said = capsys.readouterr().out
    known = json.loads((out / "blend.json").read_text())
    assert [row["name"] for row in known["candidates"]] == ["a/train_fold0", "b/train_fold0"]
    assert folder.is_done(out) and read_folds(out).equals(read_folds(runs[0]))
    mean, members = read_members(out)
    chosen = [member.job.parent.parent.resolve() for member in members]
    assert [f"{run.name}/train_fold0" for run in chosen] == known["members"]
    for part in ("choose", "score"):
        labels = table(runs[0], part)[0]["label"].to_numpy()
        rows = combine(np.stack([table(run, part)[1] for run in chosen]), mean)
        assert known["parts"][part]["top1"] == pytest.approx(topk_accuracy(rows, labels, 1))
        assert known["parts"][part]["loss"] == pytest.approx(log_loss(rows, labels), rel=1e-5)
        assert folder.load_json(out / "scores.json")[f"{part}_top1"] == known["parts"][part]["top1"]
    assert folder.load_json(out / "scores.json")["chosen_by"] == "choose"
    assert known["corrected"] == pytest.approx(known["score"] - known["optimism"])
    assert "on the part that nothing was chosen by (" in said

    scores = folder.load_json(evaluate(parse(Evaluate, [f"run_dir={out}"])) / "scores.json")
    assert scores["loss"] == pytest.approx(known["parts"]["score"]["loss"], rel=1e-4)
    root = folder.load_config(out)["data"]["root"]
    predict(parse(Predict, [f"run_dir={out}", f"input={root}", f"out={tmp_path / 'all.csv'}"]))
    assert len(pd.read_csv(tmp_path / "all.csv")) == 48


def doctored(run, to, part="choose", **columns):
    """A copy of a run whose table of a part was changed: id, label or probabilities."""
    shutil.copytree(run, to)
    path = to / "jobs" / "train_fold0" / f"predictions_{part}.parquet"
    frame, rows = predictions.read(path)
    ids = columns.get("id", frame["id"].tolist())
    labels = np.array(columns.get("label", frame["label"]))
    predictions.write(path, ids, labels, columns.get("probabilities", rows).astype(np.float32))
    return to


@pytest.fixture
def perfect(runs, tmp_path):
    """Copies of a run whose predictions are right on one half of the part each, and almost undecided on the other."""
    frame, rows = table(runs[0], "choose")
    right = np.eye(rows.shape[1])[frame["label"]] * 0.9 + 0.025
    wrong = np.roll(np.eye(rows.shape[1])[frame["label"]] * 0.04 + 0.24, 1, axis=1)
    first = np.arange(len(rows)) < len(rows) / 2
    halves = [np.where((first == which)[:, None], right, wrong) for which in (True, False)]
    return [
        doctored(runs[0], tmp_path / f"half{number}", probabilities=half)
        for number, half in enumerate(halves)
    ]


def test_models_that_complete_each_other_are_chosen_in_any_order_of_their_rows(runs, perfect, tmp_path):
    frame, rows = table(perfect[1], "choose")
    turned = doctored(
        perfect[1],
        tmp_path / "turned",
        id=frame["id"].tolist()[::-1],
        label=frame["label"][::-1],
        probabilities=rows[::-1],
    )
    out = made([runs[1], perfect[0], turned], tmp_path / "blend")
    known = json.loads((out / "blend.json").read_text())
    assert known["members"] == ["half0/train_fold0", "turned/train_fold0"] and known["score"] == 1
    again = made([out], tmp_path / "again", "max=1")  # a blend stands for its runs
    assert json.loads((again / "blend.json").read_text())["runs"] == known["runs"]


def test_a_budget_of_time_is_kept(runs, tmp_path):
    out = made(runs, tmp_path / "blend", "milliseconds=10000", "max=1")
    known = json.loads((out / "blend.json").read_text())
    assert all(0 < row["milliseconds"] < 10000 for row in known["candidates"])
    with pytest.raises(PodiumError, match=r"milliseconds=0\.0001: no candidate is that fast"):
        made(runs, tmp_path / "none", "milliseconds=0.0001")


def test_what_cannot_be_blended_is_named(runs, tmp_path):
    frame, rows = table(runs[0], "choose")
    ids, labels = frame["id"].tolist(), frame["label"].tolist()
    bad = {
        "ids": ({"id": ["bar/strange.png", *ids[1:]]}, "bar/strange.png.*only runs that keep the same"),
        "labels": ({"label": [(labels[0] + 1) % 4, *labels[1:]]}, f"«{ids[0]}» has another label"),
        "short": ({"id": ids[1:], "label": labels[1:], "probabilities": rows[1:]}, "pictures,"),
        "nan": ({"probabilities": np.full_like(rows, np.nan)}, "holds NaN"),
        "classes": ({"probabilities": rows[:, :3]}, "knows 3 classes"),
    }
    for name, (columns, message) in bad.items():
        other = doctored(runs[0], tmp_path / name, **columns)
        with pytest.raises(PodiumError, match=message):
            made([runs[1], other], tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_picture_that_another_run_was_trained_on_is_named(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    folds = pd.read_csv(other / "folds.csv", dtype={"id": str})
    chosen_by = folds.index[folds["part"] == "choose"][0]
    folds.loc[chosen_by, "part"] = "train"
    folds.to_csv(other / "folds.csv", index=False)
    with pytest.raises(PodiumError, match=f"«{folds['id'][chosen_by]}» is in the part train there"):
        made([runs[0], other], tmp_path / "never")


def test_runs_of_other_classes_are_named_with_the_first_that_differs(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    for job in (other / "jobs").iterdir():
        scores = folder.load_json(job / "scores.json")
        first, second = scores["per_class"][:2]
        first["class"], second["class"] = second["class"], first["class"]
        folder.write_json(job / "scores.json", scores)
        named = f"label 0 is «{second['class']}» in one and «{first['class']}» in the other"
    with pytest.raises(PodiumError, match=named):
        made([runs[0], other], tmp_path / "never")


def test_what_one_run_keeps_for_scores_and_another_trained_on_is_no_score_of_the_blend(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    folds = read_folds(other)
    folds.loc[folds["part"] == "score", "part"] = "train"
    folds.to_csv(other / "folds.csv", index=False)
    with pytest.raises(PodiumError, match="is in the part train there, and score in another"):
        made([runs[0], other], tmp_path / "never")
    (other / "jobs" / "train_fold0" / "predictions_score.parquet").unlink()
    out = made([runs[0], other], tmp_path / "blend")
    assert list(json.loads((out / "blend.json").read_text())["parts"]) == ["choose"]
    scores = folder.load_json(evaluate(parse(Evaluate, [f"run_dir={out}"])) / "scores.json")
    assert "for choices" in scores["of"]  # the first run's part for scores was trained on by the second


def without_choose(runs, to):
    copies = []
    for run in runs:
        shutil.copytree(run, to / run.name)
        for part in ("choose", "score"):
            (to / run.name / "jobs" / "train_fold0" / f"predictions_{part}.parquet").unlink()
        copies.append(to / run.name)
    return copies


def test_runs_of_one_job_may_be_blended_by_their_validation_part(runs, tmp_path, capsys):
    copies = without_choose(runs, tmp_path)
    known = json.loads((made(copies, tmp_path / "blend") / "blend.json").read_text())
    assert known["chosen_by"] == "valid" and list(known["parts"]) == ["valid"]
    assert "checkpoints were chosen" in capsys.readouterr().out
    with pytest.raises(PodiumError, match=r"has no predictions_choose\.parquet.*data\.choose"):
        made([runs[0], copies[1]], tmp_path / "never")
    shutil.copytree(copies[0] / "jobs" / "train_fold0", copies[0] / "jobs" / "train_fold1")
    with pytest.raises(PodiumError, match=r"has no predictions_choose\.parquet"):
        made(copies, tmp_path / "never")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name runs by RUN="),
        (["run_dir=nowhere"], "nowhere is no run folder"),
        (["max=0"], "max must be at least 1"),
        (["mean=median"], "mean must be one of arithmetic, geometric, both"),
        (["soup=onion"], "soup must be one of uniform, greedy or null"),
        (["milliseconds=0"], "milliseconds must be above 0"),
        (["maximum=3"], "max"),
        (["run_dir={a}", "out={a}"], "holds a run already"),
    ],
)
def test_wrong_options_are_named(runs, words, message):
    with pytest.raises(PodiumError, match=message):
        blend(parse(Blend, [word.format(a=runs[0]) for word in words]))


def test_without_a_name_the_blend_lies_beside_its_runs_and_is_the_newest(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in runs:
        shutil.copytree(run, tmp_path / "runs" / "toy" / f"2001-01-01_{run.name}")
    out = blend(Blend(competition="toy", max=1))
    assert out.name.endswith("_blend") and folder.newest_finished("toy") == out
    assert (out / "members.json").read_text().count("../2001-01-01_b/jobs") == 1
