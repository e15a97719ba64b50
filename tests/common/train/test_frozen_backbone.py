"""A head trained on features is the head trained on images, only sooner."""

import pandas as pd
import pytest
import torch

from common.data.pixels.dataset import Images
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import jobs_of
from common.train.frozen_backbone import pays_from
from common.train.job import run_job
from common.train.train import train
from tests.common.train.test_resume import KillAt, Killed

FROZEN = [
    "model=small_resnet", "model.widths=[8,8]", "model.depths=[1,1]", "model.stem=8", "model.dropout=0.2",
    "callbacks.freeze.modules=[backbone]", "views=none", "trainer.max_epochs=3", "schedule=constant",
    "optimizer=adam", "optimizer.lr=0.01",
]  # fmt: skip


def composed(toy, *words):
    config = toy(*FROZEN, *words)
    config["views"]["batch"] = {name: None for name in config["views"]["batch"]}  # the toy's own
    return config


def start(toy, job, *words, callbacks=None):
    config = composed(toy, *words)
    config["callbacks"] |= callbacks or {}
    folder.write_config(job, jobs_of(config)[0][0].config)
    run_job(job)
    return job


def weights(job, name="last.ckpt"):
    return torch.load(job / name, weights_only=True)["state_dict"]


@pytest.fixture
def reads(monkeypatch):
    """How many images are read for training and validation."""
    counted = []
    plain = Images.__getitems__

    def counting(self, items):
        counted.append(len(items))
        return plain(self, items)

    monkeypatch.setattr(Images, "__getitems__", counting)
    return counted


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=sgd", "optimizer.lr=0.1"],
        ["optimizer=adam", "callbacks.weight_averaging={}"],
        ["optimizer=adam", "callbacks.ohem={}", "data.workers=1", "trainer.accumulate_grad_batches=2"],
    ],
    ids=["sgd", "adam, averaged", "adam, hardest, a worker"],
)
def test_the_same_model_is_trained(words, toy_module, tmp_path):
    slow = start(
        toy_module, tmp_path / "slow" / "jobs" / "train_fold0", *words, "trainer.frozen_features=false"
    )
    fast = start(
        toy_module, tmp_path / "fast" / "jobs" / "train_fold0", *words, "trainer.frozen_features=true"
    )
    for name in ("last.ckpt", "best.ckpt"):
        one, other = weights(slow, name), weights(fast, name)
        assert one.keys() == other.keys()
        for key, value in one.items():
            if key.startswith("net.head"):
                torch.testing.assert_close(value, other[key], rtol=0, atol=1e-5)
            else:  # the backbone and the statistics of its BatchNorm
                assert torch.equal(value, other[key]), key
    curves = [pd.read_csv(job / "history.csv").drop(columns="seconds") for job in (slow, fast)]
    pd.testing.assert_frame_equal(*curves, atol=1e-4)
    one, other = (folder.load_json(job / "scores.json") for job in (slow, fast))
    assert one["valid_top1"] == other["valid_top1"] and one["epoch"] == other["epoch"]
    assert one["valid_loss"] == pytest.approx(other["valid_loss"], abs=1e-5)


def test_every_image_is_read_once_however_many_epochs_there_are(toy_module, tmp_path, reads):
    start(toy_module, tmp_path / "a" / "jobs" / "train_fold0", "trainer.max_epochs=2")
    short, _ = sum(reads), reads.clear()
    job = start(toy_module, tmp_path / "b" / "jobs" / "train_fold0", "trainer.max_epochs=9")
    assert sum(reads) == short
    log = (job / "log.txt").read_text()
    assert "its features of 48 images are computed once" in log
    assert "8 x 1 x 1" not in log and "8 numbers each" in log
    assert "s on features and about" in log


@pytest.mark.parametrize("moment", ["batch 1", "validation end", "after the last epoch"])
def test_a_killed_job_ends_like_an_unbroken_one(moment, toy_module, tmp_path):
    words = ["callbacks.weight_averaging={}", "trainer.save_every_seconds=0.000001"]
    whole = start(toy_module, tmp_path / "whole" / "jobs" / "train_fold0", *words)
    job = tmp_path / "killed" / "jobs" / "train_fold0"
    epoch = 2 if moment == "after the last epoch" else 1
    kill = {"kill": {"_target_": f"{KillAt.__module__}.KillAt", "moment": moment, "epoch": epoch}}
    with pytest.raises(Killed):
        start(toy_module, job, *words, callbacks=kill)
    start(toy_module, job, *words)
    assert all(torch.equal(value, weights(job)[key]) for key, value in weights(whole).items())
    assert len(list((tmp_path / "killed" / "features").iterdir())) == 1  # of the same weights


