"""Logits of very many classes, computed only where the loss needs them.

50,030 logits for each of 1,024 images take 205 MB, and a loss keeps several arrays of that size for its backward
pass. Here a head hands over what its logits are made of, and the losses are computed for a few images at a time:
forward keeps none of the logits, and backward computes them again (Chen et al. 2016, «Training Deep Nets with
Sublinear Memory Cost», https://arxiv.org/abs/1604.06174). The weight's gradient is summed up in one array.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from common.errors import PodiumError

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), target -> (B,)
SMALLEST_NORM = 1e-12  # as in F.normalize


def losses(loss: Loss, outputs: "Tensor | DeferredLogits", target: Tensor) -> Tensor:
    """Losses (B,) of logits, or of what stands for them."""
    return outputs.losses(loss, target) if isinstance(outputs, DeferredLogits) else loss(outputs, target)


def check_chunk(chunk: int | None, key: str = "model.head.chunk") -> int | None:
    """`chunk` as it is. Raises PodiumError unless it is None or at least 1."""
    if chunk is not None and chunk < 1:
        raise PodiumError(f"{key} must be a number of images, at least 1, or null, got {chunk}")
    return chunk


@dataclass(frozen=True, eq=False)
class DeferredLogits:
    """What a head returns in training instead of logits (B, K), to save their memory; in 32 bits at least.

    Args:
        features: float (B, F).
        weight: float (K, F).
        bias: float (K,); None: none.
        unit_rows: each row of `weight` counts divided by its norm. With features of norm s the logits are
            then s · cos, as ArcFace and its kin want them. It goes without a bias.
        shift: float (K,), added to the logits, without a gradient of its own; None: none.
        chunk: images whose logits exist at the same time, ≥ 1.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor | None = None
    unit_rows: bool = False
    shift: Tensor | None = None
    chunk: int = 64

    def __post_init__(self) -> None:
        if self.unit_rows and self.bias is not None:
            raise ValueError("unit_rows goes without a bias")

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.features), len(self.weight)))

    def __add__(self, shift: Tensor) -> "DeferredLogits":
        """Logits shifted by a constant of each class, float (K,)."""
        return replace(self, shift=shift if self.shift is None else self.shift + shift)

    def logits(self) -> Tensor:
        """All of them, (B, K)."""
        layer = _Layer(self.weight, self.bias, self.unit_rows, self.shift)
        with torch.autocast(self.features.device.type, enabled=False):
            return layer.logits(self.features)

    def losses(self, loss: Loss, target: Tensor) -> Tensor:
        """`loss(self.logits(), target)`, float (B,), with gradients for features, weight and bias.

        loss: looks at each image by itself and always says the same: it is called for parts of the batch, and twice.
        target: whatever the loss takes, with B rows.

        Raises PodiumError for a loss that has weights of its own: they would get no gradient.
        """
        if isinstance(loss, nn.Module) and any(weight.requires_grad for weight in loss.parameters()):
            raise PodiumError(
                f"loss: {type(loss).__name__} has weights of its own and needs all logits at once; "
                "set the head's chunk to null"
            )
        return _Losses.apply(self.features, self.weight, self.bias, target, self, loss)


class _Layer:
    """The last layer, in 32 bits at least, as heads that keep their logits compute it; to be used without autocast."""

    def __init__(self, weight: Tensor, bias: Tensor | None, unit_rows: bool, shift: Tensor | None) -> None:
        self.dtype = torch.promote_types(weight.dtype, torch.float32)
        self.weight = weight.to(self.dtype)
        self.bias = None if bias is None else bias.to(self.dtype)
        self.shift = shift
        self.norms = torch.linalg.vector_norm(self.weight, dim=1) if unit_rows else None  # (K,)

    def logits(self, features: Tensor) -> Tensor:
        logits = F.linear(features.to(self.dtype), self.weight, self.bias)
        if self.norms is not None:
            logits = logits / self.norms.clamp_min(SMALLEST_NORM)
        return logits if self.shift is None else logits + self.shift


class _Losses(torch.autograd.Function):
    """Losses (B,) from features, weight and bias, a chunk of the batch at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        options: DeferredLogits,
        loss: Loss,
    ) -> Tensor:
        device = features.device.type
        ctx.save_for_backward(features, weight, bias, target)
        ctx.unit_rows, ctx.shift, ctx.chunk, ctx.loss = options.unit_rows, options.shift, options.chunk, loss
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        layer = _Layer(weight, bias, ctx.unit_rows, ctx.shift)
        losses = []
        for some, wanted in zip(features.split(ctx.chunk), target.split(ctx.chunk), strict=True):
            with torch.autocast(device, enabled=False):
                logits = layer.logits(some)
            losses.append(loss(logits, wanted))
            del logits  # before the next ones are made
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, target = ctx.saved_tensors
        grad_features, grad_weight, grad_bias = (
            torch.zeros_like(given) if needed else None
            for given, needed in zip((features, weight, bias), ctx.needs_input_grad[:3], strict=True)
        )
        layer = _Layer(weight, bias, ctx.unit_rows, ctx.shift)
        radial: Any = 0.0  # Σ gradient · logit: by how much each row's gradient points along the row
        for rows in grad_losses.nonzero()[:, 0].split(ctx.chunk):  # what OHEM left out is not computed again
            some = features[rows].to(layer.dtype)
            with torch.autocast(features.device.type, enabled=False):
                logits = layer.logits(some)
                grad = _gradient(ctx, logits, target[rows], grad_losses[rows]).to(layer.dtype)
                if layer.norms is not None:
                    radial += (grad * (logits if layer.shift is None else logits - layer.shift)).sum(0)
                    grad = grad / layer.norms.clamp_min(SMALLEST_NORM)
                if grad_features is not None:
                    grad_features[rows] = (grad @ layer.weight).to(features.dtype)
                if grad_weight is not None:
                    grad_weight.addmm_(grad.T.to(weight.dtype), some.to(weight.dtype))
                if grad_bias is not None:
                    grad_bias += grad.sum(0, dtype=grad_bias.dtype)
            del logits, grad  # before the next ones are made
        if grad_weight is not None and layer.norms is not None:
            # a step along the row changes its norm alone, and so nothing
            share = torch.where(layer.norms > SMALLEST_NORM, radial / layer.norms.square(), 0.0)
            grad_weight.addcmul_(weight, share[:, None].to(weight.dtype), value=-1)
        return grad_features, grad_weight, grad_bias, None, None, None


def _gradient(ctx: Any, logits: Tensor, target: Tensor, grad_losses: Tensor) -> Tensor:
    """Of the losses with respect to the logits of a chunk."""
    logits = logits.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(**ctx.autocast):
        losses = ctx.loss(logits, target)
    return torch.autograd.grad(losses, logits, grad_losses)[0]
