"""Losses, one value per sample.

Every loss is `forward(logits (B, K), target) -> (B,)` and is never reduced inside: which samples count, and
how much, is decided later (a mean, OHEM, a sum over the levels of a hierarchy). `target` is either

- (B,) int64, class indices in [0, K), or
- (B, K) floating point, class probabilities whose rows sum to 1.

A loss may say in `floor(target, K) -> (B,) or (1,)` what a prediction equal to the target costs, see `least`.

All of them compute in float32 at least, under autocast and in bf16 models too.

Smoothing follows `torch.nn.functional.cross_entropy`: `smoothing / K` goes to *every* class, the true one
included (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567). The other convention, `1 - s` on the class
and `s / (K - 1)` elsewhere, is the same thing with `smoothing = s * K / (K - 1)`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import PodiumError
from common.model.precision import at_least_float32


class CrossEntropy(nn.Module):
    """-sum_k t_k log p_k, for class indices and for probabilities.

    smoothing: share of the target spread evenly over all classes, in [0, 1).
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = check_smoothing(smoothing)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_target(logits, target)
        logits = at_least_float32(logits)
        if target.is_floating_point():
            target = target.to(logits.dtype)
        return F.cross_entropy(logits, target, reduction="none", label_smoothing=self.smoothing)

    def floor(self, target: Tensor, classes: int) -> Tensor:
        return torch.special.entr(likeness(target, classes, self.smoothing)).sum(-1)


class SoftCrossEntropy(nn.Module):
    """Cross-entropy with the probabilities of a teacher, at a temperature.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531.
    The logits are divided by `temperature` and the loss is multiplied by its square, so that the gradient
    keeps its scale. The target is taken as it comes: a teacher's softmax should have been taken at the same
    temperature. At temperature 1 it is `CrossEntropy`. temperature: > 0.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise PodiumError(f"loss.temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_target(logits, target)
        log_p = (at_least_float32(logits) / self.temperature).log_softmax(-1)
        return -(smoothed(target, log_p) * log_p).sum(-1) * self.temperature**2

    def floor(self, target: Tensor, classes: int) -> Tensor:
        return torch.special.entr(likeness(target, classes)).sum(-1) * self.temperature**2


class KLDivergence(nn.Module):
    """Kullback-Leibler divergence of the prediction from the target, sum_k t_k (log t_k - log p_k) >= 0.

    It is the cross-entropy less the entropy of the target: the same gradient, but 0 for a perfect prediction.
    smoothing: as in `CrossEntropy`.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = check_smoothing(smoothing)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_target(logits, target)
        log_p = at_least_float32(logits).log_softmax(-1)
        divergence = F.kl_div(log_p, smoothed(target, log_p, self.smoothing), reduction="none").sum(-1)
        return divergence.clamp_min(0)  # rounding can leave -1e-8


