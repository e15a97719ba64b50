"""What a kind of question says of itself: how a picture is labelled, and what its probabilities are."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from common.task.measures import Measure


class Task(Protocol):
    """All that ImageClassifier asks of the kind of question; single.py is one class a picture.

    measures: what every competition of this kind is measured by; the first is the loss.
    """

    measures: Sequence[Measure]

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """What the loss takes, of a batch."""
        ...

    def probabilities(self, logits: Tensor) -> Tensor:
        """float (B, K) → float32 (B, K)."""
        ...

    def answers(self, probabilities: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The columns of Answers, (B,) each."""
        ...
