"""The loss that the contest's baseline was trained by, kept to be compared with the right one."""

import torch
from torch import Tensor

from common.model.losses import CrossEntropy, check_target, likeness, smoothed
from common.model.precision import at_least_float32

EPSILON = 1e-7  # Keras' own, to which probabilities are clipped


class BinaryOnSoftmax(CrossEntropy):
    """Keras' `binary_crossentropy` on the outputs of a softmax: each class a question of yes or no, their mean.

    A mistake for classes of which one is right: K - 1 of the K terms say «no», so each picture's own class counts a
    K-th of what it should, and the «accuracy» that Keras pairs with it is high whatever is learnt (`binary_accuracy`).

    smoothing: as in `CrossEntropy`.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_target(logits, target)
        p = at_least_float32(logits).softmax(-1).clamp(EPSILON, 1 - EPSILON)
        t = smoothed(target, p, self.smoothing)
        return -(t * p.log() + (1 - t) * torch.log1p(-p)).mean(-1)

    def floor(self, target: Tensor, classes: int) -> Tensor:
        p = likeness(target, classes, self.smoothing)
        return (torch.special.entr(p) + torch.special.entr(1 - p)).mean(-1)


def binary_accuracy(right: Tensor, probability: Tensor, classes: int) -> float:
    """The share of all yes-or-no answers that are right, p > 0.5 being a yes: what Keras called accuracy there.

    right: bool (N,), whether the most probable class is the true one. probability: its, float (N,). With 40 classes,
    whoever never says yes has 97.5 %.
    """
    yes = probability > 0.5  # no other class can be above 0.5
    wrong = torch.where(
        yes, torch.where(right, 0, 2), 1
    )  # answers of each picture: its own class, and the one said
    return 1 - float(wrong.float().mean()) / classes
