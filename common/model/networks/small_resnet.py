"""SmallResNet: a residual network for small pictures, made for the speed of few CPU cores."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import PodiumError


class SmallResNet(nn.Module):
    """(B, C, H, W) → logits (B, K).

    A stride-2 stem, then stages of residual blocks that each halve the map, then the mean over the map and a linear
    classifier. It gets its speed from leaving the large maps early: at 64 pixels the blocks work on 16, 8 and 4.
    Shortcuts shrink by average pooling («ResNet-D», He et al., «Bag of Tricks», CVPR 2019), and each block starts as
    the identity (its last norm's scale is zero; Goyal et al. 2017).

    Args:
        num_classes, in_channels: K and C.
        image_size: (H, W), at least 2^(stages + 1) pixels a side.
        stem: channels of the stem.
        widths: channels of each stage.
        depths: blocks of each stage, as many numbers as `widths`.
        dropout: before the classifier, in [0, 1).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        stem: int = 32,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (1, 1, 1),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise PodiumError(
                f"model.depths must have as many numbers as model.widths {list(widths)}, got {list(depths)}"
            )
        least = 2 ** (len(widths) + 1)
        if min(image_size) < least:
            raise PodiumError(
                f"data.size {list(image_size)} is too small for this network: at least {least} pixels a side"
            )
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(True)
        )
        stages, channels = [], stem
        for width, depth in zip(widths, depths, strict=True):
            blocks = [
                Block(channels if first == 0 else width, width, 2 if first == 0 else 1)
                for first in range(depth)
            ]
            stages.append(nn.Sequential(*blocks))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))
        return self.head(features.mean(dim=(2, 3)))

    def get_classifier(self) -> nn.Module:
        """The layers that are new for each set of classes."""
        return self.head


class Block(nn.Module):
    """relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))), the first convolution with the stride."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if in_channels != channels:
            shortcut += [nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)
