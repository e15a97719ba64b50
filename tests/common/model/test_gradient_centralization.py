"""Centralised gradients: the formula, another library's, and in whatever way a step is taken."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from pytorch_optimizer.optimizer.gradient_centralization import centralize_gradient
from torch import nn

from common.config.configure import configure
from common.errors import PodiumError
from common.model.optimizers import build_optimizer
from common.run import components
from common.run.jobs import jobs_of
from common.train.train import train

OPTIMIZERS = {
    "adam": {"_target_": "torch.optim.Adam", "lr": 0.01},
    "fused adam": {"_target_": "torch.optim.Adam", "lr": 0.01, "fused": True},
    "sgd": {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "ranger": {"_target_": "pytorch_optimizer.Ranger", "lr": 0.01, "use_gc": False},
    "muon": {"_target_": "common.model.muon.Muon", "lr": 0.02},
}


class Toy(nn.Module):
    """Convolutions, a norm and a head; `wide` is a convolution that Muon orthogonalises."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(4, 6, 3)
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.wide(self.norm(self.conv(images)).relu()).mean((2, 3)))


def loss_of(net, seed):
    images = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (net(images) * torch.arange(3)).square().mean()


def fresh():
    torch.manual_seed(0)
    return Toy().train()


def weights(net):
    return [weight.detach().clone() for weight in net.parameters()]


def with_library(part, conv_only, steps=8):
    """Steps whose gradients pytorch-optimizer has centralised."""
    net = fresh()
    optimizer = build_optimizer(part, net)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(net, step).backward()
        for weight in net.parameters():
            centralize_gradient(weight.grad, gc_conv_only=conv_only)
        optimizer.step()
    return weights(net)


@pytest.mark.parametrize("mode", ["all", "conv_only"])
@pytest.mark.parametrize("part", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_optimizer_steps_as_with_gradients_that_pytorch_optimizer_centralised(part, mode):
    net = fresh()
    optimizer = build_optimizer(part | {"centralize_gradients": mode}, net)
    for step in range(8):
        optimizer.zero_grad()
        loss_of(net, step).backward()
        optimizer.step()
    torch.testing.assert_close(weights(net), with_library(part, mode == "conv_only"))
    differs = [not torch.equal(a, b) for a, b in zip(weights(net), weights(plain_steps(part)), strict=True)]
    assert any(differs)


def plain_steps(part):
    net = fresh()
    optimizer = build_optimizer(part | {"centralize_gradients": "none"}, net)
    for step in range(8):
        optimizer.zero_grad()
        loss_of(net, step).backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("position", ["keyword", "first"])
@pytest.mark.parametrize("part", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_gradients_that_the_step_computes_itself_are_centralised_too(part, position):
    """As Lightning takes its steps: with a closure."""
    net = fresh()
    optimizer = build_optimizer(part | {"centralize_gradients": "all"}, net)
    for step in range(8):

        def closure(step=step):
            optimizer.zero_grad()
            loss = loss_of(net, step)
            loss.backward()
            return loss

        found = optimizer.step(closure=closure) if position == "keyword" else optimizer.step(closure)
        assert found is not None and found.requires_grad
    torch.testing.assert_close(weights(net), with_library(part, conv_only=False))


def test_one_step_of_sgd_is_the_formula():
    net = fresh()
    start = copy.deepcopy(net)
    optimizer = build_optimizer(
        {"_target_": "torch.optim.SGD", "lr": 0.1, "centralize_gradients": "all"}, net
    )
    loss_of(net, 0).backward()
    gradients = {name: weight.grad.clone() for name, weight in net.named_parameters()}
    optimizer.step()
    before = dict(start.named_parameters())
    for name, weight in net.named_parameters():
        gradient = gradients[name]
        if gradient.ndim > 1:
            rows = [row - sum(row.flatten().tolist()) / row.numel() for row in gradient]
            gradient = torch.stack(rows)
            sums = weight.flatten(1).sum(1)
            torch.testing.assert_close(sums, before[name].flatten(1).sum(1))  # what stays what it was
        torch.testing.assert_close(weight, before[name] - 0.1 * gradient)


def test_scaled_gradients_give_the_same_steps():
    part = OPTIMIZERS["sgd"]
    net = fresh()
    optimizer = build_optimizer(part | {"centralize_gradients": "all"}, net)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(8):
        optimizer.zero_grad()
        scaler.scale(loss_of(net, step)).backward()
        scaler.step(optimizer)
        scaler.update()
    torch.testing.assert_close(weights(net), with_library(part, conv_only=False))


def test_frozen_weights_and_those_without_a_gradient_are_let_be():
    net = fresh()
    net.conv.requires_grad_(False)
    optimizer = build_optimizer(OPTIMIZERS["adam"] | {"centralize_gradients": "all"}, net)
    net.head(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    assert net.wide.weight.grad is None


def test_a_wrong_choice_is_named_when_composed_and_when_built():
    with pytest.raises(
        PodiumError, match=r'optimizer\.centralize_gradients must be .*"conv_only".*got "conv"'
    ):
        configure(["competition=calligraphy", "optimizer.centralize_gradients=conv"])
    with pytest.raises(PodiumError, match=r"optimizer\.centralize_gradients must be none, all or conv_only"):
        build_optimizer(OPTIMIZERS["adam"] | {"centralize_gradients": "conv"}, fresh())


@pytest.mark.parametrize("name", ["adam_gc", "sgd_gc"])
def test_the_recipes_centralise(name):
    config = configure(["competition=calligraphy", f"optimizer={name}"])
    assert config.optimizer.centralize_gradients == "all"
    if name == "adam_gc":
        assert (config.optimizer.lr, list(config.optimizer.betas)) == (0.001, [0.9, 0.999])
        assert config.optimizer.weight_decay == 0


@pytest.mark.parametrize(("mode", "kept"), [("all", True), ("none", False)])
def test_a_training_keeps_every_channels_sum(toy, tmp_path, mode, kept):
    words = ["optimizer=sgd_gc", "optimizer.weight_decay=0", f"optimizer.centralize_gradients={mode}"]
    config = toy(*words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}")
    train(config)
    pl.seed_everything(config["seed"], verbose=False)
    data = components.make_data(jobs_of(config)[0][0].config, tmp_path / "run")
    data.setup()
    before = components.make_module(config, data).state_dict()
    (place,) = (tmp_path / "run" / "jobs").iterdir()
    after = torch.load(place / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in after.items():
        if name.endswith("weight") and value.ndim > 1:
            assert not torch.equal(value, before[name])
            moved = (value.flatten(1).sum(1) - before[name].flatten(1).sum(1)).abs().max()
            assert (moved < 1e-4) == kept, name
