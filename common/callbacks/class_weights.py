"""ClassWeights: images of rare classes count more."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from common.errors import PodiumError
from common.model.step_hooks import Outputs, StepHooks


class ClassWeights(pl.Callback):
    """Each image's loss is multiplied by the weight of its class, by the «effective number» of the class's images.

    Cui et al. 2019, https://arxiv.org/abs/1901.05555: n images are worth (1 - β^n) / (1 - β) different ones, and a
    class weighs the inverse of that. The classes are those of the leaves, counted in what this job trains on; weights
    sum to the number of classes. A target of probabilities gets the mean of their weights.

    Args:
        beta: in [0, 1]; 0 weighs all classes 1, 1 by the inverse of their number of images.
    """

    def __init__(self, beta: float = 0.999) -> None:
        if not 0 <= beta <= 1:
            raise PodiumError(f"callbacks.class_weights.beta must be in [0, 1], got {beta}")
        self.beta = beta
        self.weights = torch.empty(0)  # float (K,)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.count(trainer.datamodule.class_counts)  # type: ignore[attr-defined]

    def count(self, counts: np.ndarray) -> None:
        """Take the training images of each class, int64 (K,)."""
        self.weights = torch.from_numpy(effective_number_weights(counts, self.beta)).float()

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def weighted(losses: Callable[[Outputs, Tensor], Tensor]) -> Callable[[Outputs, Tensor], Tensor]:
            return lambda outputs, target: losses(outputs, target) * self._of(target)

        return replace(hooks, loss=weighted(hooks.loss), floor=weighted(hooks.floor))

    def _of(self, target: Tensor) -> Tensor:
        """The weight of each image, float (B,)."""
        self.weights = weights = self.weights.to(target.device)
        return target.to(weights.dtype) @ weights if target.is_floating_point() else weights[target]


def effective_number_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Weights of the classes, float64 (K,), summing to K. counts: int64 (K,); 0 counts as 1. beta: in [0, 1]."""
    images = np.maximum(counts, 1)  # a class without images is no target, but must not be infinitely heavy
    if beta == 1:
        weights = 1 / images
    elif beta == 0:
        weights = np.ones(len(images))
    else:
        weights = (1 - beta) / -np.expm1(images * math.log(beta))
    return weights * len(weights) / weights.sum()
