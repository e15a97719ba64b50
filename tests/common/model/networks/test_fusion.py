"""Several depths side by side, against the maps that timm's own features_only returns."""

import pytest
import timm
import torch
from torch import nn

from common.errors import PodiumError
from common.model.networks.backbone_parts import classifiers_of
from common.model.networks.fusion import fused_model
from common.model.networks.heads import CosineHead, DenseHead

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def fused(name="test_resnet", **options):
    torch.manual_seed(0)
    return fused_model(name, num_classes=5, in_channels=3, image_size=(64, 64), **options).eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "mobilenetv3_small_050"])
def test_the_head_sees_the_means_of_the_chosen_maps_and_of_the_last(name, tmp_path):
    model = fused(name, depths=[1, -2])
    trunk = model.backbone.trunk
    maps = timm.create_model(name, features_only=True, feature_cls="getter", out_indices=(1, -2)).eval()
    maps.model.load_state_dict(trunk.state_dict(), strict=False)
    with torch.no_grad():
        expected = [one.mean((-2, -1)) for one in (*maps(IMAGES), trunk(IMAGES))]
        found = model.backbone(IMAGES)
    assert found.shape[2:] == (1, 1)
    torch.testing.assert_close(found.flatten(1), torch.cat(expected, dim=1))
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), model.head(found))


def test_every_depth_learns_and_the_head_is_the_classifier():
    model = fused(depths=[0, 1], head=DenseHead).train()
    model(IMAGES).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert classifiers_of(model) == [model.head]
    cosine = fused(head={"_target_": "common.model.networks.heads.CosineHead", "scale": 12.0})
    assert isinstance(cosine.head, CosineHead) and cosine(IMAGES).abs().max() <= 12.001


def test_weights_of_the_plain_network_are_the_backbones(tmp_path):
    plain = timm.create_model("test_resnet", num_classes=7)
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    model = fused(pretrained=str(tmp_path / "plain.pt"))
    for name, tensor in model.backbone.trunk.state_dict().items():
        assert torch.equal(tensor, plain.state_dict()[name])


def test_features_can_be_computed_once_for_a_frozen_backbone():
    """What its classifier is given is one tensor, all that it needs."""
    from common.model.networks.frozen_features import features_of, head_on_features

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = fused(depths=[1, 2])

        def forward(self, images):
            return self.net(images)

    module = Module().eval()
    head = head_on_features(module, IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(head(features_of(module, IMAGES)), module(IMAGES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"depths": [5]},
            "model.depths must be stages of test_resnet, 0 to 4 or -1 to -5, at least one; got 5",
        ),
        ({"depths": []}, r"at least one; got \[\]"),
        ({"name": "test_vit"}, "not a map"),
        ({"name": "resnett"}, "timm has no 'resnett'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(PodiumError, match=message):
        fused(**options)
