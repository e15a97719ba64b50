import pytest
import timm
import torch

from common.errors import PodiumError
from competitions.calligraphy.network import CalligraphyNet

TASK = {"num_classes": 100, "in_channels": 1, "image_size": (128, 128)}


def sides(net: CalligraphyNet, size: int = 128) -> list[int]:
    """Sides of the maps: after the stem, the pooling, each stage, and of all inside the head."""
    found: list[int] = []
    parts = [net.stem, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
    parts += [module for module in net.head.modules() if isinstance(module, torch.nn.Conv2d)]
    for part in parts:
        part.register_forward_hook(lambda _module, _images, output: found.append(output.shape[-1]))
    images = torch.empty(2, 1, size, size, device="meta")
    assert net.eval()(images).shape == (2, 100)
    return found


@pytest.mark.parametrize(
    ("depth", "head"), [(18, [3]), (34, [3]), (50, [6, 2]), (101, [6, 2]), (152, [6, 2])]
)
def test_maps_have_the_sides_of_the_original(depth, head):
    with torch.device("meta"):
        net = CalligraphyNet(depth, **TASK)
    assert sides(net) == [122, 61, 61, 31, 16, 8, *head]


def megabytes_of_the_original(net: CalligraphyNet) -> float:
    """Size of its file: it kept the ResNet's own first convolution and classifier, which it did not use."""
    resnet = timm.create_model("resnet18")
    unused = sum(parameter.numel() for part in (resnet.conv1, resnet.fc) for parameter in part.parameters())
    return 4 * (unused + sum(tensor.numel() for tensor in net.state_dict().values())) / 1e6


@pytest.mark.parametrize(("head", "published"), [("conv", 48.8), ("linear", 390.4)])
def test_resnet18_is_as_large_as_the_published_one(head, published):
    with torch.device("meta"):
        net = CalligraphyNet(18, head=head, **TASK)
        assert megabytes_of_the_original(net) == pytest.approx(published, rel=0.005)


def test_parameters_are_those_of_the_three_parts_and_all_of_them_learn():
    net = CalligraphyNet(18, **TASK)
    stem = 1 * 16 * 9 + 16 + 16 * 32 * 9 + 32 + 32 * 64 * 9 + 64 + 2 * (16 + 32)
    resnet = timm.create_model("resnet18")
    stages = sum(
        parameter.numel()
        for name, parameter in resnet.named_parameters()
        if name.startswith(("bn1.", "layer"))
    )
    head = 512 * 100 * 9 + 100
    assert sum(parameter.numel() for parameter in net.parameters()) == stem + stages + head
    net(torch.randn(2, 1, 64, 64)).square().sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_linear_head_has_the_sizes_of_the_original():
    with torch.device("meta"):
        net = CalligraphyNet(18, head="linear", **TASK)
    assert net.head.fc1.weight.shape == (4608, 18432)
    assert net.head.fc2.weight.shape == (100, 4608)
    assert (len(net.head.fc1.bias), len(net.head.fc2.bias)) == (4608, 100)


def test_linear_head_does_not_see_the_contrast_of_the_features():
    net = CalligraphyNet(18, head="linear", num_classes=3, in_channels=1, image_size=(48, 48)).eval()
    features = torch.rand(2, 512, 3, 3)
    torch.testing.assert_close(net.head(features), net.head(features * 5))
    with pytest.raises(ValueError, match="images must have the size that the model was built for"):
        net(torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize("size", [39, 64, 97, 160])
def test_conv_head_takes_images_of_any_size(size):
    with torch.device("meta"):
        net = CalligraphyNet(18, **TASK | {"image_size": (size, size)})
    assert sides(net, size)[-1] >= 1


@pytest.mark.parametrize(
    ("depth", "head", "least"), [(18, "conv", 39), (50, "conv", 71), (18, "linear", 39), (50, "linear", 103)]
)
def test_smallest_image_is_named_and_works(depth, head, least):
    with torch.device("meta"):
        net = CalligraphyNet(depth, head=head, **TASK | {"image_size": (least, 128)}).eval()
        assert net(torch.empty(1, 1, least, 128)).shape == (1, 100)
        with pytest.raises(PodiumError, match=f"at least {least} pixels a side, got .*{least - 1}, 128"):
            CalligraphyNet(depth, head=head, **TASK | {"image_size": (least - 1, 128)})


def test_weights_of_a_resnet_fill_the_stages_and_a_checkpoint_everything(tmp_path):
    resnet = timm.create_model("resnet18")
    for tensor in resnet.state_dict().values():
        tensor.add_(1)
    torch.save(resnet.state_dict(), tmp_path / "resnet.pt")
    task = TASK | {"num_classes": 3, "image_size": (64, 64)}
    net = CalligraphyNet(18, pretrained=str(tmp_path / "resnet.pt"), **task)
    same = [
        name
        for name, tensor in resnet.state_dict().items()
        if torch.equal(tensor, net.state_dict().get(name, torch.empty(0)))
    ]
    assert set(resnet.state_dict()) - set(same) == {"conv1.weight", "fc.weight", "fc.bias"}

    torch.save(
        {"state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()}},
        tmp_path / "own.ckpt",
    )
    again = CalligraphyNet(18, pretrained=str(tmp_path / "own.ckpt"), **task)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 20}, "model.depth must be 18, 34, 50, 101 or 152, got 20"),
        ({"head": "fc"}, "model.head must be"),
    ],
)
def test_bad_setting_is_named(setting, message):
    with pytest.raises(PodiumError, match=message):
        CalligraphyNet(**setting, **TASK)
