"""Carry-over: what a classifier knows of a class goes on to a network for other classes, or for another order of them.

A classifier's last layer has a row of weights for each class, and mostly a bias. Rows are told apart by the names of
their classes, those of coarser levels of a class tree by the leaves below them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.model.networks.backbone_parts import classifiers_of
from common.task.hierarchy import LEAF


@dataclass(frozen=True)
class Classes:
    """What a network tells apart. names: index = label. levels: coarser level → parent of each class."""

    names: list[str]
    levels: Mapping[str, list[int]]

    def sizes(self) -> dict[str, int]:
        """Level → its number of classes, the leaves first."""
        return {LEAF: len(self.names)} | {
            level: max(parents, default=-1) + 1 for level, parents in self.levels.items()
        }


def rows_by_level(before: Classes, now: Classes) -> dict[str, Tensor]:
    """Level → for each class now its row before, or -1 for a class that was not there: int64 (K_level,)."""
    place = {name: label for label, name in enumerate(before.names)}
    old = [place.get(name, -1) for name in now.names]
    rows_of = {LEAF: torch.tensor(old, dtype=torch.int64)}
    for level in now.levels.keys() & before.levels.keys():
        rows = torch.full((now.sizes()[level],), -1, dtype=torch.int64)
        for label, parent in enumerate(now.levels[level]):
            if old[label] >= 0:
                rows[parent] = before.levels[level][old[label]]
        rows_of[level] = rows
    return rows_of


def rows_of_tensors(net: nn.Module, before: Classes, now: Classes) -> dict[str, Tensor]:
    """Tensor of `net`'s state → for each of its rows the row to take over, or -1: int64 (rows,).

    Of each level the last layer counts: the classifier of a network that names one, else its last layer with a row for
    each class. A layer for a level carries the level's name in its own, such as `head.levels.family`; one that names
    no level is for the leaves.
    """
    last: dict[str, str] = {}  # level → name of its layer
    names = {id(module): name for name, module in net.named_modules()}
    sizes = now.sizes()
    for part in classifiers_of(net) or [net]:
        for module in part.modules():
            weight = module._parameters.get("weight")
            if weight is None or weight.ndim < 2:
                continue
            level = _level(names[id(module)], sizes)
            if len(weight) == sizes[level]:
                last[level] = names[id(module)]
    rows = rows_by_level(before, now)
    own = net.state_dict()
    return {
        name: rows[level]
        for level, layer in last.items()
        if level in rows
        for name in (f"{layer}.weight".lstrip("."), f"{layer}.bias".lstrip("."))
        if name in own
    }


def count_carried(
    rows: Mapping[str, Tensor], fitted: Collection[str], now: Classes
) -> dict[str, dict[str, int]]:
    """Level → how many of its classes are `carried` over and how many `fresh`.

    rows: by `rows_of_tensors`. fitted: the tensors that were taken; a head of another kind takes none.
    """
    counts = {}
    for name in (name for name in rows if name.endswith("weight")):
        taken = int((rows[name] >= 0).sum()) if name in fitted else 0
        counts[_level(name, now.sizes())] = {"carried": taken, "fresh": len(rows[name]) - taken}
    return counts


def carried(own: Tensor, theirs: Tensor, rows: Tensor) -> Tensor:
    """`own` with the rows of `theirs` where there are any. own: (K, …). theirs: (K', …). rows: int64 (K,), -1: none."""
    there = rows >= 0
    merged = own.clone()
    merged[there] = theirs[rows[there]].to(own)
    return merged


def _level(layer: str, sizes: Mapping[str, int]) -> str:
    words = layer.split(".")
    return next((level for level in sizes if level in words), LEAF)
