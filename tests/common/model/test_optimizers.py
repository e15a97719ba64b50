import math
from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim import AdamW

import common
from common.errors import PodiumError
from common.model.optimizers import build_optimizer, parameter_groups

FILES = sorted((Path(common.__file__).parents[1] / "conf/optimizer").glob("*.yaml"))
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.1, "weight_decay": 0.01}


class Toy(nn.Module):
    """A backbone with a norm, a position embedding and a head, as timm's networks describe themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.ones(3, 3))
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 3)

    def get_classifier(self) -> nn.Module:
        return self.head

    def no_weight_decay(self) -> set[str]:
        return {"position"}


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Toy()


def names_by_group(module: nn.Module, groups: list[dict]) -> dict[str, set[str]]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}


def test_norms_biases_and_position_embeddings_do_not_decay():
    module = Wrapped()
    groups = parameter_groups(module, weight_decay=0.1)
    assert names_by_group(module, groups) == {
        "all": {"net.conv.weight", "net.head.weight"},
        "all, no decay": {
            "net.position",
            "net.conv.bias",
            "net.norm.weight",
            "net.norm.bias",
            "net.head.bias",
        },
    }
    assert {group["name"]: group["weight_decay"] for group in groups} == {"all": 0.1, "all, no decay": 0}

    module = Toy()
    names = names_by_group(module, parameter_groups(module, weight_decay=0.1))
    assert names["all"] == {"conv.weight", "head.weight"}


def test_everything_decays_if_asked_to():
    (group,) = parameter_groups(Toy(), weight_decay=0.1, no_decay_norm_and_bias=False)
    assert len(group["params"]) == len(list(Toy().parameters()))
    assert group["weight_decay"] == 0.1


def test_backbone_learns_at_its_own_rate():
    module = Wrapped()
    groups = parameter_groups(module, weight_decay=0.1, lr=0.2, backbone_lr_scale=0.1)
    names = names_by_group(module, groups)
    assert names["head"] == {"net.head.weight"}
    assert names["head, no decay"] == {"net.head.bias"}
    assert names["backbone"] == {"net.conv.weight"}
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == pytest.approx(
        {"backbone": 0.02, "backbone, no decay": 0.02, "head": 0.2, "head, no decay": 0.2}
    )


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("no_decay", [True, False])
def test_every_parameter_that_is_not_frozen_is_in_exactly_one_group(scale, no_decay):
    module = Wrapped()
    module.net.conv.requires_grad_(False)
    groups = parameter_groups(module, 0.1, no_decay, lr=1.0, backbone_lr_scale=scale)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)


def test_nothing_to_train_is_said():
    with pytest.raises(PodiumError, match="all parameters are frozen"):
        parameter_groups(Toy().requires_grad_(False), weight_decay=0.1)


def test_backbone_without_a_known_head_is_said():
    with pytest.raises(PodiumError, match=r"optimizer\.backbone_lr_scale.*get_classifier"):
        build_optimizer(ADAMW | {"backbone_lr_scale": 0.1}, nn.Linear(2, 2))


def test_step_is_that_of_the_optimizer_built_by_hand():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    built = build_optimizer(ADAMW | {"betas": [0.8, 0.9], "no_decay_norm_and_bias": False}, ours)
    oracle = AdamW(theirs.parameters(), lr=0.1, weight_decay=0.01, betas=(0.8, 0.9))
    for optimizer, module in ((built, ours), (oracle, theirs)):
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


@pytest.mark.parametrize("target", ["torch.optim.SGD", "pytorch_optimizer.Ranger"])  # Ranger has **kwargs
def test_argument_that_the_optimizer_does_not_have_is_named_with_the_nearest(target):
    part = {"_target_": target, "lr": 0.1, "maximise": True}
    with pytest.raises(
        PodiumError, match=r"optimizer\.maximise: .* has no such argument \(did you mean maximize\?\)"
    ):
        build_optimizer(part, Toy())


def test_unnamed_arguments_are_no_argument():
    with pytest.raises(PodiumError, match=r"optimizer\.kwargs"):
        build_optimizer({"_target_": "pytorch_optimizer.Ranger", "lr": 0.1, "kwargs": {}}, Toy())


def test_missing_learning_rate_is_named():
    with pytest.raises(PodiumError, match=r"optimizer\.lr is missing"):
        build_optimizer({"_target_": "torch.optim.AdamW"}, Toy())


class Weights(nn.Module):
    """What the optimizers treat differently: a hidden convolution, a first one, a head, a norm and biases."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3)
        self.hidden = nn.Conv2d(4, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)


@cache
def gradients(step: int) -> dict[str, torch.Tensor]:
    """That lean to one side, as those of a loss do."""
    generator = torch.Generator().manual_seed(step)
    return {name: torch.randn(w.shape, generator=generator) + 1 for name, w in Weights().named_parameters()}


def centralised(gradient: torch.Tensor) -> torch.Tensor:
    return (
        gradient - gradient.flatten(1).mean(1).view(-1, *[1] * (gradient.ndim - 1))
        if gradient.ndim > 1
        else gradient
    )


