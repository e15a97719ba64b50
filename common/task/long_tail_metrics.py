"""GAP and the mean accuracy over classes in validation, at every level of a class tree; exact under DDP."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from common.task.hierarchy import target_at_level
from common.task.long_tail_scores import global_average_precision
from common.task.metrics import ValidationMetrics


class LongTailMetrics(ValidationMetrics):
    """The metrics of every competition, `valid_gap` and `valid_class_accuracy` (common/task/long_tail_scores.py).

    Args:
        num_classes: of the leaves.
        levels: level above → parent of each leaf class, K numbers. Each level has `valid_<level>_top1`,
            `valid_<level>_gap` and `valid_<level>_class_accuracy`, where the parent of the most probable leaf is
            predicted: see `level_scores` in common/task/long_tail_scores.py.
    """

    def __init__(self, num_classes: int, levels: Mapping[str, Sequence[int]] | None = None) -> None:
        super().__init__(num_classes)
        self.leaf = BestGuesses(num_classes)
        self.parents = {level: torch.tensor(parent) for level, parent in (levels or {}).items()}
        self.levels: Any = nn.ModuleDict(
            {level: BestGuesses(int(parent.max()) + 1) for level, parent in self.parents.items()}
        )

    @property
    def names(self) -> list[str]:
        above = [
            f"valid_{level}_{name}" for level in self.levels for name in ("top1", "gap", "class_accuracy")
        ]
        return [*super().names, "valid_gap", "valid_class_accuracy", *above]

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K), rows sum to 1; labels: int64 (B,); both of the leaves."""
        super().update(probabilities, labels)
        confidences, predicted = probabilities.max(dim=1)
        self.leaf.update(confidences, predicted, labels)
        for level, metrics in self.levels.items():
            said, right = (target_at_level(classes, self.parents[level]) for classes in (predicted, labels))
            metrics.update(confidences, said, right)

    def compute(self) -> dict[str, Tensor]:
        values = super().compute()
        leaf = self.leaf.compute()
        values |= {f"valid_{name}": leaf[name] for name in ("gap", "class_accuracy")}
        for level, metrics in self.levels.items():
            values |= {f"valid_{level}_{name}": value for name, value in metrics.compute().items()}
        for metrics in (self.leaf, *self.levels.values()):
            metrics.reset()
        return values


class BestGuesses(Metric):
    """`top1`, `gap` and `class_accuracy` of the most probable classes.

    It keeps a probability and a mark for each image and two numbers for each class.
    """

    full_state_update = False
    higher_is_better = True
    confidences: list[Tensor]
    correct: list[Tensor]
    hits: Tensor
    images: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("confidences", default=[], dist_reduce_fx="cat")
        self.add_state("correct", default=[], dist_reduce_fx="cat")
        for name in ("hits", "images"):
            self.add_state(name, default=torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidences: Tensor, predicted: Tensor, labels: Tensor) -> None:
        """confidences: float (B,), the probabilities of what is predicted; predicted, labels: int64 (B,)."""
        correct = predicted == labels
        self.confidences.append(confidences)
        self.correct.append(correct.to(torch.uint8))  # not every backend gathers bool
        self.hits += torch.bincount(labels[correct], minlength=self.num_classes)
        self.images += torch.bincount(labels, minlength=self.num_classes)

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name; NaN without pictures."""
        if not len(self.correct):
            return dict.fromkeys(
                ("top1", "gap", "class_accuracy"), torch.tensor(torch.nan, device=self.device)
            )
        correct, confidences = (
            dim_zero_cat(state).cpu().numpy() for state in (self.correct, self.confidences)
        )
        gap = global_average_precision(correct.astype(bool), confidences)
        there = self.images > 0
        return {
            "top1": self.hits.sum() / self.images.sum(),
            "gap": torch.tensor(gap, device=self.device),
            "class_accuracy": (self.hits[there] / self.images[there]).mean(),
        }
