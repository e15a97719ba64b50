"""The network of the original TinyMind entry: a fully convolutional ResNet for grey characters.

Three unpadded 3x3 convolutions (1 → 16 → 32 → 64 channels) stand in for the 7x7 of ImageNet's ResNet, whose
first pooling and four stages follow. Sides of the maps of a 128-pixel character:

    128 → 126 → 124 → 122 (stem) → 61 (pooling) → 61 → 31 → 16 → 8 (stages) → 3 (head) → 1

https://github.com/xungeer29/TinyMind-Chinese-Character-Calligraphy-Recognition
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import PodiumError
from common.model.networks.heads import ConvHead
from common.model.networks.pretrained import from_hub, load_weights


class CalligraphyNet(nn.Module):
    """ResNet of `depth` 18, 34, 50, 101 or 152 with the stem above.

    head: "conv", the better one: `ConvHead`, with 1024 hidden channels from depth 50 on; for images from 39
    pixels a side, 71 from depth 50 on.
    "linear", the earlier one: `NormalisedLinearHead`; eight times the weights, and bound to its image size.
    dropout: before each layer of the linear head, in [0, 1).
    pretrained: for the stages: "none", "hub" (ImageNet) or a file; a file may also be a checkpoint of this
    network.
    """

    def __init__(
        self,
        depth: int = 18,
        *,
        num_classes: int,
        in_channels: int,
        image_size: Sequence[int],
        head: str = "conv",
        dropout: float = 0.5,
        pretrained: str | None = "none",
    ) -> None:
        super().__init__()
        if depth not in (18, 34, 50, 101, 152):
            raise PodiumError(f"model.depth must be 18, 34, 50, 101 or 152, got {depth}")
        name = f"resnet{depth}"
        if pretrained == "hub":
            resnet: Any = from_hub(name, partial(timm.create_model, name, pretrained=True))
        else:
            resnet = timm.create_model(name)

        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 16, kernel_size=3), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, kernel_size=3), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, kernel_size=3),
        )  # fmt: skip
        # Under timm's names, so that weights of a ResNet fit as they are.
        self.bn1, self.act1, self.maxpool = resnet.bn1, resnet.act1, resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        self.head = make_head(head, resnet.num_features, num_classes, image_size, dropout)
        if pretrained != "hub":
            load_weights(self, pretrained, name=name, first_conv="stem.0")

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.stem(images))))
        return self.head(self.layer4(self.layer3(self.layer2(self.layer1(x)))))

    def get_classifier(self) -> nn.Module:
        return self.head


def make_head(
    kind: str, in_features: int, num_classes: int, image_size: Sequence[int], dropout: float
) -> nn.Module:
    """The head `kind`, "conv" or "linear", for the map that the stages make of images of `image_size`."""
    if kind not in ("conv", "linear"):
        raise PodiumError(f'model.head must be "conv" or "linear", got {kind!r}')
    wide = in_features > 512
    height, width = (-(-(side - 6) // 16) for side in image_size)  # 6 lost in the stem, then four halvings
    least = {"conv": 5 if wide else 3, "linear": 7 if wide else 3}[kind]
    if min(height, width) < least:
        raise PodiumError(
            f"model.head={kind} needs images of at least {16 * (least - 1) + 7} pixels a side, "
            f"got {tuple(image_size)}"
        )
    if kind == "conv":
        return ConvHead(in_features, num_classes, hidden=1024 if wide else None)
    return NormalisedLinearHead(in_features, num_classes, (height, width), least, dropout)


class NormalisedLinearHead(nn.Module):
    """Average pooling, then two linear layers, each on an input of length 1 with dropout.

    At 128 pixels and depth 18: 18432 → 4608 → classes.
    map_size: (H, W) of the features. kernel: side of the pooling window.
    """

    def __init__(
        self, in_features: int, num_classes: int, map_size: tuple[int, int], kernel: int, dropout: float
    ) -> None:
        super().__init__()
        height, width = (side - kernel + 1 for side in map_size)
        flat = in_features * height * width
        self.map_size = map_size
        self.pool = nn.AvgPool2d(kernel, stride=1)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(flat, flat // 4)
        self.fc2 = nn.Linear(flat // 4, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        if features.shape[-2:] != self.map_size:
            raise ValueError(
                f"head=linear was built for maps of {self.map_size}, got {tuple(features.shape[-2:])}: "
                "images must have the size that the model was built for"
            )
        x = F.normalize(self.pool(features).flatten(1))
        return self.fc2(self.dropout(F.normalize(self.fc1(self.dropout(x)))))
