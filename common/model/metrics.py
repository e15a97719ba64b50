"""What is measured in validation, exact under DDP."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class ValidationMetrics(nn.Module):
    """`valid_loss`, `valid_top1` and `valid_top5` over a whole pass, each image counted once.

    valid_loss is the cross entropy of the probabilities with the true labels, in nats, whatever loss trains, so
    that it can be compared between recipes. With fewer than five classes `valid_top5` is left out.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracy = MetricCollection(
            {
                f"valid_top{k}": MulticlassAccuracy(
                    num_classes, top_k=k, average="micro", validate_args=False
                )
                for k in (1, 5)
                if k <= num_classes
            }
        )

    @property
    def names(self) -> list[str]:
        return ["valid_loss", *map(str, self.accuracy.keys())]

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: float (B, K), rows sum to 1; labels: int64 (B,)."""
        picked = probabilities.gather(1, labels[:, None])[:, 0]
        self.loss.update(-picked.clamp_min(torch.finfo(picked.dtype).tiny).log())
        self.accuracy.update(probabilities, labels)

    def compute(self) -> dict[str, Tensor]:
        """Metric name → scalar; then starts over."""
        values = {"valid_loss": self.loss.compute(), **self.accuracy.compute()}
        self.loss.reset()
        self.accuracy.reset()
        return values
