"""Heat maps: the paper's formula, on the map that a network has, whatever the network."""

import cv2
import numpy as np
import pytest
import timm
import torch
from torch import nn

from common.build import build
from common.model.classifier import ImageClassifier
from common.model.networks.small_resnet import SmallResNet
from common.serve.page.heat_map import STRENGTH, HeatMap, NoMap, last_map, overlay
from tests.toys import TwoLevels


class Spots(nn.Module):
    """Class 0 is how bright a picture is in all, class 1 how dark: its map is the picture itself, at half size."""

    def __init__(self, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.shrink = nn.AvgPool2d(2)
        self.classify = nn.Linear(1, 2)
        self.classify.weight.data = torch.tensor([[1.0], [-1.0]])

    def forward(self, images):
        return self.classify(self.shrink(images).mean((-2, -1)))

    def get_classifier(self):
        return self.classify


def classifier(target, size, **options) -> ImageClassifier:
    preprocessing = {"size": list(size), "channels": 1, "fit": "pad", "pad_value": 0, "interpolation": "area"}
    return ImageClassifier(
        model={"_target_": target, **options},
        loss={"_target_": "common.model.losses.CrossEntropy"},
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.1},
        schedule=None,
        class_names=["bright", "dark"],
        preprocessing=preprocessing,
        mean=[0.0],
        std=[1.0],
    )


def test_the_heat_is_where_the_class_is():
    image = np.zeros((12, 16, 1), np.uint8)
    image[2:4, 10:12] = 255
    heat_map = HeatMap(classifier("tests.common.serve.page.test_heat_map.Spots", (12, 16)))
    bright, dark = heat_map(image, 0), heat_map(image, 1)
    assert bright.shape == (12, 16) and bright.dtype == np.float32
    assert bright.min() == 0 and bright.max() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(bright.argmax(), bright.shape) in [(2, 10), (2, 11), (3, 10), (3, 11)]
    assert dark.max() == 0  # nothing bright speaks for it


def test_it_is_the_formula_of_the_paper():
    torch.manual_seed(0)
    module = classifier(
        "common.model.networks.small_resnet.SmallResNet", (32, 24), stem=4, widths=[6, 8], depths=[1, 1]
    )
    for parameter in module.parameters():  # blocks that begin as the identity are no test
        parameter.data.normal_(0, 0.3)
    image = np.random.default_rng(0).integers(0, 256, (32, 24, 1), np.uint8)

    module.eval()
    net = module.net
    features = net.stages(net.stem(torch.from_numpy(image).permute(2, 0, 1)[None] / 255))
    features.retain_grad()
    net.head(features.mean((2, 3)))[0, 1].backward()
    weights = features.grad.mean((2, 3))[0]
    found = (weights[:, None, None] * features[0]).sum(0).relu().detach().numpy()
    found = cv2.resize((found - found.min()) / (found.max() - found.min()), (24, 32))
    found = (found - found.min()) / (found.max() - found.min())

    np.testing.assert_allclose(HeatMap(module)(image, 1), found, atol=1e-4)


def test_weights_take_no_gradients_and_no_hooks_stay():
    module = classifier(
        "common.model.networks.small_resnet.SmallResNet", (32, 32), stem=4, widths=[6], depths=[1]
    )
    HeatMap(module)(np.zeros((32, 32, 1), np.uint8), 0)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(layer._forward_hooks for layer in module.modules())


def network(name):
    if name == "small resnet":
        return SmallResNet(num_classes=3, in_channels=1, image_size=(32, 32)), (1, 1, 32, 32)
    if name == "timm":
        return timm.create_model("resnet10t", num_classes=3), (1, 3, 64, 64)
    if name == "timm with our head":
        head = {"_target_": "common.model.networks.heads.ConvHead"}
        part = {"_target_": "common.model.networks.backbones.timm_model", "name": "resnet10t", "head": head}
        return build(part, num_classes=3, in_channels=3, image_size=(96, 96)), (1, 3, 96, 96)
    if name == "efficientnet":
        part = {"_target_": "common.model.networks.backbones.efficientnet", "name": "efficientnet-b0"}
        return build(part, num_classes=3, in_channels=3, image_size=(64, 64)), (1, 3, 64, 64)
    if name == "transformer":
        options = {"img_size": (32, 48), "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
        return timm.create_model("vit_tiny_patch16_224", num_classes=3, **options), (1, 3, 32, 48)
    options = {"img_size": 32, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2), "window_size": 2}
    return timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, **options), (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("small resnet", "stages", (256, 2, 2)),
        ("timm", "layer4", (512, 2, 2)),
        ("timm with our head", "backbone", (512, 3, 3)),
        ("efficientnet", "_bn1", (1280, 2, 2)),
        ("transformer", "blocks.1.norm1", (24, 2, 3)),
        ("windows", "norm", (24, 4, 4)),
    ],
)
def test_the_last_map_of_networks(name, layer, shape):
    net, images = network(name)
    net = net.eval().requires_grad_(False)
    found, as_map = last_map(net, net, images)
    seen = []
    found.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    net(torch.zeros(images))
    assert (as_map(seen[0]) if as_map else seen[0]).shape[1:] == shape
    names = {name for name, one in net.named_modules(remove_duplicate=False) if one is found}
    assert any(one == layer or one.startswith(f"{layer}.") for one in names), names


class Branches(nn.Module):
    """The leaf's branch comes first; what comes last does not reach the leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.leaf, self.parent = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)

    def forward(self, images):
        leaf, parent = self.leaf(images), self.parent(images)
        return leaf.mean((2, 3)) + 0 * parent.mean((2, 3)).detach()


def test_a_map_that_the_class_does_not_depend_on_does_not_count():
    net = Branches()
    assert last_map(net, net, (1, 1, 4, 4))[0] is net.leaf


def test_networks_without_a_map_have_none():
    net = TwoLevels(num_classes=3, in_channels=1, image_size=(4, 4))
    with pytest.raises(NoMap):
        last_map(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), net, (1, 1, 4, 4))


def test_the_overlay_leaves_what_is_cold_and_colours_what_is_hot():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(overlay(picture, np.zeros((4, 4))), picture)
    red, _, blue = overlay(picture, np.ones((4, 4))).astype(int)[..., :3].transpose(2, 0, 1) - (
        1 - STRENGTH
    ) * picture.transpose(2, 0, 1)
    assert (red > blue).all()
