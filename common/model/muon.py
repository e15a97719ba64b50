"""Muon for convolutional networks."""

from collections.abc import Iterable
from typing import Any

import pytorch_optimizer
import torch
from pytorch_optimizer.optimizer.utils.matrix import zero_power_via_gram_newton_schulz
from torch import Tensor, nn


class Muon(pytorch_optimizer.Muon):
    """Orthogonalised momentum for hidden convolutions, AdamW for everything else.

    Each update of a convolution is replaced by the nearest orthogonal matrix (kernels seen as matrices
    out × in·h·w), so that all directions are learnt at the same speed. The first convolution (up to three input
    channels), the classifier, norms and biases are no such maps and take AdamW. Source: Keller Jordan,
    https://kellerjordan.github.io/posts/muon/.

    Args:
        params: groups as made by `parameter_groups`; their `lr` is that of the convolutions.
        lr: of the convolutions, > 0.
        momentum: in [0, 1), Nesterov's.
        weight_decay: decoupled, as in AdamW, ≥ 0.
        adamw_lr: learning rate of the rest, at the group's full `lr`.
        adamw_betas: of the rest.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        adamw_lr: float = 0.002,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        groups = []
        for group in params:
            convolutions = [parameter for parameter in group["params"] if _is_hidden(parameter)]
            others = [parameter for parameter in group["params"] if not _is_hidden(parameter)]
            if convolutions:
                groups.append({**group, "params": convolutions, "use_muon": True, "momentum": momentum})
            if others:
                scale = group.get("lr", lr) / lr  # a backbone's smaller rate holds for both
                groups.append(
                    {
                        **group,
                        "params": others,
                        "use_muon": False,
                        "lr": adamw_lr * scale,
                        "betas": adamw_betas,
                    }
                )
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, adamw_eps=1e-8)

    @staticmethod
    def _orthogonalize(group: dict[str, Any], updates: list[Tensor]) -> list[Tensor]:
        """In 32 bits and on the small Gram matrix: on a CPU three times faster than the parent's 16 bits."""
        return [
            zero_power_via_gram_newton_schulz(
                update.reshape(len(update), -1),
                num_steps=group["ns_steps"],
                weights=group["ns_coeffs"],
                dtype=torch.float32,
                reset_steps=(),
            )
            for update in updates
        ]


def _is_hidden(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 4 and parameter.shape[1] > 3
