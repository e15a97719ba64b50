"""Scores of a run on its own held-out part and on folders."""

import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from common.config.options import parse
from common.data import predictions
from common.deliver.evaluate import Evaluate, evaluate
from common.deliver.predict import Predict, predict
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from common.run import folder
from common.run.members import Member, read_folds, write_members


def test_the_validation_part_repeats_the_runs_scores(run):
    out = evaluate(parse(Evaluate, [f"run_dir={run}"]))
    scores, own = folder.load_json(out / "scores.json"), folder.load_json(run / "scores.json")
    trained = folder.load_json(run / "jobs" / "train_fold0" / "scores.json")
    assert scores["top1"] == trained["valid_top1"] and scores["per_class"] == trained["per_class"], own
    assert scores["loss"] == pytest.approx(trained["valid_loss"], rel=1e-5)
    assert pd.read_csv(out / "class_scores.csv")["support"].sum() == 12
    assert (out / "confusion.png").read_bytes() == (run / "pictures" / "confusion.png").read_bytes()


def test_a_folder_may_lack_classes(run, root, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "ring").symlink_to(f"{root}/ring")
    words = [f"run_dir={run}", f"input={tmp_path / 'some'}", f"out={tmp_path / 'scores'}"]
    scores = folder.load_json(evaluate(parse(Evaluate, words)) / "scores.json")
    assert scores["images"] == 12
    assert [row["support"] for row in scores["per_class"]] == [0, 0, 12, 0]
    known = read_folds(run)
    trained_on = ((known["class"] == "ring") & (known["part"] == "train")).sum()
    assert 0 < trained_on < 12
    assert f"{trained_on} of them trained on by this run" in scores["of"]


def test_views_change_the_probabilities_only_if_they_are_on(run, tmp_path):
    on = evaluate(parse(Evaluate, [f"run_dir={run}", f"out={tmp_path / 'on'}"]))
    off = evaluate(parse(Evaluate, [f"run_dir={run}", f"out={tmp_path / 'off'}", "tta=false"]))
    with_views, without = (predictions.read(out / "predictions.parquet")[1] for out in (on, off))
    assert np.abs(with_views - without).max() > 1e-4
    np.testing.assert_allclose(with_views.sum(axis=1), 1, rtol=1e-5)
    said = [folder.load_json(out / "scores.json")["members"][0] for out in (on, off)]
    assert [one["tta"] for one in said] == [["raw", "mirrored"], None]
    assert {one["checkpoint"] for one in said} == {"best.ckpt"}


def copied(run, to, parts: dict[str, int], folds: int) -> pd.DataFrame:
    """The run as one of two jobs, its pictures newly divided: the first so many of each part, the rest trained on."""
    shutil.copytree(run, to)
    shutil.copytree(to / "jobs" / "train_fold0", to / "jobs" / "train_fold1")
    write_members(to, [Member(to / "jobs" / f"train_fold{k}") for k in range(2)])
    table = read_folds(to)
    table["part"] = (np.repeat(list(parts), list(parts.values())).tolist() + ["train"] * len(table))[
        : len(table)
    ]
    table["fold"] = np.where(table["part"] == "train", np.arange(len(table)) % folds, -1) if folds else -1
    table.to_csv(to / "folds.csv", index=False)
    return table


@pytest.mark.parametrize(
    ("parts", "folds", "expected"),
    [
        ({"score": 5, "choose": 7}, 2, ("score", "by which nothing was chosen")),
        ({"choose": 7}, 2, ("choose", "a little too well")),
        ({"valid": 9}, 0, ("valid", "by which it was chosen")),
    ],
)
def test_without_input_a_part_is_scored_that_no_member_saw(run, tmp_path, parts, folds, expected):
    table = copied(run, tmp_path / "run", parts, folds)
    scores_file = evaluate(parse(Evaluate, [f"run_dir={tmp_path / 'run'}"])) / "scores.json"
    part, words = expected
    assert words in folder.load_json(scores_file)["of"]
    scored = predictions.read(scores_file.with_name("predictions.parquet"))[0]["id"]
    assert set(scored) == set(table.loc[table["part"] == part, "id"])


