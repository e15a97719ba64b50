"""Heads: from the last feature map of a backbone (B, F, H, W) to logits (B, K).

Some have `chunk`: in training their logits are then deferred, and never exist for more than that many images at once,
which saves memory where there are very many classes (common/model/deferred.py).
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import PodiumError
from common.model.deferred import DeferredLogits, check_chunk
from common.model.networks.backbone_parts import classifiers_of
from common.model.precision import at_least_float32, without_autocast


class LinearHead(nn.Module):
    """Global average, dropout, one linear layer: the head of most published networks.

    dropout: share of features set to 0 in training, in [0, 1).
    chunk: images whose logits exist at once in training, ≥ 1; None: all.
    """

    pools = (
        True  # all that it sees of a map is its mean: features can be computed once, see frozen_features.py
    )

    def __init__(
        self, in_features: int, num_classes: int, dropout: float = 0.0, chunk: int | None = None
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, num_classes)
        self.chunk = check_chunk(chunk)

    def forward(self, features: Tensor) -> Tensor | DeferredLogits:
        pooled = self.dropout(features.mean((-2, -1)))
        if self.training and self.chunk:
            return DeferredLogits(pooled, self.fc.weight, self.fc.bias, chunk=self.chunk)
        return self.fc(pooled)


class DenseHead(nn.Module):
    """Global average, then dense layers with dropout before the last: what is put on a frozen backbone.

    Each feature is first brought to one scale over the batch (batch norm), since those of different depths, or of
    networks trained for something else, differ in size by far.

    hidden: features of the dense layers, each followed by ReLU and dropout; [] for none.
    dropout: share of features set to 0 in training, before the first layer too, in [0, 1).
    """

    pools = True

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden: list[int] = [512],  # noqa: B006  (never changed)
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise PodiumError(f"model.head.hidden must be numbers of features, each at least 1, got {hidden}")
        layers: list[nn.Module] = [nn.BatchNorm1d(in_features), nn.Dropout(dropout)]
        for before, width in pairwise([in_features, *hidden]):
            layers += [nn.Linear(before, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.dense = nn.Sequential(*layers)
        self.fc = nn.Linear(hidden[-1] if hidden else in_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(self.dense(features.mean((-2, -1))))


class Float32:
    """Mixed into a layer, lets it compute in float32, under autocast too."""

    def forward(self, features: Tensor) -> Tensor:
        with without_autocast(features.device):
            return super().forward(at_least_float32(features))  # type: ignore[misc]


@cache
def _in_float32(kind: type) -> type:
    return type(f"Float32{kind.__name__}", (Float32, kind), {})


def end_in_float32(net: nn.Module, sizes: Iterable[int]) -> nn.Module:
    """Let the layers that give a network's logits compute in float32; without autocast nothing changes.

    Logits of 16 bits are so coarse that among many classes the best ones are often equal. sizes: numbers of classes.
    """
    parts, wanted = classifiers_of(net), {*sizes}
    layers = [
        one for part in parts or [net] for one in part.modules() if isinstance(one, nn.Linear | nn.Conv2d)
    ]
    last = [one for one in layers if getattr(one, "out_features", getattr(one, "out_channels", 0)) in wanted]
    for layer in last if parts else last[-1:]:
        if not isinstance(layer, Float32):
            layer.__class__ = _in_float32(type(layer))  # type: ignore[arg-type]
    return net


class ConvHead(nn.Module):
    """A fully convolutional classifier: 3x3 convolution of stride 2 to one map per class, then its average.

    It sees where a stroke is, which a global average does not, with far fewer weights than a fully connected
    layer on the flattened map. Nothing is padded, so the map must be at least 3 pixels a side, or 5 with
    `hidden`.

    hidden: channels of a 3x3 convolution, batch norm and ReLU before it, for wide backbones; None leaves it
    out.
    dropout: share of feature channels set to 0 in training, in [0, 1).
    """

    def __init__(
        self, in_features: int, num_classes: int, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.squeeze = nn.Identity() if hidden is None else _conv_norm_act(in_features, hidden)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(hidden or in_features, num_classes, kernel_size=3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        return self.classify(self.dropout(self.squeeze(features))).mean((-2, -1))


def _conv_norm_act(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class CosineHead(nn.Module):
    """Global average, dropout, then `scale` times the cosine between the features and each class's row of weights.

    Lengths do not count and there is no bias, so a class is a direction, and what a margin takes away
    (common/model/margins.py) is an angle. Returns logits in [-scale, scale], float32 at least: under autocast and
    in bf16 models too, since just below 1, where the margins work, bf16 has steps of 0.4 %.

    scale: > 0, the s of ArcFace. A class of K can reach 99 % from log(99 (K - 1)) on: 8 for 40 classes, 15.4 for
    50,030 (Wang et al. 2017, «NormFace», https://arxiv.org/abs/1704.06369).
    dropout, chunk: as in `LinearHead`.
    """

    pools = True

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        scale: float = 32.0,
        dropout: float = 0.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise PodiumError(f"model.head.scale must be above 0, got {scale}")
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, num_classes, bias=False)
        self.chunk = check_chunk(chunk)

    def forward(self, features: Tensor) -> Tensor | DeferredLogits:
        with without_autocast(features.device):
            pooled = self.dropout(at_least_float32(features).mean((-2, -1)))
            scaled = self.scale * F.normalize(pooled)
            if self.training and self.chunk:
                return DeferredLogits(scaled, self.fc.weight, unit_rows=True, chunk=self.chunk)
            return F.linear(scaled, F.normalize(at_least_float32(self.fc.weight)))
