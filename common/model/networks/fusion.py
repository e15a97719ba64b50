"""Networks that classify by several depths of a backbone at once: edges and textures beside whole things."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import PodiumError
from common.model.networks.backbones import Head, WithHead, fitting_head, output_shape, timm_model
from common.model.networks.heads import DenseHead


def fused_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: Sequence[int],
    depths: Sequence[int] = (-3, -2),
    pretrained: str | None = "none",
    drop_path: float = 0.0,
    head: Head | None = None,
) -> nn.Module:
    """A network of timm whose head sees the means of its last map and of earlier ones, side by side.

    depths: of the stages that timm's `features_only` returns, counted from the first, 0, or from the last, -1; the
        network's own last map is always there.
    head: called with in_features, the channels of all these maps, and num_classes. None: DenseHead without hidden
        layers, which brings them to one scale.
    name, pretrained, drop_path, image_size: as in `timm_model`.
    Raises PodiumError for a depth or a network that has none, and as `timm_model`.
    """
    network: Any = timm_model(
        name,
        num_classes=1,
        in_channels=in_channels,
        image_size=image_size,
        pretrained=pretrained,
        drop_path=drop_path,
        head=DenseHead,
    )
    backbone = Depths(network.backbone, depths, name)
    shape = output_shape(backbone, (1, in_channels, *image_size))
    return WithHead(backbone, fitting_head(head or _linear, shape, name, image_size, num_classes))


class Depths(nn.Module):
    """The means of several maps of a network: images (B, C, H, W) → (B, channels of all maps, 1, 1).

    Args:
        trunk: a network of timm without pooling and classifier.
        depths: see `fused_model`.
        name: the network's, for messages.
    """

    def __init__(self, trunk: Any, depths: Sequence[int], name: str) -> None:
        super().__init__()
        stages = len(getattr(trunk, "feature_info", None) or ())
        if not stages or not hasattr(trunk, "forward_intermediates"):
            raise PodiumError(f"model.name: timm has no maps of several depths of {name}; choose model=timm")
        wrong = [depth for depth in depths if not -stages <= depth < stages]
        if wrong or not depths:
            raise PodiumError(
                f"model.depths must be stages of {name}, 0 to {stages - 1} or -1 to -{stages}, at least one; "
                f"got {wrong[0] if wrong else list(depths)}"
            )
        self.trunk = trunk
        self.depths = sorted({depth % stages for depth in depths})

    def forward(self, images: Tensor) -> Tensor:
        last, maps = self.trunk.forward_intermediates(images, indices=self.depths, output_fmt="NCHW")
        return torch.cat([one.mean((-2, -1), keepdim=True) for one in (*maps, self._head_map(last))], dim=1)

    def _head_map(self, last: Tensor) -> Tensor:
        """What timm's own classifier would pool, (B, F, H, W)."""
        return self.trunk.forward_head(last, pre_logits=True)


def _linear(in_features: int, num_classes: int) -> nn.Module:
    return DenseHead(in_features, num_classes, hidden=[], dropout=0.0)