@pytest.mark.parametrize("parts", [{}, {"valid": 9}])
def test_where_every_picture_may_have_been_trained_on_input_is_asked_for(run, tmp_path, parts):
    copied(run, tmp_path / "run", parts, 2)
    with pytest.raises(PodiumError, match=r"no part that no model saw.*INPUT="):
        evaluate(parse(Evaluate, [f"run_dir={tmp_path / 'run'}"]))


def test_what_a_competition_measures_besides_is_scored_too(run, monkeypatch):
    monkeypatch.setattr(ImageClassifier, "extra_scores", lambda _, table: {"rows": sorted(table["id"])})
    scores = folder.load_json(evaluate(parse(Evaluate, [f"run_dir={run}"])) / "scores.json")
    known = read_folds(run)
    assert scores["rows"] == sorted(known["id"][known["part"] == "valid"])


def test_predictions_are_written_in_pieces_without_the_unreadable(run, root, tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / "some" / "ring").mkdir(parents=True, exist_ok=True)
        shutil.copy(f"{root}/ring/{number}.png", tmp_path / "some" / "ring")
    (tmp_path / "some" / "ring" / "2.png").write_bytes(b"")
    words = [f"run_dir={run}", f"input={tmp_path / 'some'}", "batch_size=1"]
    one = evaluate(parse(Evaluate, [*words, f"out={tmp_path / 'one'}"]))
    monkeypatch.setattr(predictions, "ROWS", 2)
    two = evaluate(parse(Evaluate, [*words, f"out={tmp_path / 'two'}"]))
    assert pq.ParquetFile(two / "predictions.parquet").num_row_groups == 2
    (frame, rows), (again, same) = (predictions.read(out / "predictions.parquet") for out in (one, two))
    assert frame["id"].tolist() == again["id"].tolist() == [f"ring/{number}.png" for number in (0, 1, 3, 4)]
    assert (rows == same).all()
    assert folder.load_json(two / "scores.json")["unreadable"] == 1


def test_what_learnt_from_sample_data_says_so(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = folder.load_config(copy)
    config["data"]["sample"] = True
    (copy / "config.yaml").unlink()
    folder.write_config(copy, config)
    scores = folder.load_json(evaluate(parse(Evaluate, [f"run_dir={copy}"])) / "scores.json")
    assert scores["of"].endswith(", by a model trained on SAMPLE DATA")
    assert scores["of"] in capsys.readouterr().out.splitlines()[0]


def test_an_evaluation_that_is_replaced_is_named(run, root, tmp_path, capsys):
    words = [f"run_dir={run}", f"out={tmp_path / 'out'}", f"input={root}"]
    evaluate(parse(Evaluate, words))
    assert "replaced" not in capsys.readouterr().out
    evaluate(parse(Evaluate, words[:2]))
    assert f"replaced the evaluation of {root}" in capsys.readouterr().out


def test_scores_are_not_written_over_a_file(run, tmp_path):
    (tmp_path / "scores").write_text("mine")
    with pytest.raises(PodiumError, match="is a file; evaluate writes several files into a folder"):
        evaluate(parse(Evaluate, [f"run_dir={run}", f"out={tmp_path / 'scores'}"]))
    assert (tmp_path / "scores").read_text() == "mine"


@pytest.mark.parametrize("verb", [(Evaluate, evaluate), (Predict, predict)])
def test_models_compute_with_the_threads_that_are_asked_for(run, root, tmp_path, monkeypatch, verb):
    options, call = verb
    seen = []
    forward = ImageClassifier.forward
    monkeypatch.setattr(
        ImageClassifier, "forward", lambda *given: seen.append(torch.get_num_threads()) or forward(*given)
    )
    words = [
        f"run_dir={run}",
        f"input={root}",
        f"out={tmp_path / ('scores' if call is evaluate else 'x.csv')}",
    ]
    call(parse(options, [*words, "threads=3"]))
    assert set(seen) == {3}
    for threads in (0, -3, 100_000):
        with pytest.raises(PodiumError, match="threads must be at"):
            parse(options, [*words, f"threads={threads}"])
