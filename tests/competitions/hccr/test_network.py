"""The original's network: its maps, its weights, and where the odd pixel is padded."""

import pytest
import torch
import torch.nn.functional as F

from common.errors import PodiumError
from competitions.hccr.network import Block, HccrNet

TASK = {"num_classes": 3755, "in_channels": 1, "image_size": (112, 112)}


def test_maps_have_the_sides_of_the_original():
    with torch.device("meta"):
        net = HccrNet(**TASK)
    sides = []
    for part in (net.stem[0], net.stem, *net.stages):
        part.register_forward_hook(lambda _module, _images, output: sides.append(output.shape[1:]))
    assert net.eval()(torch.empty(2, 1, 112, 112, device="meta")).shape == (2, 3755)
    assert [shape[-1] for shape in sides] == [56, 28, 28, 14, 7, 4]
    assert [shape[0] for shape in sides[2:]] == [128, 256, 512, 1024]


def test_it_has_the_parameters_of_its_description():
    with torch.device("meta"):
        net = HccrNet(**TASK)
    count = 64 * 49 + 2 * 64
    before = 64
    for width in (128, 256, 512, 1024):
        for first in (before, width):
            count += 9 * first * width // 4 + 2 * width // 4 + 9 * width // 4 * width + 2 * width
        count += before * width + 2 * width
        before = width
    assert sum(parameter.numel() for parameter in net.parameters()) == count + 1024 * 3755 + 3755


def test_weights_begin_as_the_originals():
    torch.manual_seed(0)
    net = HccrNet(**TASK)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.bias is None
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and module.weight.numel() > 10_000:
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.05)
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-4, 0.1)
        if isinstance(module, Block):
            assert (module.norm2.weight == 0).all() and (module.norm1.weight == 1).all()


def test_the_odd_pixel_is_padded_below_and_to_the_right():
    """As TensorFlow's and MindSpore's «same»: (side / stride, rounded up) pixels out, the smaller half before."""
    net = HccrNet(num_classes=3, in_channels=1, image_size=(112, 112)).eval()
    images = torch.randn(2, 1, 112, 112)
    conv = net.stem[0]
    expected = F.conv2d(F.pad(images, (2, 3, 2, 3)), conv.weight, stride=2)
    torch.testing.assert_close(conv(images), expected)
    pooled = F.max_pool2d(F.pad(expected, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    torch.testing.assert_close(net.stem[3](expected), pooled)
    conv = net.stages[1][0].conv1
    x = torch.randn(2, 128, 28, 28)
    torch.testing.assert_close(
        conv(x), F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, stride=2), rtol=1e-4, atol=1e-5
    )


def test_everything_learns_after_a_step():
    net = HccrNet(num_classes=3, in_channels=1, image_size=(48, 48), widths=(16, 32), depths=(1, 2))
    for _ in range(2):  # the last norms begin at 0, and stop the gradient once
        net.zero_grad()
        net(torch.randn(4, 1, 48, 48)).square().sum().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= parameter.grad
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_depths_must_fit_widths():
    with pytest.raises(PodiumError, match=r"model.depths must have as many numbers"):
        HccrNet(**TASK, depths=(2, 2))