class Focal(nn.Module):
    """-alpha sum_k t_k (1 - p_k)^gamma log p_k: cross-entropy that fades for what is already right.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002. The factor is taken for each sample, not on the mean of
    a batch.

    gamma: >= 0; 0 is cross-entropy.
    alpha: weight per class, K positive numbers in label order; None weighs all classes 1. An image's loss is multiplied
        by the weight of its own class, or by the mean of the weights under a target of probabilities, before smoothing:
        so weights change how much an image counts, never what its best prediction is. torch's `weight=` multiplies
        each class's term of a smoothed target instead, and divides the mean by the sum of weights.
    smoothing: as in `CrossEntropy`.
    """

    alpha: Tensor | None

    def __init__(
        self, gamma: float = 2.0, alpha: Sequence[float] | None = None, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise PodiumError(f"loss.gamma must be at least 0, got {gamma}")
        if alpha is not None and min(alpha, default=0.0) <= 0:
            raise PodiumError(f"loss.alpha must be positive numbers, one per class, got {list(alpha)}")
        self.gamma = gamma
        self.smoothing = check_smoothing(smoothing)
        weights = None if alpha is None else torch.tensor(list(alpha), dtype=torch.float32)
        self.register_buffer(
            "alpha", weights, persistent=False
        )  # comes from the config, not from a checkpoint

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_target(logits, target)
        log_p = at_least_float32(logits).log_softmax(-1)
        wrong = -torch.expm1(log_p)  # 1 - p, exact where p is near 1
        # The least keeps the gradient of a power below 1 finite where p rounds to 1.
        terms = smoothed(target, log_p, self.smoothing) * wrong.clamp_min(1e-12) ** self.gamma * log_p
        return -terms.sum(-1) * self._weight(target, log_p)

    def floor(self, target: Tensor, classes: int) -> Tensor:
        p = likeness(target, classes, self.smoothing)
        return (torch.special.entr(p) * (1 - p) ** self.gamma).sum(-1) * self._weight(target, p)

    def _weight(self, target: Tensor, like: Tensor) -> Tensor | float:
        """Of each image, (B,), by its target before smoothing."""
        if self.alpha is None:
            return 1.0
        if len(self.alpha) != like.shape[-1]:
            raise PodiumError(f"loss.alpha has {len(self.alpha)} weights for {like.shape[-1]} classes")
        alpha = self.alpha.to(like.dtype)
        return target.to(like.dtype) @ alpha if target.is_floating_point() else alpha[target]


def least(loss: nn.Module, target: Tensor, classes: int) -> Tensor:
    """What `loss` is of a prediction equal to the target, float (B,): what of an image's loss is no mistake.

    It is the entropy of a mixed, smoothed or taught target for cross-entropy; 0 for a loss without `floor`. target: as
    the loss takes it.
    """
    floor = getattr(loss, "floor", None)
    least_loss = torch.zeros(1, device=target.device) if floor is None else floor(target, classes)
    return least_loss.expand(len(target))


def likeness(target: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """The target as smoothed probabilities (B, K) in float32 at least; of labels one row, (1, K), stands for all."""
    if not target.is_floating_point():
        target = F.one_hot(target.new_zeros(1), classes).float()
    target = at_least_float32(target)
    return smoothed(target, target, smoothing)


def smoothed(target: Tensor, like: Tensor, smoothing: float = 0.0) -> Tensor:
    """Target as probabilities (B, K) of the shape and dtype of `like`, `smoothing` of it spread evenly."""
    if not target.is_floating_point():
        target = F.one_hot(target, like.shape[-1])
    target = target.to(like.dtype)
    return target if smoothing == 0 else target * (1 - smoothing) + smoothing / like.shape[-1]


def check_smoothing(smoothing: float) -> float:
    if not 0 <= smoothing < 1:
        raise PodiumError(f"loss.smoothing must be in [0, 1), got {smoothing}")
    return smoothing


def check_target(logits: Tensor, target: Tensor) -> None:
    """Raise ValueError for a target of another shape or type, PodiumError for a label outside [0, K).

    Labels are looked at on the CPU only: elsewhere it would wait for the device.
    """
    if target.is_floating_point():
        if target.shape != logits.shape:
            raise ValueError(f"probabilities {tuple(target.shape)} do not fit logits {tuple(logits.shape)}")
        return
    if target.dtype != torch.int64 or target.shape != logits.shape[:1]:
        raise ValueError(
            f"target must be int64 ({len(logits)},) or probabilities {tuple(logits.shape)}, "
            f"got {target.dtype} {tuple(target.shape)}"
        )
    if target.device.type == "cpu" and len(target):
        low, high = torch.aminmax(target)
        if low < 0 or high >= logits.shape[-1]:
            raise PodiumError(
                f"labels must be in [0, {logits.shape[-1] - 1}], got {int(low)} to {int(high)}: "
                "-1 is an image of unknown class, which cannot be trained on; "
                "a number too large means that the model was built for fewer classes"
            )
