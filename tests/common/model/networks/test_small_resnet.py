"""SmallResNet: shapes, sizes that do not fit, and blocks that begin as the identity."""

import pytest
import torch

from common.errors import PodiumError
from common.model.networks.small_resnet import Block, SmallResNet


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (48, 72), (33, 65)])
def test_any_size_from_the_least_on_gives_logits(size):
    net = SmallResNet(num_classes=7, in_channels=1, image_size=size, widths=(8, 16, 24), stem=8)
    assert net(torch.rand(2, 1, *size)).shape == (2, 7)


def test_maps_halve_at_the_stem_and_at_every_stage():
    net = SmallResNet(num_classes=7, in_channels=3, image_size=(64, 64), depths=(1, 2, 1))
    maps = [net.stem(torch.rand(1, 3, 64, 64))]
    for stage in net.stages:
        maps.append(stage(maps[-1]))
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]


def test_a_new_block_is_its_shortcut():
    block = Block(16, 16, stride=1).eval()
    x = torch.rand(2, 16, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_what_does_not_fit_is_named():
    with pytest.raises(PodiumError, match=r"data\.size \[12, 64\] is too small.*at least 16"):
        SmallResNet(num_classes=7, in_channels=1, image_size=(12, 64))
    with pytest.raises(PodiumError, match=r"model\.depths must have as many numbers"):
        SmallResNet(num_classes=7, in_channels=1, image_size=(64, 64), depths=(1, 1))
