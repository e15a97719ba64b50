"""A run's members, and the means of their probabilities."""

import json

import numpy as np
import pytest

from common.errors import PodiumError
from common.run.members import Member, combine, read_folds, read_members, write_members


def job(folder):
    folder.mkdir(parents=True)
    (folder / "best.ckpt").touch()
    return folder


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_members_are_read_as_they_were_written(tmp_path):
    own, beside, far = (
        job(tmp_path / "runs" / "blend" / "jobs" / "soup_fold0"),
        job(tmp_path / "runs" / "a" / "jobs" / "train_fold1"),
        job(tmp_path / "elsewhere" / "a" / "jobs" / "train_fold0"),
    )
    run = tmp_path / "runs" / "blend"
    write_members(run, [Member(own), Member(beside), Member(far)], "geometric")
    named = [entry["job"] for entry in json.loads((run / "members.json").read_text())["members"]]
    assert named == ["jobs/soup_fold0", "../a/jobs/train_fold1", str(far)]
    mean, members = read_members(run)
    assert mean == "geometric"
    assert [member.job.resolve() for member in members] == [own, beside, far]
    (tmp_path / "runs").rename(tmp_path / "moved")  # a run and what lies beside it move together
    assert read_members(tmp_path / "moved" / "blend")[1][1].path.exists()


def test_without_the_file_a_run_has_one_job(tmp_path):
    job(tmp_path / "jobs" / "train_fold0")
    (tmp_path / "jobs" / "train_fold0" / "other.ckpt").touch()
    assert read_members(tmp_path) == ("arithmetic", [Member(tmp_path / "jobs" / "train_fold0", "best.ckpt")])
    assert read_members(tmp_path, "other.ckpt")[1][0].checkpoint == "other.ckpt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "members.json is damaged"),
        ('{"mean": "arithmetic", "members": [{"job": "jobs/a"}]}', "damaged.*checkpoint"),
        (
            '{"mean": "median", "members": [{"job": "jobs/a", "checkpoint": "best.ckpt"}]}',
            "arithmetic, geometric",
        ),
        ('{"mean": "arithmetic", "members": []}', "names no members"),
        (
            '{"mean": "arithmetic", "members": [{"job": "gone", "checkpoint": "best.ckpt"}]}',
            "gone.*was the run",
        ),
        (
            '{"mean": "arithmetic", "members": [{"job": "jobs/a", "checkpoint": "x.ckpt"}]}',
            "the run has best.ckpt",
        ),
        (None, "train_fold0.*no checkpoint yet"),
    ],
)
def test_what_is_missing_or_damaged_is_named(tmp_path, text, message):
    job(tmp_path / "jobs" / "a")
    if text is not None:
        (tmp_path / "members.json").write_text(text)
    with pytest.raises(PodiumError, match=message):
        read_members(tmp_path)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_the_geometric_mean_is_the_softmax_of_the_mean_of_logits(members):
    logits = np.random.default_rng(0).normal(0, 5, (members, 20, 7))
    np.testing.assert_allclose(combine(softmax(logits), "geometric"), softmax(logits.mean(axis=0)), rtol=1e-9)


def test_the_arithmetic_mean_is_one():
    stack = softmax(np.random.default_rng(1).normal(size=(3, 4, 5))).astype(np.float32)
    mean = combine(stack, "arithmetic")
    assert mean.dtype == np.float32
    for n in range(4):
        for k in range(5):
            assert mean[n, k] == pytest.approx(sum(float(stack[m, n, k]) for m in range(3)) / 3, rel=1e-6)


def test_a_geometric_mean_of_contradicting_certainties_is_no_nan():
    stack = np.array([[[1, 0, 0]], [[0, 1, 0]]], np.float32)
    np.testing.assert_allclose(combine(stack, "geometric"), [[0.5, 0.5, 0]], atol=1e-6)


def test_folds_are_read_with_names_as_they_are(tmp_path):
    (tmp_path / "folds.csv").write_text("id,path,label,class,part,fold\n001,a/001,0,NA,train,2\n")
    row = read_folds(tmp_path).iloc[0]
    assert (row["id"], row["class"], row["fold"]) == ("001", "NA", 2)
    with pytest.raises(PodiumError, match=r"has no folds\.csv"):
        read_folds(tmp_path / "nowhere")
