"""One optimizer step: the mean over its pictures, however they are gathered; and what happens when it is no number."""

from itertools import pairwise

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

from common.errors import PodiumError
from common.run import components
from common.train.train import train
from tests.toys import TinyNet


class Seen(pl.Callback):
    """The batches of each optimizer step, and the weights after it."""

    def __init__(self) -> None:
        self.group: list[tuple] = []
        self.steps: list[tuple] = []
        self.done = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.group.append((batch["image"].clone(), batch["label"].clone()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > self.done:
            self.done = trainer.global_step
            weights = [weight.detach().clone() for weight in pl_module.net.parameters()]
            self.steps.append((self.group, weights))
            self.group = []


def fitted(toy, tmp_path, *words: str, net: str = "Straight", optimizer: str = "sgd", **trainer):
    """(the module, what its steps saw): three epochs of SGD at a constant rate, without views."""
    config = toy(
        f"model={{_target_: tests.toys.{net}}}", f"optimizer={optimizer}", "schedule=constant", *words
    )
    if optimizer == "sgd":
        config["optimizer"] |= {"momentum": 0.0, "nesterov": False}
    config["optimizer"] |= {"lr": 0.1, "weight_decay": 0.0}
    config["views"]["batch"] = {}
    data, seen = components.make_data(config, tmp_path / "run"), Seen()
    data.setup()
    torch.manual_seed(0)
    module = components.make_module(config, data)
    before = [weight.detach().clone() for weight in module.net.parameters()]
    pl.Trainer(
        max_epochs=3, accelerator="cpu", callbacks=[*components.make_callbacks(config), seen], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, limit_val_batches=0, **trainer,
    ).fit(module, datamodule=data)  # fmt: skip
    return module, before, seen


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("limit", [3, 9], ids=["odd epoch", "whole epoch"])
def test_every_step_is_the_mean_over_its_pictures(toy, tmp_path, groups, limit):
    """Against the gradient of all of a step's pictures at once; 9 batches of 4, so that groups do not fit an epoch."""
    module, weights, seen = fitted(
        toy, tmp_path, "data.batch_size=4", accumulate_grad_batches=groups, limit_train_batches=limit
    )
    assert [len(group) for group, _ in seen.steps] == 3 * [
        min(groups, limit - first) for first in range(0, limit, groups)
    ]
    for group, after in seen.steps:
        images, labels = (torch.cat(part) for part in zip(*group, strict=True))
        net = [weight.clone().requires_grad_() for weight in weights]
        logits = ((images - module.mean) / module.std).flatten(1) @ net[0].T + net[1]
        gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), net)
        weights = [weight - 0.1 * gradient for weight, gradient in zip(weights, gradients, strict=True)]
        for ours, theirs in zip(after, weights, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_hard_examples_count_as_much_in_a_short_group(toy, tmp_path):
    """A group of one batch alone, of two asked for: its step is the mean over the half that is kept."""
    words = ["data.batch_size=4", "callbacks.ohem={keep: 0.5}"]
    module, weights, seen = fitted(toy, tmp_path, *words, accumulate_grad_batches=2, limit_train_batches=3)
    for group, after in seen.steps:
        net = [weight.clone().requires_grad_() for weight in weights]
        kept = []
        for images, labels in group:
            logits = ((images - module.mean) / module.std).flatten(1) @ net[0].T + net[1]
            kept.append(nn.functional.cross_entropy(logits, labels, reduction="none").topk(2).values)
        gradients = torch.autograd.grad(torch.cat(kept).mean(), net)
        weights = [weight - 0.1 * gradient for weight, gradient in zip(weights, gradients, strict=True)]
        torch.testing.assert_close(after[0], weights[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=sgd", "optimizer.lr=1e10"],
        ["optimizer=sgd", "optimizer.lr=1e30", "trainer.save_every_seconds=0.000001"],  # after every step
        ["optimizer=sgd", "optimizer.lr=1e30", "trainer.save_every_steps=1"],
        ["optimizer=sgd", "optimizer.lr=1e30", "callbacks.weight_averaging={}"],
        ["optimizer=sgd", "optimizer.lr=1e30", "trainer.limit_val_batches=0", "trainer.max_epochs=30"],
        ["optimizer=sgd", "optimizer.lr=1e30", "trainer.precision=bf16-mixed"],
        # Adam's steps are as long as the rate says: weights and losses stay numbers, of any size
        ["optimizer=adam", "optimizer.lr=1e10"],
        ["optimizer=adam", "optimizer.lr=1e8", "trainer.save_every_seconds=0.000001"],
        ["optimizer=adam_gc", "optimizer.lr=1e10", "trainer.limit_val_batches=0"],
        ["optimizer=ranger", "optimizer.lr=1e5"],
        ["optimizer=adam", "optimizer.lr=1e10", "trainer.precision=bf16-mixed"],
    ],
    ids=str,
)
def test_a_training_that_diverges_fails_and_leaves_finite_checkpoints(toy, tmp_path, words):
    config = toy("trainer.max_epochs=3", *words, f"run_dir={tmp_path / 'run'}")
    with pytest.raises(PodiumError, match=r"diverged.* optimizer\.lr"):
        train(config)
    for path in (tmp_path / "run").rglob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values() if value.is_floating_point()), path
    assert not list((tmp_path / "run").rglob("done"))


