"""LogitAdjustment: while training, frequent classes get a start that they must not rely on."""

from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from common.errors import PodiumError
from common.model.margins import MarginLoss
from common.model.step_hooks import Outputs, StepHooks


class LogitAdjustment(pl.Callback):
    """The loss sees logits + τ log π, where π is each class's share of what this job trains on.

    The network then need not learn how frequent classes are, and its own logits, which predict, are fair to rare
    ones: they aim at the mean accuracy over classes. Menon et al. 2021, https://arxiv.org/abs/2007.07314, the loss
    of their equation 10. Of several levels the leaves alone are adjusted. A class without an image counts as one.

    Args:
        tau: ≥ 0; 0 changes nothing.
    """

    def __init__(self, tau: float = 1.0) -> None:
        if not tau >= 0:
            raise PodiumError(f"callbacks.logit_adjustment.tau must be at least 0, got {tau}")
        self.tau = tau
        self.start = torch.empty(0)  # float (K,), τ log π

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        loss = pl_module.loss_fn
        if isinstance(loss, MarginLoss):
            raise PodiumError(
                f"callbacks.logit_adjustment shifts logits, and loss: {type(loss).__name__} needs cosines: take "
                "loss=normface, or callbacks.class_weights instead"
            )
        self.count(trainer.datamodule.class_counts)  # type: ignore[attr-defined]

    def count(self, counts: np.ndarray) -> None:
        """Take the training images of each class, int64 (K,)."""
        images = np.maximum(counts, 1)
        self.start = torch.from_numpy(self.tau * np.log(images / images.sum())).float()

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def loss(outputs: Outputs, target: Tensor) -> Tensor:
            self.start = start = self.start.to(target.device)
            if isinstance(outputs, dict):
                leaf = next(iter(outputs))
                return hooks.loss({**outputs, leaf: outputs[leaf] + start}, target)
            return hooks.loss(outputs + start, target)

        return replace(hooks, loss=loss)
