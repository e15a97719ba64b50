import pytest
import torch
from torch import nn

from common.callbacks.freeze import Freeze
from common.model.networks.backbones import efficientnet, timm_model
from common.model.networks.frozen_features import Unlike, features_of, head_on_features
from common.model.networks.heads import ConvHead, CosineHead, LinearHead
from common.model.networks.level_heads import level_model
from common.model.networks.small_resnet import SmallResNet

TASK = {"num_classes": 4, "in_channels": 3, "image_size": (64, 64)}
NETS = {
    "functional dropout": lambda: timm_model("resnet18", dropout=0.3, **TASK),
    "drop path in the backbone": lambda: timm_model(
        "tf_efficientnet_lite0", dropout=0.2, drop_path=0.2, **TASK
    ),
    "layers between pooling and classifier": lambda: timm_model("mobilenetv3_small_050", dropout=0.2, **TASK),
    "dropout as a module": lambda: timm_model("vit_tiny_patch16_224", dropout=0.4, **TASK),
    "classifier within a head": lambda: timm_model("regnety_002", dropout=0.2, **TASK),
    "linear head": lambda: timm_model(
        "resnet18", head={"_target_": "common.model.networks.heads.LinearHead", "dropout": 0.2}, **TASK
    ),
    "cosine head": lambda: timm_model("resnet18", head=CosineHead, **TASK),
    "levels": lambda: level_model("resnet18", level_sizes={"group": 2}, dropout=0.2, **TASK),
    "ours": lambda: SmallResNet(widths=(8, 8), depths=(1, 1), stem=8, dropout=0.3, **TASK),
    "efficientnet-pytorch": lambda: efficientnet("efficientnet-b0", dropout=0.3, **TASK),
}


class Module(nn.Module):
    """As far as features are concerned, an ImageClassifier."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net((images - 0.4) / 0.2)


def frozen(net):
    module = Module(net)
    Freeze(["backbone"]).set_learning(module, False)
    return module


def seeded(function, *arguments):
    torch.manual_seed(3)
    return function(*arguments)


def close(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = (torch.cat(list(levels.values()), dim=1) for levels in (one, other))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_the_classifier_on_features_is_the_network_on_images(make):
    module, images = frozen(make()), torch.rand(6, 3, 64, 64)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    head = head_on_features(module, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    modes = {name: part.training for name, part in module.net.named_modules()}
    with torch.no_grad():
        module.eval()
        features = features_of(module, images)
        close(head(features), module(images))
        for name, part in module.net.named_modules():
            part.training = modes[name]
        assert module.net.training
        close(seeded(head, features), seeded(module, images))


def test_heads_that_pool_need_one_number_a_map():
    pooled = frozen(timm_model("resnet18", head=LinearHead, **TASK)).eval()
    whole = frozen(timm_model("resnet18", head=ConvHead, **TASK | {"image_size": (160, 160)})).eval()
    with torch.no_grad():
        assert features_of(pooled, torch.rand(2, 3, 64, 64)).shape == (2, 512, 1, 1)
        assert features_of(whole, torch.rand(2, 3, 160, 160)).shape == (2, 512, 5, 5)


class AddsNoise(nn.Module):
    """Trains with more than dropout between backbone and classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def features(self, images):
        return self.stem(images).mean((-2, -1))

    def forward(self, images):
        features = self.features(images)
        return self.fc(features + torch.randn_like(features) if self.training else features)

    def get_classifier(self):
        return self.fc


class LooksTwice(AddsNoise):
    def forward(self, images):
        return self.fc(self.features(images)) + self.fc(self.features(images.flip(-1)))


class Bypasses(AddsNoise):
    def forward(self, images):
        return self.fc(self.features(images)) + images.mean()


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (AddsNoise, "more than dropout"),
        (LooksTwice, "once"),
        (Bypasses, "more with its images"),
        (nn.Identity, "name"),
    ],
)
def test_what_would_train_another_model_is_refused(net, why):
    module = Module(net()) if net is nn.Identity else frozen(net())
    with pytest.raises(Unlike, match=why):
        head_on_features(module, torch.rand(4, 3, 16, 16))
    assert module.net.training
