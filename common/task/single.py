"""One class a picture: labels are class indices, probabilities sum to 1, the most probable class is the decision."""

from collections.abc import Sequence

from torch import Tensor

from common.data.predictions import ranks
from common.task.measures import Measure
from common.task.scores import standard_measures


class SingleLabel:
    """See common/task/task.py. Its measures are `loss`, `top1` and, from five classes on, `top5`.

    What is written of it: common/data/predictions.py.
    """

    def __init__(self, num_classes: int) -> None:
        self.measures: Sequence[Measure] = standard_measures(num_classes)

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """int64 (B,)."""
        return batch["label"]

    def probabilities(self, logits: Tensor) -> Tensor:
        """float (B, K) → float32 (B, K), whose rows sum to 1."""
        return logits.float().softmax(dim=1)

    def answers(self, probabilities: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """As `Answers.of`, on the device: it takes a byte for each probability."""
        own = probabilities.gather(1, labels[:, None])[:, 0]
        confidence, predicted = probabilities.max(dim=1)
        return labels, own, ranks(probabilities, own), predicted, confidence
