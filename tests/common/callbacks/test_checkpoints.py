"""Checkpoints by step, and runs that end by the clock."""

import pandas as pd
import pytest
import torch

from common.errors import PodiumError
from common.run import folder
from common.run.jobs import jobs_of
from common.train.job import run_job
from tests.common.train.test_resume import KillAt, Killed


def start(toy, job, *words, callbacks=None):
    config = toy(*words)  # 36 images in batches of 8: 4 steps an epoch
    config["callbacks"] |= callbacks or {}
    folder.write_config(job, jobs_of(config)[0][0].config)
    run_job(job)


def steps(job):
    return {
        path.name: torch.load(path, weights_only=True)["global_step"]
        for path in sorted(job.glob("step_*.ckpt"))
    }


def test_every_so_many_steps_a_checkpoint_stays_and_the_newest_are_kept(toy_module, tmp_path):
    job = tmp_path / "jobs" / "train_fold0"
    start(toy_module, job, "trainer.max_epochs=4", "trainer.save_every_steps=3", "trainer.keep=2")
    assert steps(job) == {"step_00000012.ckpt": 12, "step_00000015.ckpt": 15}


def test_they_count_optimizer_steps(toy_module, tmp_path):
    job = tmp_path / "jobs" / "train_fold0"
    words = [
        "trainer.max_epochs=2",
        "trainer.accumulate_grad_batches=2",
        "trainer.save_every_steps=1",
        "trainer.keep=9",
    ]
    start(toy_module, job, *words)
    assert list(steps(job).values()) == [1, 2, 3, 4]


def test_a_killed_run_has_the_same_ones(toy_module, tmp_path):
    words = ["trainer.max_epochs=3", "trainer.save_every_steps=2", "trainer.keep=3"]
    whole, job = (tmp_path / name / "jobs" / "train_fold0" for name in ("whole", "killed"))
    start(toy_module, whole, *words)
    kill = {"kill": {"_target_": f"{KillAt.__module__}.KillAt", "moment": "batch 2", "epoch": 2}}
    with pytest.raises(Killed):
        start(toy_module, job, *words, callbacks=kill)
    start(toy_module, job, *words)
    assert steps(job) == steps(whole)
    for name in steps(job):
        one, other = (torch.load(path / name, weights_only=True)["state_dict"] for path in (whole, job))
        assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_time_budget_ends_with_everything_written(toy_module, tmp_path, clock):
    """It runs out in the middle of an epoch."""
    job = tmp_path / "jobs" / "train_fold0"
    tick = "callbacks.tick={_target_: tests.toys.Tick, seconds: 0.02}"
    words = ("trainer.max_time=00:00:00:01", "data.batch_size=1", "trainer.save_every_seconds=60", tick)
    start(toy_module, job, *words)
    assert folder.is_done(job)
    for name in ("best.ckpt", "last.ckpt", "predictions.parquet", "scores.json", "history.csv", "views.png"):
        assert (job / name).exists(), name
    last = torch.load(job / "last.ckpt", weights_only=True)
    history = pd.read_csv(job / "history.csv")
    assert (
        history["step"].iloc[-1] == last["global_step"]
    )  # the epoch that was cut has its validation and row
    assert history["valid_top1"].notna().all() and history["seconds"].iloc[-1] == pytest.approx(1, abs=0.021)
    assert last["lr_schedulers"][0]["_last_lr"][0] < 1e-4  # the schedule has come to its end


def test_none_are_kept_is_a_mistake(toy_module):
    with pytest.raises(PodiumError, match=r"trainer\.keep must be at least 1"):
        toy_module("trainer.keep=0")
