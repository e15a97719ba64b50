"""The step hooks: where training and prediction are changed, each by exactly one shared idea."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from common.errors import PodiumError

Batch = dict[str, Tensor]
# Tensor (B, K), or dict level → Tensor (B, K_level) whose first entry is the leaf level; a Tensor may be deferred
# (common/model/deferred.py)
Outputs = Any


@dataclass(frozen=True)
class StepHooks:
    """How one step goes: loss = reduce(loss(outputs, target(batch))), and how one batch is predicted.

    target: batch → int64 (B,) or float (B, K). loss: (outputs, target) → float (B,). reduce: float (B,) → scalar.
    probabilities: the outputs of one pass → float (B, K). predict: images float (B, C, H, W) in [0, 1] → float (B, K),
    over one pass or several. parents: coarser level → parent of each class, int64 (K,); nothing changes these.
    floor: (outputs, target) → float (B,), the part of a loss that is the target's own entropy and no mistake; what
    multiplies losses multiplies it too. `reduce` may ask for the excess over it: a function → float (B,).
    """

    target: Callable[[Batch], Tensor]
    loss: Callable[[Outputs, Tensor], Tensor]
    reduce: Callable[..., Tensor]  # (losses, excess=None)
    probabilities: Callable[[Outputs], Tensor]
    predict: Callable[[Tensor], Tensor]
    parents: Mapping[str, Tensor] = field(default_factory=dict)
    floor: Callable[[Outputs, Tensor], Tensor] = lambda outputs, target: torch.zeros(
        len(target), device=target.device
    )


def compose(hooks: StepHooks, callbacks: list[Any]) -> StepHooks:
    """Let every callback that has `step_hooks(hooks)` replace one of them, in order.

    They are composed afresh each time, so that nothing stacks up. Raises PodiumError for one written for a former name.
    """
    for callback in callbacks:
        if hasattr(callback, "wrap"):
            raise PodiumError(f"{type(callback).__name__}.wrap is called step_hooks now: rename it")
        replaced = getattr(callback, "step_hooks", None)
        if replaced is not None:
            hooks = replaced(hooks)
    return hooks