def test_a_pass_that_was_killed_goes_on_where_it_was(toy_module, tmp_path, monkeypatch, reads):
    words = ["data.batch_size=4"]
    whole = start(toy_module, tmp_path / "whole" / "jobs" / "train_fold0", *words)
    monkeypatch.setattr("common.train.frozen_backbone.SAVED_EVERY", 0)
    plain, calls = folder.write_json, []

    def failing(path, value):
        plain(path, value)
        if path.name == "progress.json":
            calls.append(value[0])
            if len(calls) == 3:
                raise Killed

    monkeypatch.setattr(folder, "write_json", failing)
    job = tmp_path / "killed" / "jobs" / "train_fold0"
    with pytest.raises(Killed):
        start(toy_module, job, *words)
    assert calls == [8, 16, 24]
    start(toy_module, job, *words)
    assert calls == [8, 16, 24, 32, 40, 48]
    assert all(torch.equal(value, weights(job)[key]) for key, value in weights(whole).items())


def test_folds_that_start_from_the_same_weights_share_features_and_a_run_leaves_none(
    toy_module, tmp_path, reads
):
    first = train(composed(toy_module, f"run_dir={tmp_path / 'first'}"))
    assert not (first / "features").exists()
    words = ["stages.head.folds=2", f"stages.head.init_from={first / 'jobs' / 'train_fold0' / 'best.ckpt'}"]
    config = composed(toy_module, *words, f"run_dir={tmp_path / 'folds'}")
    for job in jobs_of(config)[0]:
        folder.write_config(tmp_path / "folds" / "jobs" / job.name, job.config)
        run_job(tmp_path / "folds" / "jobs" / job.name)
    assert len(list((tmp_path / "folds" / "features").iterdir())) == 1
    assert "computed once" not in (tmp_path / "folds" / "jobs" / "head_fold1" / "log.txt").read_text()


REFUSED = {
    "views.batch.flip": ["views.batch.flip={_target_: common.data.augmentation.batch_views.Flip}"],
    "callbacks.mix": ["callbacks.mix={}"],
    "single epoch": ["trainer.max_epochs=1"],
}


@pytest.mark.parametrize(("why", "words"), REFUSED.items(), ids=REFUSED)
def test_a_recipe_that_needs_images_trains_on_them_and_says_why(why, words, toy_module, tmp_path):
    config = toy_module(*FROZEN, *words)
    config["views"]["batch"].pop("affine", None)
    job = tmp_path / "jobs" / "train_fold0"
    folder.write_config(job, jobs_of(config)[0][0].config)
    run_job(job)
    assert "looks at the images in every epoch" in (job / "log.txt").read_text()
    assert why in (job / "log.txt").read_text() and not (tmp_path / "features").exists()


def test_asked_for_where_it_cannot_be_is_an_error(toy_module, tmp_path):
    job = tmp_path / "jobs" / "train_fold0"
    with pytest.raises(PodiumError, match=r"frozen_features=true: callbacks\.mix"):
        start(toy_module, job, "callbacks.mix={}", "trainer.frozen_features=true")
    with pytest.raises(PodiumError, match="needs a stage that freezes everything but the classifier"):
        start(
            toy_module,
            tmp_path / "jobs" / "b",
            "callbacks.freeze.modules=[stem]",
            "trainer.frozen_features=true",
        )
    with pytest.raises(PodiumError, match=r"trainer\.frozen_features must be one of auto or true or false"):
        toy_module("trainer.frozen_features=always")


def test_a_part_of_the_backbone_is_frozen_as_before(toy_module, tmp_path):
    job = start(toy_module, tmp_path / "jobs" / "train_fold0", "callbacks.freeze.modules=[stem]")
    assert not (tmp_path / "features").exists() and "frozen" not in (job / "log.txt").read_text()


def test_from_which_epoch_it_pays_by_brute_force():
    for first, slow, fast in [(10, 10, 0.5), (10, 10, 9), (1, 10, 1), (30, 10, 1), (9, 10, 1)]:
        expected = next(n for n in range(1, 1000) if first + n * fast < n * slow)
        assert pays_from(first, slow, fast) == expected
    assert pays_from(10, 1, 1) is None
