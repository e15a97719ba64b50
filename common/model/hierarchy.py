"""A loss over the levels of a class tree: species and genus, product and category.

The finest level, the leaves, is what the competition asks for; the targets of the coarser levels follow from
it. A level is described by `parents[level]`, int64 (K,): the class at that level of each of the K leaves.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from common.errors import PodiumError

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), target -> (B,)


def hierarchical_loss(
    outputs: Mapping[str, Tensor],
    target: Tensor,
    parents: Mapping[str, Tensor],
    weights: Mapping[str, float],
    loss: Loss,
) -> dict[str, Tensor]:
    """Weighted sum of the losses at every level, per sample.

    outputs: level -> logits (B, K_level); the first entry is the leaf level.
    target: of the leaves, (B,) int64 or (B, K) probabilities.
    parents: for every level but the leaves.
    weights: for every level; a weight of 0 leaves the level out of the sum but still reports it.
    Returns the loss (B,) of each level under its name, unweighted, and their weighted sum (B,) under "loss".
    """
    if set(weights) != set(outputs) or set(parents) != set(outputs) - {next(iter(outputs))}:
        leaf, *coarser = outputs
        raise PodiumError(
            f"the model gives the levels {[leaf, *coarser]}, so hierarchy.weights must name all of them and "
            f"hierarchy.parents {coarser}; got weights for {list(weights)}, parents for {list(parents)}"
        )
    losses = {
        level: loss(
            logits, target_at_level(target, parents[level], logits.shape[-1]) if level in parents else target
        )
        for level, logits in outputs.items()
    }
    return losses | {"loss": torch.stack([weights[level] * losses[level] for level in outputs]).sum(0)}


def target_at_level(target: Tensor, parent: Tensor, size: int) -> Tensor:
    """Target seen from a coarser level: the parent's index, or the sum of its children's probabilities.

    target: (B,) int64 or (B, K) probabilities. parent: (K,) int64 in [0, size). Returns (B,) or (B, size).
    """
    parent = parent.to(target.device)
    if not target.is_floating_point():
        return parent[target]
    return target.new_zeros(len(target), size).index_add_(1, parent, target)


def check_parents(parents: Mapping[str, Tensor], num_classes: int) -> dict[str, int]:
    """Number of classes of each level.

    Raises PodiumError unless every level gives each of the `num_classes` leaves a class, and none is empty.
    """
    sizes = {}
    for level, parent in parents.items():
        key = f"hierarchy.parents.{level}"
        if level == "loss":
            raise PodiumError(f'{key}: "loss" is the name of the weighted sum; call the level otherwise')
        if parent.dtype != torch.int64 or parent.shape != (num_classes,):
            raise PodiumError(
                f"{key} must be int64 ({num_classes},), one parent for each leaf class, "
                f"got {parent.dtype} {tuple(parent.shape)}"
            )
        if parent.min() < 0:
            leaf = int(parent.argmin())
            raise PodiumError(f"{key}: leaf class {leaf} has no parent ({int(parent[leaf])})")
        sizes[level] = int(parent.max()) + 1
        empty = sorted(set(range(sizes[level])) - set(parent.tolist()))
        if empty:
            raise PodiumError(
                f"{key}: classes {empty[:5]} have no leaf; number the parents 0, 1, 2, … without gaps"
            )
    return sizes
