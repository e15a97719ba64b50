"""Networks with a head for each level: each is what it would be alone, and a branch is a copy that goes its own way."""

from functools import partial

import pytest
import torch

from common.errors import PodiumError
from common.model.networks.backbones import timm_model
from common.model.networks.heads import ConvHead, CosineHead, LinearHead
from common.model.networks.level_heads import level_model
from common.model.networks.pretrained import load_state

SIZES = {"genus": 3, "family": 2}
SHAPE = {"in_channels": 3, "image_size": (64, 64)}
# network → its last stage
BRANCHED = {
    "test_resnet": "layer4",
    "res2net50d": "layer4",
    "tf_efficientnet_lite0": "blocks.6",
    "convnext_atto": "stages.3",
    "mobilenetv3_small_050": "blocks.5",
}


def model(name: str = "test_resnet", **others):
    torch.manual_seed(0)
    return level_model(name, num_classes=5, level_sizes=SIZES, **SHAPE, **others)


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_resnet", "vit_tiny_patch16_224"])
def test_each_level_has_logits_for_its_classes_the_leaves_first(name):
    outputs = model(name)(images())
    assert {level: tuple(logits.shape) for level, logits in outputs.items()} == {
        "leaf": (2, 5),
        "genus": (2, 3),
        "family": (2, 2),
    }
    assert next(iter(outputs)) == "leaf"


def test_the_leaves_are_those_of_the_plain_network():
    ours, plain = model().eval(), timm_model("test_resnet", num_classes=5, **SHAPE).eval()
    plain.load_state_dict(
        {name.removeprefix("backbone."): tensor for name, tensor in ours.backbone.state_dict().items()}
        | {f"fc.{name}": tensor for name, tensor in ours.head.heads["leaf"].fc.state_dict().items()}
    )
    torch.testing.assert_close(ours(images())["leaf"], plain(images()))


def test_every_level_sees_what_the_pooling_leaves():
    """Twice the features with catavgmax: of the mean and of the largest value."""
    plain, both = model(), model(pool="catavgmax")
    for level in both.head.heads:
        assert both.head.heads[level].fc.in_features == 2 * plain.head.heads[level].fc.in_features
    assert set(both(images())) == set(plain(images()))


def test_zero_heads_say_nothing_of_any_level():
    assert all((logits == 0).all() for logits in model(zero_head=True)(images()).values())
    assert all((logits != 0).any() for logits in model()(images()).values())


@pytest.mark.parametrize("head", [LinearHead, ConvHead, partial(CosineHead, scale=16.0)])
def test_heads_of_ours_classify_the_map_of_each_level(head):
    size = {"in_channels": 3, "image_size": (96, 96)}
    net = level_model(
        "test_resnet", num_classes=5, level_sizes=SIZES, head=head, branch_from={"genus": "layer4"}, **size
    )
    outputs = net(torch.rand(2, 3, 96, 96))
    assert [logits.shape[1] for logits in outputs.values()] == [5, 3, 2]
    assert net.get_classifier() is net.head


@pytest.mark.parametrize(("name", "stage"), BRANCHED.items())
def test_a_branch_begins_as_a_copy_of_the_last_stage(name, stage):
    net = model(name, branch_from={"genus": stage}).eval()
    features = net.backbone(images())
    torch.testing.assert_close(features["genus"], features["leaf"])
    assert features["family"] is features["leaf"]
    trunk, branch = net.backbone.trunk, net.backbone.branches["genus"]
    ours = sum(parameter.numel() for parameter in trunk.get_submodule(stage).parameters())
    assert (
        ours
        <= sum(parameter.numel() for parameter in branch.parameters())
        < sum(parameter.numel() for parameter in trunk.parameters())
    )
    shared = {id(parameter) for parameter in trunk.parameters()}
    assert not shared & {id(parameter) for parameter in branch.parameters()}


def test_a_branch_learns_from_its_own_level_alone():
    net = model(branch_from={"genus": "layer4"})
    net(images())["genus"].sum().backward()
    gradients = {name: parameter.grad is not None for name, parameter in net.named_parameters()}
    for name, has in gradients.items():
        below = name.startswith("backbone.trunk.") and ".layer4." not in name
        assert has == (below or name.startswith(("backbone.branches.genus.", "head.heads.genus."))), name


def test_weights_of_a_network_without_branches_fill_them_too():
    net, plain = model(branch_from={"genus": "layer4"}), timm_model("test_resnet", num_classes=7, **SHAPE)
    for parameter in plain.parameters():
        torch.nn.init.uniform_(parameter, -0.1, 0.1)
    load_state(net, {f"net.{name}": tensor for name, tensor in plain.state_dict().items()}, origin="a run")
    assert torch.equal(net.backbone.trunk.conv1[0].weight, plain.conv1[0].weight)
    features = net.eval().backbone(images())
    torch.testing.assert_close(features["genus"], features["leaf"])


def test_a_trained_branch_is_not_overwritten_when_it_is_loaded():
    net, again = model(branch_from={"genus": "layer4"}), model(branch_from={"genus": "layer4"})
    with torch.no_grad():
        for parameter in net.backbone.branches.parameters():
            parameter.add_(1)
    again.load_state_dict(net.state_dict())
    for name, tensor in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_only_levels_that_are_asked_for_have_a_head():
    assert list(model(levels=["family"])(images())) == ["leaf", "family"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ["famly"]}, r"model.levels: the data set has no level famly \(did you mean family\?\)"),
        ({"branch_from": {"order": "layer4"}}, "model.branch_from.order: there is no level order"),
        ({"branch_from": {"genus": "layer3"}}, "«layer3» is not the network's last stage; that is layer4"),
        ({"branch_from": {"genus": "layr4"}}, r"no stage «layr4» \(did you mean layer4\?\)"),
        ({"branch_from": {"genus": "conv1"}}, "«conv1» is not the network's last stage"),
        (
            {"levels": ["genus"], "branch_from": {"family": "layer4"}},
            "levels with a classifier are leaf, genus",
        ),
    ],
)
def test_a_level_or_stage_that_is_not_there_is_named(options, message):
    with pytest.raises(PodiumError, match=message):
        model(**options)


def test_a_network_that_cannot_be_entered_at_its_last_stage_says_so():
    with pytest.raises(PodiumError, match="cannot be entered at its last stage"):
        model("vit_tiny_patch16_224", branch_from={"genus": "blocks.11"})


def test_without_a_tree_there_are_no_levels():
    with pytest.raises(PodiumError, match="needs a data set with a class tree"):
        level_model("test_resnet", num_classes=5, **SHAPE)
