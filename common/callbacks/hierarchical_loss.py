"""HierarchicalLoss: one loss a level of the label tree, summed by weight."""

from dataclasses import replace

import pytorch_lightning as pl
import torch
from torch import Tensor

from common.errors import PodiumError
from common.model.hierarchy import hierarchical_loss
from common.model.seams import Outputs, Seams


class HierarchicalLoss(pl.Callback):
    """For a network that returns logits for several levels, the loss is a weighted sum over the levels.

    Args:
        parents: level → parent of each leaf class: K numbers in 0..K_level-1. The leaf level itself is left out.
        weights: level → weight; levels without one count 1. The leaf level is called `leaf` here.
    """

    def __init__(self, parents: dict[str, list[int]], weights: dict[str, float] | None = None) -> None:
        unknown = set(weights or {}) - set(parents) - {"leaf"}
        if unknown:
            raise PodiumError(
                f"callbacks.hierarchical_loss.weights: unknown level {', '.join(sorted(unknown))}; "
                f"the levels are leaf, {', '.join(parents)}"
            )
        self.parents = {level: torch.tensor(parent) for level, parent in parents.items()}
        self.weights = {"leaf": 1.0, **dict.fromkeys(parents, 1.0), **(weights or {})}

    def wrap(self, seams: Seams) -> Seams:
        def loss(outputs: Outputs, target: Tensor) -> Tensor:
            if not isinstance(outputs, dict):
                raise PodiumError(
                    "callbacks.hierarchical_loss needs a network with one head per level, but this one returns a "
                    "single set of logits: choose a multi-level head, or callbacks.hierarchical_loss=null"
                )
            leaf_level = next(iter(outputs))
            weights = {
                leaf_level if level == "leaf" else level: weight for level, weight in self.weights.items()
            }
            return hierarchical_loss(outputs, target, self.parents, weights, seams.loss)["loss"]

        return replace(seams, loss=loss)
