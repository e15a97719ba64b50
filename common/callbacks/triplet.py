"""Triplet: images of one class draw together in the features that the classifier sees, others apart."""

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from common.errors import PodiumError
from common.model.networks.backbone_parts import classifiers_of
from common.model.precision import at_least_float32, without_autocast
from common.model.step_hooks import Outputs, StepHooks


class Triplet(pl.Callback):
    """Adds to each image's loss `weight` times its batch-hard triplet loss.

    The features are those that go into the network's classifier (timm's `get_classifier()`), a map averaged over
    height and width, brought to length one. With a target of probabilities, an image's class is the most probable.
    Batches should hold several images of a class; under DDP each process compares its own images.

    Args:
        weight: ≥ 0.
        margin: by how much another class's nearest image must be farther away than the own class's farthest, in
            units of the features' length, in (0, 2].
    """

    def __init__(self, weight: float = 1.0, margin: float = 0.3) -> None:
        if not weight >= 0:
            raise PodiumError(f"callbacks.triplet.weight must be at least 0, got {weight}")
        if not 0 < margin <= 2:
            raise PodiumError(f"callbacks.triplet.margin must be in (0, 2], got {margin}")
        self.weight = weight
        self.margin = margin
        self.features: Tensor | None = None  # of the batch whose loss comes next
        self.hook: RemovableHandle | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self.hook is None:
            self.listen(pl_module.net)  # type: ignore[arg-type]

    def listen(self, network: nn.Module) -> None:
        """Keep what goes into the classifier while it trains. PodiumError if the network does not name one."""
        classifiers = classifiers_of(network)
        if not classifiers:
            raise PodiumError(
                "callbacks.triplet: the model does not say which part classifies; "
                "give it a method get_classifier() that returns it"
            )

        def keep(classifier: nn.Module, inputs: tuple[Any, ...]) -> None:
            if classifier.training:  # where levels have features of their own, those of the leaves
                self.features = next(iter(inputs[0].values())) if isinstance(inputs[0], dict) else inputs[0]

        self.hook = classifiers[0].register_forward_pre_hook(keep)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.hook is not None:
            self.hook.remove()
        self.hook = self.features = None

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def loss(outputs: Outputs, target: Tensor) -> Tensor:
            assert self.features is not None, "the classifier has not been called in this step"
            features, self.features = self.features, None
            labels = target.argmax(dim=1) if target.is_floating_point() else target
            with without_autocast(features.device):
                features = at_least_float32(features)
                pooled = features.flatten(2).mean(-1) if features.ndim > 2 else features
                triplet = batch_hard(F.normalize(pooled), labels, self.margin)
            return hooks.loss(outputs, target) + self.weight * triplet

        return replace(hooks, loss=loss)


def batch_hard(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """max(0, margin + distance to the farthest of the own class - distance to the nearest of another), each image.

    Hermans, Beyer and Leibe 2017, https://arxiv.org/abs/1703.07737, equation 5, before its sum. Distances are
    Euclidean. An image whose class has no other image in the batch, or that meets no other class, gets 0.

    features: float (B, F). labels: int64 (B,). Returns (B,).
    """
    with torch.no_grad():  # which images are compared is found without a graph of B² distances
        distances = torch.cdist(features, features)
        same = labels[:, None] == labels
        others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = distances.masked_fill(~(same & others), -torch.inf).argmax(dim=1)
        negative = distances.masked_fill(same, torch.inf).argmin(dim=1)
        complete = (same & others).any(dim=1) & ~same.all(dim=1)
    farthest = (features - features[positive]).norm(dim=1)
    nearest = (features - features[negative]).norm(dim=1)
    return torch.where(complete, F.relu(margin + farthest - nearest), 0.0)
