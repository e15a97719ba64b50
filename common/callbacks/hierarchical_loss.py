"""HierarchicalLoss: one loss a level of the label tree, summed by weight."""

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from common.config.nearest import suggest
from common.errors import PodiumError
from common.model.step_hooks import Outputs, StepHooks
from common.task.hierarchy import LEAF, as_parents, check_parents, hierarchical_loss


class HierarchicalLoss(pl.Callback):
    """For a network that returns logits for several levels, the loss is a weighted sum over the levels.

    The mean loss of each level over an epoch, without its weight, is logged as `train_loss_<level>`.

    Args:
        parents: level → parent of each leaf class: K numbers in 0..K_level-1, levels from fine to coarse. The leaf
            level itself is left out. None: the data set's.
        weights: level → weight ≥ 0, or [first, last]: it changes linearly with the progress of the run. Levels
            without one count 1. The leaf level is called `leaf` here.
    """

    def __init__(
        self,
        parents: dict[str, list[int]] | None = None,
        weights: dict[str, float | list[float]] | None = None,
    ) -> None:
        self.parents = as_parents(parents or {})
        self.weights = {level: _ends(level, weight) for level, weight in (weights or {}).items()}
        if parents:
            check_parents(
                self.parents, len(next(iter(parents.values()))), key="callbacks.hierarchical_loss.parents"
            )
            self._check_weights(list(parents))
        self.trainer: pl.Trainer | None = None
        self.names: list[str] = []
        self.sums, self.steps = torch.zeros(()), 0  # of each level's loss since the epoch began

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.trainer = trainer

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        if not self.parents and not hooks.parents:
            raise PodiumError(
                "callbacks.hierarchical_loss: the data set has no class tree; name the levels by "
                "callbacks.hierarchical_loss.parents, or set callbacks.hierarchical_loss=null"
            )
        if not self.parents:
            self._check_weights(list(hooks.parents))

        def loss(outputs: Outputs, target: Tensor) -> Tensor:
            if not isinstance(outputs, dict):
                raise PodiumError(
                    "callbacks.hierarchical_loss needs a network with one head per level, but this one returns a "
                    "single set of logits: choose model=timm_levels, or callbacks.hierarchical_loss=null"
                )
            parents = self._parents_of(hooks, outputs)
            losses = hierarchical_loss(outputs, target, parents, self._weights_of(outputs), hooks.loss)
            self._count(losses, list(outputs))
            return losses["loss"]

        def floor(outputs: Outputs, target: Tensor) -> Tensor:
            parents = self._parents_of(hooks, outputs)
            return hierarchical_loss(outputs, target, parents, self._weights_of(outputs), hooks.floor)["loss"]

        return replace(hooks, loss=loss, floor=floor)

    def _parents_of(self, hooks: StepHooks, outputs: dict[str, Any]) -> dict[str, Tensor]:
        return self.parents or {level: parent for level, parent in hooks.parents.items() if level in outputs}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.names:
            for name, mean in zip(self.names, self.sums / self.steps, strict=True):
                pl_module.log(f"train_loss_{name}", mean, sync_dist=True)
        self.names, self.sums, self.steps = [], torch.zeros(()), 0

    def state_dict(self) -> dict[str, Any]:
        return {"names": self.names, "sums": self.sums.cpu(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.names, self.sums, self.steps = (state_dict[key] for key in ("names", "sums", "steps"))

    def _weights_of(self, outputs: dict[str, Any]) -> dict[str, float]:
        """Level → weight now, the leaves under the network's name for them."""
        leaf_level = next(iter(outputs))
        ends = {
            level: self.weights.get(LEAF if level == leaf_level else level, (1.0, 1.0)) for level in outputs
        }
        module: Any = self.trainer.lightning_module if self.trainer is not None else None
        scheduled = any(first != last for first, last in ends.values())
        progress = module.progress()[0] if scheduled and module is not None else 0.0
        return {level: first + progress * (last - first) for level, (first, last) in ends.items()}

    def _count(self, losses: dict[str, Tensor], levels: list[str]) -> None:
        means = torch.stack([losses[level].detach().mean() for level in levels])
        self.names, self.sums, self.steps = levels, self.sums.to(means.device) + means, self.steps + 1

    def _check_weights(self, levels: list[str]) -> None:
        names = [LEAF, *levels]
        for level in self.weights:
            if level not in names:
                raise PodiumError(
                    f"callbacks.hierarchical_loss.weights: unknown level {level}{suggest(level, names)}; "
                    f"the levels are {', '.join(names)}"
                )


def _ends(level: str, weight: float | list[float]) -> tuple[float, float]:
    """A weight at the run's beginning and at its end."""
    ends = [*weight] if isinstance(weight, list) else [weight, weight]
    if len(ends) != 2 or not all(isinstance(end, int | float) and end >= 0 for end in ends):
        raise PodiumError(
            f"callbacks.hierarchical_loss.weights.{level} must be a number ≥ 0, or [first, last]; got {weight}"
        )
    return float(ends[0]), float(ends[1])
