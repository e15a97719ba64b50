"""A run killed at any moment ends as if nothing had happened."""

import json
import os

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Checkpoint

from common.callbacks.checkpoints import Stopped
from common.run import folder
from common.run.jobs import jobs_of
from common.train.job import run_job


class Killed(Exception):
    """Stands for SIGKILL: whatever is in memory is gone, files stay."""


class KillAt(Checkpoint):
    """Raises Killed at one moment of one epoch."""

    def __init__(self, moment: str, epoch: int = 1, signum: int | None = None) -> None:
        self.moment, self.epoch, self.signum = moment, epoch, signum

    def _at(self, moment: str, epoch: int) -> None:
        if (moment, epoch) == (self.moment, self.epoch):
            if self.signum is None:
                raise Killed
            os.kill(os.getpid(), self.signum)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._at(f"batch {batch_idx}", trainer.current_epoch)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._at("last batch", trainer.current_epoch)

    def on_validation_start(self, trainer, pl_module):
        self._at("validation", trainer.current_epoch)

    def on_train_epoch_start(self, trainer, pl_module):
        self._at("epoch end", trainer.current_epoch - 1)

    def on_validation_end(self, trainer, pl_module):
        self._at("validation end", trainer.current_epoch)

    def on_train_end(self, trainer, pl_module):
        self._at("after the last epoch", trainer.current_epoch - 1)


class SeenImages(pl.Callback):
    """Writes down the index and the view of every image trained on."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        with open(self.path, "a") as file:
            for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
                file.write(f"{trainer.current_epoch} {batch_idx} {index} {float(image.sum()):.6f}\n")


class Measured(pl.Callback):
    """Writes down every validation: where loggers draw it, and what it measures."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_validation_end(self, trainer, pl_module):
        measured = trainer.callback_metrics.items()
        values = {name: float(value) for name, value in measured if name.startswith("valid_")}
        drawn_at = trainer.fit_loop.epoch_loop._batches_that_stepped
        with open(self.path, "a") as file:
            file.write(json.dumps([trainer.global_step, drawn_at, values]) + "\n")


def start(toy, job, *overrides, callbacks=None, bound="trainer.max_epochs=3"):
    config = toy(bound, "trainer.save_every_seconds=0.000001", *overrides)
    config["callbacks"]["seen"] = {"_target_": f"{__name__}.SeenImages", "path": str(job / "seen.txt")}
    config["callbacks"] |= callbacks or {}
    folder.write_config(job, jobs_of(config)[0][0].config)
    run_job(job)


def outcome(job):
    last = torch.load(job / "last.ckpt", weights_only=True)
    best = torch.load(job / "best.ckpt", weights_only=True)
    history = pd.read_csv(job / "history.csv").drop(columns="seconds")
    seen = sorted(set((job / "seen.txt").read_text().splitlines()))
    return last, best, history, seen


def assert_equal(one, other):
    for (last, best, history, seen), (last2, best2, history2, seen2) in [(one, other)]:
        for first, second in [(last, last2), (best, best2)]:
            for part in ("state_dict", "current_model_state"):
                assert first[part].keys() == second[part].keys()
                for name, value in first[part].items():
                    assert torch.equal(value, second[part][name]), (part, name)
        first, second = last["optimizer_states"][0]["state"], last2["optimizer_states"][0]["state"]
        for number, state in first.items():
            assert all(
                torch.equal(torch.as_tensor(state[key]), torch.as_tensor(second[number][key]))
                for key in state
            )
        assert last["lr_schedulers"][0]["_last_lr"] == last2["lr_schedulers"][0]["_last_lr"]
        assert last["global_step"] == last2["global_step"]
        pd.testing.assert_frame_equal(history, history2)
        assert seen == seen2  # a step done twice saw the same pictures


@pytest.fixture(scope="module")
def unbroken(toy_module, tmp_path_factory):
    def run(*overrides):
        if overrides not in done:
            job = tmp_path_factory.mktemp("unbroken") / "jobs" / "train_fold0"
            start(toy_module, job, *overrides)
            done[overrides] = outcome(job)
        return done[overrides]

    done = {}
    return run


