from functools import partial

import pytest
import timm
import torch

from common.callbacks.freeze import Freeze
from common.errors import PodiumError
from common.model.networks.backbones import timm_model
from common.model.networks.fusion import fused_model
from common.model.networks.level_heads import level_model
from common.model.networks.small_resnet import SmallResNet


class Module(torch.nn.Module):
    def __init__(self, net=None):
        super().__init__()
        self.net = net or SmallResNet(
            num_classes=3,
            in_channels=1,
            image_size=(16, 16),
            widths=(4, 4),
            depths=(1, 1),
            stem=4,
            dropout=0.5,
        )


def test_the_backbone_is_everything_but_the_classifier():
    module = Module()
    Freeze(["backbone"]).set_learning(module, False)
    assert {name for name, parameter in module.net.named_parameters() if parameter.requires_grad} == {
        "head.1.weight",
        "head.1.bias",
    }
    assert module.net.training and module.net.head[0].training  # dropout goes on
    state = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
    module.net(torch.rand(4, 1, 16, 16))
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.net.state_dict().items())
    Freeze(["backbone"]).set_learning(module, True)
    assert all(parameter.requires_grad for parameter in module.net.parameters())
    assert all(part.training for part in module.net.modules())


def test_a_network_without_a_named_classifier_has_no_backbone():
    with pytest.raises(PodiumError, match=r"modules: the network does not say .* get_classifier"):
        Freeze(["backbone"]).set_learning(Module(torch.nn.Sequential(torch.nn.Linear(2, 2))), False)
    with pytest.raises(PodiumError, match="no module «stagse»; did you mean «stages»"):
        Freeze(["stagse"]).set_learning(Module(), False)


@pytest.mark.parametrize(("count", "learning"), [(1, {6, 7}), (2, {3, 4, 6, 7}), (3, {2, 3, 4, 6, 7})])
def test_the_last_layers_learn_with_their_normalisation_and_no_others(count, learning):
    conv, norm = torch.nn.Conv2d(2, 2, 1), torch.nn.BatchNorm2d(2)
    layers = [
        *(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Conv2d(2, 2, 1, groups=2), conv, norm),
        *(torch.nn.Dropout(0.5), torch.nn.Conv2d(2, 2, 1), torch.nn.BatchNorm2d(2)),
    ]
    module = Module(torch.nn.ModuleDict({"body": torch.nn.Sequential(*layers)})).train()
    Freeze(["body"], but_last=count).set_learning(module, False)
    with_weights = {
        place for place, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters())
    }
    assert with_weights == learning
    assert norm.training == (4 in learning) and not layers[1].training
    Freeze(["body"], but_last=count).set_learning(module, True)
    assert all(parameter.requires_grad for parameter in module.parameters()) and layers[1].training


def test_the_backbone_but_its_last_layers_keeps_the_classifier_learning():
    module = Module()
    Freeze(["backbone"], but_last=1).set_learning(module, False)
    names = [name for name, parameter in module.net.named_parameters() if parameter.requires_grad]
    assert {"head.1.weight", "head.1.bias"} < set(names)
    convolutions = [name for name, part in module.net.named_modules() if isinstance(part, torch.nn.Conv2d)]
    assert [name for name in convolutions if f"{name}.weight" in names] == convolutions[-1:]


def test_norms_that_hold_an_activation_are_frozen_or_learn_as_the_layer_before_them():
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=3)
    module = Module(net).train()
    Freeze(["backbone"], but_last=4).set_learning(module, False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net(images).square().sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1).step()
    after = net.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    opened = ["blocks.6.0.conv_pw", "blocks.6.0.conv_dw", "blocks.6.0.conv_pwl", "conv_head", "classifier"]
    learning = [*opened, "blocks.6.0.bn1", "blocks.6.0.bn2", "blocks.6.0.bn3", "bn2"]
    assert changed == {name for name in after if name.rpartition(".")[0] in learning}
    norms = {name: part for name, part in net.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert [name for name, norm in norms.items() if norm.training] == [n for n in norms if n in learning]


def test_counts_that_leave_nothing_frozen_are_refused():
    with pytest.raises(PodiumError, match="but_last must be at least 0, got -1"):
        Freeze(["backbone"], but_last=-1)
    with pytest.raises(PodiumError, match="but_last=99: the modules have 5 layers"):
        Freeze(["backbone"], but_last=99).set_learning(Module(), False)


HEAD = {"_target_": "common.model.networks.heads.CosineHead"}
SHAPE = {"num_classes": 3, "in_channels": 3, "image_size": (32, 32)}


@pytest.mark.parametrize(
    ("net", "before"),
    [
        (partial(timm_model, **SHAPE), ""),
        (partial(timm_model, **SHAPE, head=HEAD), "backbone."),
        (partial(level_model, **SHAPE, level_sizes={"group": 2}), "backbone."),
        (
            partial(level_model, **SHAPE, level_sizes={"group": 2}, branch_from={"group": "layer4"}),
            "backbone.trunk.",
        ),
        (partial(fused_model, **SHAPE), "backbone.trunk."),
    ],
)
def test_a_modules_own_name_finds_it_behind_heads_of_ours(net, before):
    module = Module(net("test_resnet"))
    Freeze(["bn1", "layer1"]).set_learning(module, False)
    frozen = {name for name, parameter in module.net.named_parameters() if not parameter.requires_grad}
    own = tuple(f"{before}{name}." for name in ("bn1", "layer1"))
    assert frozen == {name for name, _ in module.net.named_parameters() if name.startswith(own)} != set()
    assert not module.net.get_submodule(f"{before}bn1").training
    with pytest.raises(PodiumError, match="no module «layr1»; did you mean «layer1»"):
        Freeze(["layr1"]).set_learning(module, False)
