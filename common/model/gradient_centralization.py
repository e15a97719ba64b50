"""Gradient centralisation for any optimizer.

Yong et al. 2020, «Gradient Centralization: A New Optimization Technique for Deep Neural Networks»,
https://arxiv.org/abs/2004.01461: before each step, every output channel's gradient loses its mean, so that the sum of
the weights that lead to it stays what it was.
"""

from typing import Any, Literal

import torch
from pytorch_optimizer.optimizer.gradient_centralization import centralize_gradient
from torch.optim import Optimizer

from common.errors import PodiumError


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
    if centralize_gradients not in ("all", "conv_only"):
        raise PodiumError(
            f"optimizer.centralize_gradients must be none, all or conv_only, got {centralize_gradients}"
        )

    @torch.no_grad()
    def act() -> None:
        for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
            if weight.grad is not None:  # one by one: a list would be stacked, which takes its memory again
                centralize_gradient(weight.grad, gc_conv_only=centralize_gradients == "conv_only")

    optimizer.register_step_pre_hook(_before_update(act))


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
