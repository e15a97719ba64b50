"""What is measured in validation, exact under DDP."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.utilities.data import dim_zero_cat

from common.task.measures import Measure


class ValidationMetrics(nn.Module):
    """`valid_loss`, `valid_top1` and `valid_top5` over a whole pass, each image counted once.

    valid_loss is the log loss of the probabilities, in nats, as sklearn defines it, whatever loss trains: it can be
    compared between recipes. Without pictures all are NaN. With fewer than five classes `valid_top5` is left out.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric(
            nan_strategy="disable"
        )  # what is no number stays so, instead of being left out
        self.accuracy = TopK([k for k in (1, 5) if k <= num_classes])

    @property
    def names(self) -> list[str]:
        return ["valid_loss", *(f"valid_top{k}" for k in self.accuracy.ks)]

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K), rows sum to 1; labels: int64 (B,)."""
        picked = probabilities.gather(1, labels[:, None])[:, 0]
        least = torch.finfo(picked.dtype).eps  # as log_loss of common/task/scores.py has it
        self.loss.update(-picked.clamp(least, 1 - least).log())
        self.accuracy.update(probabilities, labels)

    def compute(self) -> dict[str, Tensor]:
        """Metric name → scalar; then starts over."""
        shares = self.accuracy.compute()
        values = {"valid_loss": self.loss.compute()}
        values.update({f"valid_top{k}": share for k, share in shares.items()})
        self.loss.reset()
        self.accuracy.reset()
        return values


class TopK(Metric):
    """Shares of images whose true class is among the k most probable, for each of some k.

    Ties count against the model and NaN is never right, as in common/task/scores.py. A batch takes B · K bytes: for
    tens of thousands of classes there is no room for one-hot labels.
    """

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    images: Tensor

    def __init__(self, ks: Sequence[int]) -> None:
        super().__init__()
        self.ks = list(ks)
        self.add_state("hits", default=torch.zeros(len(self.ks), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K); labels: int64 (B,)."""
        own = probabilities.gather(1, labels[:, None])  # (B, 1)
        rank = probabilities.shape[1] - (probabilities < own).sum(1)  # from 1 on
        rank = rank.where(own[:, 0] == own[:, 0], probabilities.shape[1] + 1)
        self.hits += torch.stack([(rank <= k).sum() for k in self.ks])
        self.images += len(labels)

    def compute(self) -> dict[int, Tensor]:
        """k → share in [0, 1]."""
        return dict(zip(self.ks, self.hits / self.images, strict=True))


class Collected(Metric):
    """One's own measures over a whole pass, from all its labels and probabilities, N · K numbers; exact under DDP."""

    full_state_update = False
    probabilities: list[Tensor]
    labels: list[Tensor]

    def __init__(self, measures: Sequence[Measure]) -> None:
        super().__init__()
        self.measures = list(measures)
        for name in ("probabilities", "labels"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K); labels: int64 (B,)."""
        self.probabilities.append(probabilities)
        self.labels.append(labels)

    def compute(self) -> dict[str, Tensor]:
        """`valid_<name>` → its value; NaN without pictures."""
        if not len(self.labels):
            return {f"valid_{one.name}": torch.tensor(torch.nan, device=self.device) for one in self.measures}
        labels, rows = (dim_zero_cat(state).cpu().numpy() for state in (self.labels, self.probabilities))
        found = {f"valid_{one.name}": float(one.of(labels, rows)) for one in self.measures}
        return {name: torch.tensor(value, device=self.device) for name, value in found.items()}
