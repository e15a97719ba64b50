"""Gradient centralisation for any optimizer.

Yong et al. 2020, «Gradient Centralization: A New Optimization Technique for Deep Neural Networks»,
https://arxiv.org/abs/2004.01461: before each step, every output channel's gradient loses its mean, so that the sum of
the weights that lead to it stays what it was.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from common.errors import PodiumError

SMALLEST_NDIM = {"all": 2, "conv_only": 4}  # of weights that are centralised


def centralize(
    optimizer: Optimizer, centralize_gradients: Literal["none", "all", "conv_only"] = "none"
) -> None:
    """Let `optimizer` centralise the gradients of its weights at the beginning of each step.

    centralize_gradients: which weights. all: those of two dimensions and more, so neither biases nor norms;
        conv_only: convolutions.

    It comes after clipping and after a GradScaler's unscaling, and takes the memory of one number a channel.
    Raises PodiumError for another choice.
    """
    if centralize_gradients == "none":
        return
    if centralize_gradients not in SMALLEST_NDIM:
        raise PodiumError(
            f"optimizer.centralize_gradients must be none, all or conv_only, got {centralize_gradients}"
        )
    smallest = SMALLEST_NDIM[centralize_gradients]

    def act() -> None:
        weights = (weight for group in optimizer.param_groups for weight in group["params"])
        subtract_means(
            weight.grad for weight in weights if weight.grad is not None and weight.ndim >= smallest
        )

    optimizer.register_step_pre_hook(_before_update(act))


@torch.no_grad()
def subtract_means(gradients: Iterable[Tensor]) -> None:
    """From each gradient, in place, its mean over every dimension but the first."""
    for gradient in gradients:
        gradient.sub_(gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True))


def _before_update(act: Any) -> Any:
    """A hook of `Optimizer.step` that calls `act` once the gradients are there.

    Lightning hands the step a closure that computes them, so there it must act at the closure's end.
    """

    def hook(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = kwargs["closure"] if "closure" in kwargs else args[1] if len(args) > 1 else None
        if given is None:
            act()
            return None

        def closure() -> Any:
            outcome = given()
            act()
            return outcome

        if "closure" in kwargs:
            return args, {**kwargs, "closure": closure}
        return (args[0], closure, *args[2:]), kwargs

    return hook
