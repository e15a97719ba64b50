"""One optimizer step: the mean over its pictures, however they are gathered; and what happens when it is no number."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from common.errors import PodiumError
from common.run import parts
from common.run.train import train

LINEAR = "model={_target_: tests.toys.Straight}"


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


def fitted(toy, tmp_path, *words: str, **trainer):
    """(the module, what its steps saw): three epochs of SGD at a constant rate, without views."""
    config = toy(
        LINEAR,
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "schedule=constant",
        *words,
    )
    config["optimizer"] |= {"lr": 0.1, "weight_decay": 0.0}
    config["views"]["batch"] = {}
    data, seen = parts.make_data(config, tmp_path / "run"), Seen()
    data.setup()
    module = parts.make_module(config, data)
    before = [weight.detach().clone() for weight in module.net.parameters()]
    pl.Trainer(
        max_epochs=3, accelerator="cpu", callbacks=[*parts.make_callbacks(config), seen], logger=False,
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
        ["optimizer.lr=1e10"],
        ["optimizer.lr=1e30", "trainer.save_every_seconds=0.000001"],  # by the clock, after every step
        ["optimizer.lr=1e30", "trainer.save_every_steps=1"],
        ["optimizer.lr=1e30", "callbacks.weight_averaging={}"],
        ["optimizer.lr=1e30", "trainer.limit_val_batches=0", "trainer.max_epochs=30"],
        ["optimizer.lr=1e30", "trainer.precision=bf16-mixed"],
    ],
    ids=str,
)
def test_a_training_that_diverges_fails_and_leaves_finite_checkpoints(toy, tmp_path, words):
    config = toy("optimizer=sgd", "trainer.max_epochs=3", *words, f"run_dir={tmp_path / 'run'}")
    with pytest.raises(PodiumError, match=r"diverged.* optimizer\.lr"):
        train(config)
    for path in (tmp_path / "run").rglob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values() if value.is_floating_point()), path
    assert not list((tmp_path / "run").rglob("done"))
