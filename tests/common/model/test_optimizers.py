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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_group_trains_and_is_stored_as_plain_values(file, tmp_path):
    part = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(part, dict)
    module = Wrapped()
    before = module.net.conv.weight.detach().clone()
    optimizer = build_optimizer(part | {"backbone_lr_scale": 0.5}, module)
    for _ in range(8):  # rectified Adam waits a few steps before its first
        features = module.net.norm(module.net.conv(torch.randn(2, 1, 8, 8))).relu()
        module.net.head(features.mean((2, 3))).square().sum().backward()
        optimizer.step()
    assert not torch.equal(before, module.net.conv.weight)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.load(tmp_path / "optimizer.pt", weights_only=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_negative_rate_is_a_mistake_of_the_user_in_every_optimizer(file: Path):
    part = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(part, dict)
    with pytest.raises(PodiumError, match=r"refuses its values: .*-1"):
        build_optimizer(part | {"lr": -1}, Wrapped())
