"""OHEM: train on the hardest images of each batch."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytorch_lightning as pl
from torch import Tensor

from common.errors import PodiumError
from common.model.step_hooks import StepHooks


class OHEM(pl.Callback):
    """Online hard example mining: only the losses of a batch's hardest images are averaged.

    Hardest are those whose loss exceeds most what a perfect prediction would cost: the cross-entropy with a mixed or
    smoothed target has the target's own entropy in it, which is no mistake. With plain labels that is the largest loss.

    Source: Shrivastava, Gupta, Girshick, «Training Region-based Object Detectors with Online Hard Example Mining»,
    CVPR 2016.

    Args:
        keep: share of the batch that is kept, in (0, 1], rounded up to whole images.
        start_epoch: until then the whole batch counts, ≥ 0.
    """

    def __init__(self, keep: float, start_epoch: int = 0) -> None:
        if not 0 < keep <= 1:
            raise PodiumError(f"callbacks.ohem.keep must be in (0, 1], got {keep}")
        self.keep = keep
        self.start_epoch = start_epoch
        self.trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.trainer = trainer

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def reduce(losses: Tensor, excess: Callable[[], Tensor] | None = None) -> Tensor:
            if self.trainer is not None and self.trainer.current_epoch < self.start_epoch:
                return hooks.reduce(losses, excess)
            return hooks.reduce(hardest(losses, self.keep, None if excess is None else excess()))

        return replace(hooks, reduce=reduce)


def hardest(losses: Tensor, keep: float, excess: Tensor | None = None) -> Tensor:
    """Of the losses (B,) the ⌈keep · B⌉ whose excess (B,) is largest, these first; None: whose loss is."""
    count = math.ceil(round(keep * len(losses), 6))  # 0.55 · 100 is a little more than 55 in binary
    return losses[(losses if excess is None else excess).topk(count).indices]
