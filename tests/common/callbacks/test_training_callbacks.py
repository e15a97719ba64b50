"""Freeze, averages, checkpoints and the curves, in short real trainings."""

from typing import ClassVar

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from common.callbacks.checkpoints import AtomicCheckpointIO, SaveBest
from common.callbacks.freeze import Freeze
from common.errors import PodiumError
from common.run import folder
from common.run.components import make_data, make_module
from common.run.jobs import jobs_of
from common.train.job import run_job


def trained(toy, tmp_path, *overrides, **trainer):
    config = toy(*overrides)
    job = tmp_path / "jobs" / "train_fold0"
    folder.write_config(job, jobs_of(config)[0][0].config)
    run_job(job)
    return config, job


def test_frozen_modules_stay_bit_equal_statistics_included(toy, tmp_path):
    """Module 0 is a convolution, 1 its BatchNorm; 6 is the head, which must move."""
    config, job = trained(
        toy, tmp_path, "callbacks.freeze.modules=['0','1']", "callbacks.weight_averaging={}"
    )
    torch.manual_seed(config["seed"])
    pl.seed_everything(config["seed"], verbose=False)
    data = make_data(config, tmp_path / "other")
    data.setup()
    before = make_module(config, data).state_dict()
    saved = torch.load(job / "last.ckpt", weights_only=True)
    for after in (saved["state_dict"], saved["current_model_state"]):
        for name, value in before.items():
            frozen = name.startswith(("net.0.", "net.1."))
            assert torch.equal(value, after[name]) == frozen, name


def test_a_module_can_be_thawed_later(toy, tmp_path):
    config, job = trained(
        toy,
        tmp_path,
        "callbacks.freeze={modules: ['0'], until_epoch: 1}",
        "trainer.max_epochs=2",
        "optimizer=sgd",
    )
    first = torch.load(job / "last.ckpt", weights_only=True)["state_dict"]["net.0.weight"]
    pl.seed_everything(config["seed"], verbose=False)
    data = make_data(config, tmp_path / "other")
    data.setup()
    assert not torch.equal(make_module(config, data).state_dict()["net.0.weight"], first)


def test_an_unknown_module_is_named_with_the_nearest(toy, tmp_path):
    with pytest.raises(PodiumError, match="no module «7»"):
        trained(toy, tmp_path, "callbacks.freeze.modules=['7']")
    with pytest.raises(PodiumError, match="modules is empty"):
        Freeze([])


def test_the_average_follows_its_formula(toy, tmp_path):
    """Replayed from the weights after every step, written down by a callback."""
    config = toy("callbacks.weight_averaging.decay=0.6", "trainer.max_epochs=2")
    config["callbacks"]["weights"] = {"_target_": f"{__name__}.Weights"}
    job = tmp_path / "jobs" / "train_fold0"
    folder.write_config(job, jobs_of(config)[0][0].config)
    Weights.seen.clear()
    run_job(job)
    average = Weights.seen[0]
    for updates, weights in enumerate(Weights.seen[1:], start=1):
        decay = min(0.6, (1 + updates) / (10 + updates))
        average = {name: decay * average[name] + (1 - decay) * value for name, value in weights.items()}
    saved = torch.load(job / "last.ckpt", weights_only=True)
    for name, value in average.items():
        torch.testing.assert_close(saved["state_dict"][name], value, rtol=1e-4, atol=1e-6)
        assert torch.equal(saved["current_model_state"][name], Weights.seen[-1][name])
    counter = "net.1.num_batches_tracked"
    assert saved["state_dict"][counter] == saved["current_model_state"][counter] == len(Weights.seen)


class Weights(pl.Callback):
    seen: ClassVar[list] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        floats = {name: v.clone() for name, v in pl_module.state_dict().items() if v.is_floating_point()}
        self.seen.append(floats)


