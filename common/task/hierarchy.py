"""The levels of a class tree, species and genus, product and category: their loss, their agreement, their checks.

The finest level, the leaves, is what the competition asks for; the targets of the coarser levels follow from
it. A level is described by `parents[level]`, int64 (K,): the class at that level of each of the K leaves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import PodiumError

LEAF = "leaf"
Loss = Callable[[Any, Tensor], Tensor]  # logits (B, K) or what stands for them, target -> (B,)


def hierarchical_loss(
    outputs: Mapping[str, Any],
    target: Tensor,
    parents: Mapping[str, Tensor],
    weights: Mapping[str, float],
    loss: Loss,
) -> dict[str, Tensor]:
    """Weighted sum of the losses at every level, per sample.

    outputs: level -> logits (B, K_level), or what `loss` takes in their place; the first entry is the leaf level.
    target: of the leaves, (B,) int64 or (B, K) probabilities.
    parents: for every level but the leaves.
    weights: for every level; a weight of 0 leaves the level out of the sum but still reports it.
    Returns the loss (B,) of each level under its name, unweighted, and their weighted sum (B,) under "loss".
    """
    if set(weights) != set(outputs) or set(parents) != set(outputs) - {next(iter(outputs))}:
        leaf, *coarser = outputs
        raise PodiumError(
            f"the model gives the levels {[leaf, *coarser]}, so callbacks.hierarchical_loss.weights must be for all "
            f"of them and parents for {coarser}; got weights for {list(weights)}, parents for {list(parents)}"
        )
    losses = {
        level: loss(logits, target_at_level(target, parents[level]) if level in parents else target)
        for level, logits in outputs.items()
    }
    return losses | {"loss": torch.stack([weights[level] * losses[level] for level in outputs]).sum(0)}


def target_at_level(target: Tensor, parent: Tensor) -> Tensor:
    """Target seen from a coarser level: the parent's index, or the sum of its children's probabilities.

    target: (B,) int64 or (B, K) probabilities. parent: (K,) int64, without gaps. Returns (B,) or (B, K_level).
    """
    size = int(parent.max()) + 1 if target.is_floating_point() else 0
    parent = parent.to(target.device)
    if not target.is_floating_point():
        return parent[target]
    return target.new_zeros(len(target), size).index_add_(1, parent, target)


def combine_levels(
    leaves: Tensor, outputs: Mapping[str, Tensor], parents: Mapping[str, Tensor], powers: Mapping[str, float]
) -> Tensor:
    """Probabilities of the leaves times those of their ancestors, each to a power, float (B, K), rows sum to 1.

    leaves: probabilities (B, K). outputs: level -> logits (B, K_level). powers: level -> >= 0, for every level that
    counts; 1 for all is the product of experts (Hinton 2002).
    """
    logs = leaves.float().log()  # -inf for 0, which no ancestor makes more of
    for level, power in powers.items():
        above = outputs[level].float().log_softmax(dim=1)
        logs = logs + power * above[:, parents[level].to(above.device)]
    return logs.softmax(dim=1)


def levels_of(net: nn.Module, parents: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the levels for which the network has a head, as the first submodule with `level_names` says."""
    of_parts: Iterator[Any] = (module for module in net.modules() if hasattr(module, "level_names"))
    names = next((list(part.level_names) for part in of_parts), [])
    return {level: parent for level, parent in parents.items() if level in names}


def as_parents(levels: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Level -> parent of each leaf, int64 (K,), from plain lists."""
    return {level: torch.as_tensor(parent) for level, parent in levels.items()}


def check_parents(parents: Mapping[str, Tensor], num_classes: int, key: str = "levels") -> dict[str, int]:
    """Number of classes of each level, which stand from fine to coarse.

    Raises PodiumError unless every level gives each of the `num_classes` leaves one class, none is empty, and the
    levels nest: what is together at one level stays together at the next.
    """
    sizes: dict[str, int] = {}
    for level, parent in parents.items():
        where = f"{key}.{level}"
        if level in ("loss", LEAF) or "." in level or not level or hasattr(nn.ModuleDict(), level):
            raise PodiumError(f"{where}: «{level}» means something else here; call the level otherwise")
        if parent.dtype != torch.int64 or parent.shape != (num_classes,):
            raise PodiumError(
                f"{where} must be int64 ({num_classes},), one parent for each leaf class, "
                f"got {parent.dtype} {tuple(parent.shape)}"
            )
        if parent.min() < 0:
            leaf = int(parent.argmin())
            raise PodiumError(f"{where}: leaf class {leaf} has no parent ({int(parent[leaf])})")
        if parent.max() >= num_classes:
            raise PodiumError(f"{where}: class {int(parent.max())}, but there are only {num_classes} leaves")
        sizes[level] = int(parent.max()) + 1
        empty = sorted(set(range(sizes[level])) - set(parent.tolist()))
        if empty:
            raise PodiumError(
                f"{where}: classes {empty[:5]} have no leaf; number the parents 0, 1, 2, … without gaps"
            )
    names = list(parents)
    for finer, coarser in pairwise(names):
        _check_nested(finer, parents[finer], coarser, parents[coarser], key)
    return sizes


def _check_nested(finer: str, low: Tensor, coarser: str, high: Tensor, key: str) -> None:
    """A class of the finer level has one class above it, whichever of its leaves is asked."""
    above = torch.zeros_like(low).scatter_(0, low, high)  # of each finer class, by one of its leaves
    torn = (above[low] != high).nonzero()
    if len(torn):
        leaf = int(torn[0])
        other = int(((low == low[leaf]) & (high == above[low[leaf]])).nonzero()[0])
        raise PodiumError(
            f"{key}: {coarser} does not stand above {finer}: the leaf classes {leaf} and {other} share class "
            f"{int(low[leaf])} of {finer}, but are in {int(high[leaf])} and {int(high[other])} of {coarser}; "
            "give the levels of one tree, from fine to coarse"
        )