def test_a_loss_that_is_large_but_a_number_goes_on(toy, tmp_path):
    config = toy("optimizer=adam", "optimizer.lr=100", f"run_dir={tmp_path / 'run'}")
    losses = pd.read_csv(train(config) / "jobs" / "train_fold0" / "history.csv")["train_loss"]
    assert losses.between(20, 1e6).all()  # chance is 1.4


def test_steps_that_the_grad_scaler_skips_are_no_divergence(toy, tmp_path):
    """Gradients in 16 bits overflow until the scale is small enough: these steps change nothing, later ones train."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-15)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    _, before, seen = fitted(toy, tmp_path, "data.batch_size=4", net="TinyNet", plugins=[plugin])
    weights = [before, *(after for _, after in seen.steps)]
    moved = [not torch.equal(a[0], b[0]) for a, b in pairwise(weights)]
    assert not moved[0] and moved[-1] and scaler.get_scale() < 2.0**40


@pytest.mark.parametrize("how", ["norm", "value"])
@pytest.mark.parametrize("optimizer", ["adam_gc", "sgd_gc"])
def test_fused_optimizers_are_clipped_after_the_grad_scaler_has_unscaled(toy, tmp_path, optimizer, how):
    def weights(name: str, fused: bool):
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10))
        words = ["data.batch_size=4", f"optimizer.fused={'true' if fused else 'false'}"]
        clip = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": how}
        return fitted(toy, tmp_path / name, *words, optimizer=optimizer, plugins=[plugin], **clip)[0].net

    for ours, theirs in zip(weights("a", True).parameters(), weights("b", False).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


class Masked(TinyNet):
    """A network with a constant of −∞ in its state, as timm's gemma4_vit_167m has."""

    def __init__(self, **others) -> None:
        super().__init__(**others)
        self.register_buffer("mask", torch.full((2,), -torch.inf))


def test_constants_that_are_infinite_are_no_divergence(toy, tmp_path):
    words = [f"model._target_={__name__}.Masked", f"run_dir={tmp_path / 'run'}"]
    job = train(toy(*words, "trainer.max_epochs=1")) / "jobs" / "train_fold0"
    assert torch.load(job / "last.ckpt", weights_only=True)["state_dict"]["net.mask"].isinf().all()
    spoilt = [*words[:1], f"run_dir={tmp_path / 'spoilt'}", "optimizer=sgd", "optimizer.lr=1e30"]
    with pytest.raises(PodiumError, match="diverged"):
        train(toy(*spoilt))
