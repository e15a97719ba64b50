"""The network of the original entry: said to be a ResNet-18, but four wider stages of blocks with a narrow middle.

Sides of the maps of a 112-pixel character:

    112 → 56 (7x7 convolution) → 28 (pooling) → 28 → 14 → 7 → 4 (stages) → 1

Where a stride does not fit, the odd pixel is padded at the bottom and at the right, as in TensorFlow and MindSpore.
https://github.com/HuiyanWen/mindspore_hccr
"""

from collections.abc import Sequence

import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn

from common.errors import PodiumError


class HccrNet(nn.Module):
    """(B, C, H, W) → logits (B, K), for images from 33 pixels a side.

    Weights start from a normal distribution of deviation 0.01, the last norm of each block from 0.

    Args:
        widths: channels of each stage.
        depths: blocks of each stage, as many numbers.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        widths: Sequence[int] = (128, 256, 512, 1024),
        depths: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise PodiumError(
                f"model.depths must have as many numbers as model.widths {list(widths)}, got {list(depths)}"
            )
        self.stem = nn.Sequential(_conv(in_channels, 64, 7, 2), _norm(64), nn.ReLU(True), MaxPool2dSame(3, 2))
        stages, channels = [], 64
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for first in range(depth):
                blocks.append(Block(channels, width, 2 if number and not first else 1))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stages(self.stem(images)).mean(dim=(2, 3)))

    def get_classifier(self) -> nn.Module:
        return self.fc


class Block(nn.Module):
    """relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))); the first has the stride and a quarter of the channels."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(in_channels, channels // 4, 3, stride), _norm(channels // 4)
        self.conv2, self.norm2 = _conv(channels // 4, channels, 3, 1), _norm(channels)
        nn.init.zeros_(self.norm2.weight)
        changes = stride > 1 or in_channels != channels
        shortcut = [_conv(in_channels, channels, 1, stride), _norm(channels)] if changes else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


def _conv(in_channels: int, channels: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = Conv2dSame(in_channels, channels, kernel, stride, bias=False)
    nn.init.normal_(conv.weight, std=0.01)
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(
        channels, eps=1e-4, momentum=0.1
    )  # MindSpore counts momentum the other way round: 0.9