def test_history_has_a_row_an_epoch_and_agrees_with_the_best_checkpoint(toy, tmp_path):
    _, job = trained(toy, tmp_path, "trainer.max_epochs=4", "optimizer.lr=0.01")
    history = pd.read_csv(job / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["step"].is_monotonic_increasing and history["seconds"].is_monotonic_increasing
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    log = (job / "log.txt").read_text(encoding="utf-8").splitlines()
    assert "from step 0" in log[0] and sum("  epoch " in line for line in log) == 4
    scores = folder.load_json(job / "scores.json")
    assert scores["valid_top1"] == pytest.approx(history["valid_top1"].max())
    best = history[history["valid_top1"] == history["valid_top1"].max()].iloc[-1]  # of equal ones the last
    assert scores["epoch"] == best["epoch"]
    assert scores["valid_loss"] == pytest.approx(best["valid_loss"], rel=1e-4)


def test_a_training_that_diverges_ends_with_advice(toy, tmp_path):
    with pytest.raises(PodiumError, match=r"training has diverged, .* a smaller optimizer\.lr"):
        trained(toy, tmp_path, "optimizer.lr=1e30")
    assert not (tmp_path / "jobs" / "train_fold0" / "done").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lr=-1", "optimizer: .* refuses its values: .*-1"),
        ("optimizer.weight_decay=-1", r"optimizer\.weight_decay must be at least 0, got -1"),
        ("data.workers=-1", r"data\.workers must be at least 0, got -1"),
    ],
)
def test_values_that_make_no_sense_are_refused(toy, tmp_path, word, message):
    with pytest.raises(PodiumError, match=message):
        trained(toy, tmp_path, word)


def test_a_metric_that_is_not_measured_is_refused_before_training(toy, tmp_path):
    with pytest.raises(
        PodiumError, match=r"best\.valid_f1: there is no metric valid_f1 \(did you mean valid_top1\?\)"
    ):
        trained(toy, tmp_path, "best={valid_f1: max}")
    assert not (tmp_path / "jobs" / "train_fold0" / "last.ckpt").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, target)

    class Full:  # what a full disk does in the middle of a file
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(PodiumError, match=r"No space left on device.*the checkpoint before it is kept"):
        writer.save_checkpoint({"step": 2, "bad": Full()}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_time_bounds_complete_the_schedule(toy, tmp_path, clock):
    tick = "callbacks.tick={_target_: tests.toys.Tick, seconds: 0.25}"
    _, job = trained(toy, tmp_path, "trainer.max_time=00:00:00:04", "schedule=linear", tick)
    history = pd.read_csv(job / "history.csv")
    assert history["seconds"].iloc[-1] == 4 and history["step"].iloc[-1] == 16
    peak, last = history["lr"].max(), history["lr"].iloc[-1]
    assert last < 0.02 * peak
    assert folder.load_json(job / "scores.json")["images"] == 12


def test_without_validation_the_last_checkpoint_is_the_best(toy, tmp_path):
    _, job = trained(toy, tmp_path, "trainer.limit_val_batches=0", "trainer.max_epochs=1")
    assert (job / "best.ckpt").read_bytes() == (job / "last.ckpt").read_bytes()
    assert folder.load_json(job / "scores.json")["images"] == 12


def test_a_run_bounded_by_steps_validates_its_end(toy, tmp_path):
    """Four steps an epoch here: ten steps end in the middle of the third."""
    _, job = trained(toy, tmp_path, "trainer.max_steps=10", "schedule=linear")
    history = pd.read_csv(job / "history.csv")
    assert history["step"].tolist() == [4, 8, 10] and history["valid_top1"].notna().all()
    assert history["lr"].iloc[-1] == 0
    assert torch.load(job / "last.ckpt", weights_only=True)["global_step"] == 10


def test_a_metric_that_was_nan_once_can_still_be_best(tmp_path):
    class Run:
        sanity_checking = False
        saved = 0

        def save_checkpoint(self, path):
            self.saved += 1

    run, save = Run(), SaveBest("best.ckpt", "valid_loss", "min")
    for value in (float("nan"), 2.0, float("nan"), 3.0, 1.0):
        run.callback_metrics = {"valid_loss": torch.tensor(value)}
        save.on_validation_end(run, None)
    assert save.best == 1.0 and run.saved == 3