def by_torch(
    kind: type, part: dict, weight: torch.Tensor, seen: list[torch.Tensor], decay: float, centre: bool
) -> torch.Tensor:
    weight = nn.Parameter(weight.clone())
    keys = {"lr", "momentum", "nesterov", "betas"} & part.keys()
    optimizer = kind([weight], weight_decay=decay, **{key: part[key] for key in keys})
    for gradient in seen:
        weight.grad = centralised(gradient) if centre else gradient.clone()
        optimizer.step()
    return weight.detach()


def by_lessw2020(part: dict, weight: torch.Tensor, seen: list[torch.Tensor], decay: float) -> torch.Tensor:
    """Ranger as its author's ranger.py has it, in 64 bits: RAdam, each sixth step half way to the slow weights."""
    weight, lr, (b1, b2) = weight.double(), part["lr"], part["betas"]
    slow, mean, square = weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight)
    longest = 2 / (1 - b2) - 1
    for step, gradient in enumerate((centralised(one.double()) for one in seen), start=1):
        mean = b1 * mean + (1 - b1) * gradient
        square = b2 * square + (1 - b2) * gradient**2
        length = longest - 2 * step * b2**step / (1 - b2**step)
        weight = weight - lr * decay * weight
        if length > 5:
            part_of = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
            rate = lr * math.sqrt((1 - b2**step) * part_of) / (1 - b1**step)
            weight = weight - rate * mean / (square.sqrt() + part["eps"])
        else:
            weight = weight - lr / (1 - b1**step) * mean
        if step % part["k"] == 0:
            slow = slow + part["alpha"] * (weight - slow)
            weight = slow.clone()
    return weight.float()


def by_keller_jordan(
    part: dict, weight: torch.Tensor, seen: list[torch.Tensor], decay: float
) -> torch.Tensor:
    """Muon as its author's muon.py has it, in 64 bits."""
    weight, buffer = weight.double(), torch.zeros(weight.shape, dtype=torch.float64)
    rows = len(weight)
    for gradient in seen:
        buffer = torch.lerp(buffer, gradient.double(), 1 - part["momentum"])
        x = torch.lerp(gradient.double(), buffer, part["momentum"]).reshape(rows, -1)
        columns = x.shape[1]
        x = (x.T if rows > columns else x) / x.norm()
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = (x.T if rows > columns else x).reshape(weight.shape) * max(1, rows / columns) ** 0.5
        weight = weight * (1 - part["lr"] * decay) - part["lr"] * x
    return weight.float()


def by_reference(
    name: str, part: dict, weight: torch.Tensor, seen: list[torch.Tensor], decay: float
) -> torch.Tensor:
    if name == "ranger":
        return by_lessw2020(part, weight, seen, decay)
    if name == "muon" and weight.ndim == 4 and weight.shape[1] > 3:
        return by_keller_jordan(part, weight, seen, decay)
    if name == "muon":
        return by_torch(
            AdamW, {"lr": part["adamw_lr"], "betas": part["adamw_betas"]}, weight, seen, decay, False
        )
    kind = {
        "adam": torch.optim.Adam,
        "adam_gc": torch.optim.Adam,
        "adamw": AdamW,
        "sgd": torch.optim.SGD,
        "sgd_gc": torch.optim.SGD,
    }[name]
    return by_torch(kind, part, weight, seen, decay, name.endswith("_gc"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_group_takes_forty_steps_as_its_reference(file, tmp_path):
    """And the first of them downhill."""
    part = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(part, dict)
    module = Weights()
    start = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    optimizer = build_optimizer(part, module)
    for step in range(40):
        for name, gradient in gradients(step).items():
            module.get_parameter(name).grad = gradient.clone()
        optimizer.step()
        if step == 0:
            uphill = {
                name: float(((weight.detach() - start[name]) * gradients(0)[name]).sum())
                for name, weight in module.named_parameters()
            }
            assert max(uphill.values()) < 0, uphill
    for name, weight in module.named_parameters():
        decay = part["weight_decay"] if weight.ndim > 1 else 0.0
        expected = by_reference(
            file.stem, part, start[name], [gradients(step)[name] for step in range(40)], decay
        )
        torch.testing.assert_close(
            weight.detach(), expected, rtol=1e-4, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}"
        )
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.load(tmp_path / "optimizer.pt", weights_only=True)


@pytest.mark.parametrize("name", ["Ranger", "RAdam"])
def test_rectified_optimizers_of_ones_own_begin_downhill_too(name):
    weight = nn.Linear(3, 3)
    optimizer = build_optimizer({"_target_": f"pytorch_optimizer.{name}", "lr": 0.01}, weight)
    before = weight.weight.detach().clone()
    weight.weight.grad, weight.bias.grad = torch.arange(9.0).view(3, 3) + 1, torch.ones(3)
    direction = weight.weight.grad - (weight.weight.grad.mean(1, keepdim=True) if name == "Ranger" else 0)
    optimizer.step()
    assert float(((weight.weight.detach() - before) * direction).sum()) < 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_negative_rate_is_a_mistake_of_the_user_in_every_optimizer(file: Path):
    part = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(part, dict)
    with pytest.raises(PodiumError, match=r"refuses its values: .*-1"):
        build_optimizer(part | {"lr": -1}, Wrapped())