MOMENTS = ["batch 1", "last batch", "validation", "validation end", "epoch end", "after the last epoch"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_like_an_unbroken_one(moment, workers, toy_module, unbroken, tmp_path):
    overrides = (f"data.workers={workers}", "callbacks.weight_averaging={}")
    job = tmp_path / "jobs" / "train_fold0"
    epoch = 2 if moment == "after the last epoch" else 1
    kill = {"kill": {"_target_": f"{__name__}.KillAt", "moment": moment, "epoch": epoch}}
    with pytest.raises(Killed):
        start(toy_module, job, *overrides, callbacks=kill)
    assert not folder.is_done(job)
    start(toy_module, job, *overrides)
    assert folder.is_done(job)
    assert_equal(unbroken(*overrides), outcome(job))


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("moment", ["batch 4", "batch 6"])
@pytest.mark.parametrize(
    "validation",
    [
        "trainer.check_val_every_n_epoch=1",
        "trainer.check_val_every_n_epoch=null trainer.val_check_interval=7",  # once before the kill
    ],
)
def test_one_killed_within_a_group_of_batches_does_too(
    moment, groups, validation, toy_module, unbroken, tmp_path
):
    """9 batches an epoch, so that its last group is smaller."""
    words = ["data.batch_size=4", f"trainer.accumulate_grad_batches={groups}", *validation.split()]
    overrides = (*words, "callbacks.weight_averaging={}")
    job = tmp_path / "jobs" / "train_fold0"
    kill = {"kill": {"_target_": f"{__name__}.KillAt", "moment": moment, "epoch": 1}}
    with pytest.raises(Killed):
        start(toy_module, job, *overrides, callbacks=kill)
    start(toy_module, job, *overrides)
    assert_equal(unbroken(*overrides), outcome(job))


@pytest.mark.parametrize("stopping", [[], ["callbacks.early_stopping={min_delta: 10, patience: 2}"]])
@pytest.mark.parametrize(
    "validation",
    [
        ["trainer.val_check_interval=0.5", "trainer.accumulate_grad_batches=2"],  # after 4 and 8 of 9 batches
        ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=5"],
    ],
)
def test_a_validation_that_the_kill_left_out_is_made_up_for(validation, stopping, toy_module, tmp_path):
    """The last checkpoint is of the batch after which it was due, and it may be the one that ends the training."""
    words = ["data.batch_size=4", "callbacks.weight_averaging={}", *validation, *stopping]
    kill = {"kill": {"_target_": f"{__name__}.KillAt", "moment": "validation", "epoch": 1}}
    jobs = [tmp_path / name / "jobs" / "train_fold0" for name in ("unbroken", "killed")]
    for job in jobs:
        note = {"note": {"_target_": f"{__name__}.Measured", "path": str(job / "measured.txt")}}
        if job == jobs[1]:
            with pytest.raises(Killed):
                start(toy_module, job, *words, callbacks=note | kill)
        start(toy_module, job, *words, callbacks=note)
    assert_equal(*(outcome(job) for job in jobs))
    measured, again = ((job / "measured.txt").read_text().splitlines() for job in jobs)
    assert [*dict.fromkeys(again)] == measured and len(measured) > 2


def test_a_signal_saves_the_step_under_way_and_gives_its_exit_code(toy_module, unbroken, tmp_path):
    overrides = ("data.workers=0", "callbacks.weight_averaging={}")
    job = tmp_path / "jobs" / "train_fold0"
    kill = {"kill": {"_target_": f"{__name__}.KillAt", "moment": "batch 1", "epoch": 1, "signum": 15}}
    with pytest.raises(Stopped) as stopped:
        start(toy_module, job, *overrides, "trainer.save_every_seconds=1000", callbacks=kill)
    assert stopped.value.code == 143
    saved = torch.load(job / "last.ckpt", weights_only=True)
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] == 2
    start(toy_module, job, *overrides)
    assert_equal(unbroken(*overrides), outcome(job))


def test_a_run_that_stopped_early_stays_stopped(toy_module, tmp_path):
    """The decision is taken by a patience of 1 in the last moment that a kill can erase."""
    job = tmp_path / "jobs" / "train_fold0"
    stop = (
        "callbacks.early_stopping={monitor: valid_loss, min_delta: 10, patience: 1}",
        "trainer.max_epochs=6",
    )
    kill = {"kill": {"_target_": f"{__name__}.KillAt", "moment": "after the last epoch", "epoch": 1}}
    with pytest.raises(Killed):
        start(toy_module, job, *stop, callbacks=kill)
    epochs = len(pd.read_csv(job / "history.csv"))
    start(toy_module, job, *stop)
    assert len(pd.read_csv(job / "history.csv")) == epochs < 6


def test_checkpoints_hold_plain_values_and_name_classes_and_preprocessing(toy_module, unbroken, tmp_path):
    last, best, _, _ = unbroken("data.workers=0", "callbacks.weight_averaging={}")
    for checkpoint in (last, best):
        assert checkpoint["hyper_parameters"]["class_names"] == ["bar", "cross", "ring", "slash"]
        assert checkpoint["hyper_parameters"]["preprocessing"]["size"] == [16, 16]
        yaml.safe_dump(checkpoint["hyper_parameters"])  # plain values only
    assert any(
        not torch.equal(last["state_dict"][name], last["current_model_state"][name])
        for name in last["state_dict"]
    )


def test_time_spent_before_a_kill_counts(toy_module, tmp_path, clock):
    """A run of six seconds, killed after two, goes on for four more; a step takes a quarter."""
    job = tmp_path / "jobs" / "train_fold0"
    bound = "trainer.max_time=00:00:00:06"
    tick = "callbacks.tick={_target_: tests.toys.Tick, seconds: 0.25}"
    kill = {"kill": {"_target_": f"{__name__}.KillAt", "moment": "epoch end", "epoch": 1}}
    with pytest.raises(Killed):
        start(toy_module, job, tick, callbacks=kill, bound=bound)
    steps = torch.load(job / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < steps < 12
    start(toy_module, job, tick, bound=bound)
    history = pd.read_csv(job / "history.csv")
    assert history["step"].iloc[-1] == 24 and history["seconds"].iloc[-1] == 6
    assert history["seconds"].is_monotonic_increasing
