"""Margin losses on a cosine head: a class must win by a margin, so that classes draw together and apart.

They take the logits of a `CosineHead`, scale · cos θ, where θ is the angle between an image's features and a
class's row. While training, the cosine of the image's own class is replaced by a smaller one, ψ(cos θ), and the
cross-entropy of the outcome is the loss; in evaluation it is that of the logits as they are. As all losses of
`common/model/losses.py`: `forward(logits (B, K), target) -> (B,)`, in float32 at least.

A target of probabilities gets the margin in proportion: scale · (cos + t · (ψ(cos) - cos)) for a class whose share
is t, which for a one-hot target is the margin as published. `smoothing` spreads the target of the cross-entropy
alone, after the margin.
"""

import math

import torch
from torch import Tensor, nn

from common.errors import PodiumError
from common.model.losses import CrossEntropy, check_target
from common.model.networks.heads import CosineHead
from common.model.precision import at_least_float32


class NormFace(CrossEntropy):
    """Cross-entropy on a cosine head, without a margin.

    Wang et al. 2017, https://arxiv.org/abs/1704.06369.

    scale: the head's. smoothing: as in `CrossEntropy`.
    """

    def __init__(self, scale: float, smoothing: float = 0.0) -> None:
        super().__init__(smoothing)
        self.scale = scale

    def check_head(self, network: nn.Module) -> None:
        """Raise PodiumError unless `network` has cosine heads, all of this scale."""
        scales = {module.scale for module in network.modules() if isinstance(module, CosineHead)}
        if not scales:
            raise PodiumError(
                f"loss: {type(self).__name__} needs a network with a cosine head: choose model=timm_cosine, "
                "or a CosineHead as model.head"
            )
        if scales != {self.scale}:
            raise PodiumError(
                f"loss.scale must be the head's, {', '.join(map(str, sorted(scales)))}, got {self.scale}: "
                "leave it out and set model.head.scale"
            )


class MarginLoss(NormFace):
    """What the margins have in common; each says in `reduced` what becomes of a cosine."""

    def reduced(self, cos: Tensor) -> Tensor:
        """ψ(cos θ) of any shape, at most cos θ, with finite gradients at ±1 too."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_target(logits, target)
        logits = at_least_float32(logits)
        if self.training:
            self._check_range(logits)
            logits = self._with_margin(logits, target)
        return super().forward(logits, target)

    def _with_margin(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            cos = logits / self.scale
            return logits + self.scale * target.to(logits.dtype) * (self.reduced(cos) - cos)
        own = target[:, None]
        return logits.scatter(1, own, self.scale * self.reduced(logits.gather(1, own) / self.scale))

    def _check_range(self, logits: Tensor) -> None:
        """On the CPU only: elsewhere it would wait for the device."""
        if logits.device.type == "cpu" and logits.numel():
            low, high = torch.aminmax(logits.detach())
            if max(-low, high) > self.scale * 1.001:
                raise PodiumError(
                    f"loss: {type(self).__name__} takes scale · cos with scale {self.scale}, but logits reach from "
                    f"{low:.1f} to {high:.1f}: they are no cosines, or loss.scale is not the head's"
                )


class ArcFace(MarginLoss):
    """ψ = cos(θ + margin): the margin is an angle.

    Deng et al. 2019, https://arxiv.org/abs/1801.07698. Beyond θ = π - margin, where cos(θ + margin) would rise
    again, it goes on as cos θ - margin · sin(margin), so that it falls all the way, as in the authors' code.

    scale, smoothing: as in `NormFace`. margin: radians, in [0, π/2].
    easy: a margin only where θ < π/2; images that are further off get cos θ as it is, which is gentler at the start.
    """

    def __init__(self, scale: float, margin: float = 0.5, easy: bool = False, smoothing: float = 0.0) -> None:
        super().__init__(scale, smoothing)
        if not 0 <= margin <= math.pi / 2:
            raise PodiumError(f"loss.margin must be an angle in [0, 1.57] radians, got {margin}")
        self.margin = margin
        self.easy = easy

    def reduced(self, cos: Tensor) -> Tensor:
        turned = cos * math.cos(self.margin) - sine(cos) * math.sin(self.margin)
        if self.easy:
            return torch.where(cos > 0, turned, cos)
        return torch.where(cos > -math.cos(self.margin), turned, cos - self.margin * math.sin(self.margin))


class CosFace(MarginLoss):
    """ψ = cos θ - margin.

    Wang et al. 2018, https://arxiv.org/abs/1801.09414. scale, smoothing: as in `NormFace`. margin: in [0, 1].
    """

    def __init__(self, scale: float, margin: float = 0.35, smoothing: float = 0.0) -> None:
        super().__init__(scale, smoothing)
        if not 0 <= margin <= 1:
            raise PodiumError(f"loss.margin must be in [0, 1], got {margin}")
        self.margin = margin

    def reduced(self, cos: Tensor) -> Tensor:
        return cos - self.margin


class SphereFace(MarginLoss):
    """ψ = (-1)^k cos(margin · θ) - 2k with k = ⌊margin · θ / π⌋: the angle counts `margin` times.

    Liu et al. 2017, https://arxiv.org/abs/1704.08063; here the features are normalised too, and margins between
    integers are allowed: ψ is continuous and falls all the way for any margin from 1 on.

    scale, smoothing: as in `NormFace`. margin: factor of the angle, ≥ 1.
    """

    def __init__(self, scale: float, margin: float = 1.35, smoothing: float = 0.0) -> None:
        super().__init__(scale, smoothing)
        if not margin >= 1:
            raise PodiumError(f"loss.margin must be at least 1, the factor of the angle, got {margin}")
        self.margin = margin

    def reduced(self, cos: Tensor) -> Tensor:
        angle = self.margin * torch.atan2(sine(cos), cos)
        turns = (angle / math.pi).floor()
        return (1 - 2 * (turns % 2)) * angle.cos() - 2 * turns


def sine(cos: Tensor) -> Tensor:
    """sin θ ≥ 0 of an angle θ in [0, π] given by its cosine; kept off 0, where its gradient would be infinite."""
    return (1 - cos * cos).clamp_min(1e-7).sqrt()
