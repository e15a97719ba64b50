"""What is measured of a network's heads above the leaves: are they right, and do they agree with the leaves."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric


class LevelMetrics(Metric):
    """`valid_<level>_head_top1` and `valid_<level>_consistency` over a whole pass, exact under DDP.

    head_top1: share of images for which the level's own most probable class is the right one. consistency: for which
    it is the parent of the most probable leaf.

    Args:
        parents: level with a head → parent of each leaf class, int64 (K,).
    """

    parents: Tensor
    right: Tensor
    agreeing: Tensor
    images: Tensor

    def __init__(self, parents: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.levels = list(parents)
        table = torch.stack(list(parents.values())) if parents else torch.empty(0, 0, dtype=torch.int64)
        self.register_buffer("parents", table, persistent=False)  # (L, K)
        for name in ("right", "agreeing"):
            self.add_state(name, torch.zeros(len(parents), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def names(self) -> list[str]:
        return [f"valid_{level}_{what}" for what in ("head_top1", "consistency") for level in self.levels]

    def update(self, probabilities: Tensor, outputs: Mapping[str, Tensor], labels: Tensor) -> None:
        """probabilities: of the leaves, (B, K). outputs: level → logits (B, K_level). labels: int64 (B,)."""
        predicted = torch.stack([outputs[level].argmax(dim=1) for level in self.levels])  # (L, B)
        self.right += (predicted == self.parents[:, labels]).sum(dim=1)
        self.agreeing += (predicted == self.parents[:, probabilities.argmax(dim=1)]).sum(dim=1)
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Metric name → share in [0, 1]; NaN without pictures."""
        return dict(zip(self.names, self._shares(), strict=True))

    def take(self) -> dict[str, float]:
        """What this process alone has counted, named without `valid_`; then starts over."""
        names = [name.removeprefix("valid_") for name in self.names]
        shares = dict(zip(names, self._shares().tolist(), strict=True))
        self.reset()
        return shares

    def _shares(self) -> Tensor:
        return torch.cat([self.right, self.agreeing]) / self.images
