"""OHEM: train on the hardest images of each batch."""

import math
from dataclasses import replace

import pytorch_lightning as pl
from torch import Tensor

from common.errors import PodiumError
from common.model.seams import Seams


class OHEM(pl.Callback):
    """Online hard example mining: only the largest losses of a batch are averaged.

    Source: Shrivastava, Gupta, Girshick, «Training Region-based Object Detectors with Online Hard Example Mining»,
    CVPR 2016.

    Args:
        keep: share of the batch that is kept, in (0, 1]; at least one image.
        start_epoch: until then the whole batch counts, ≥ 0.
    """

    def __init__(self, keep: float = 0.7, start_epoch: int = 0) -> None:
        if not 0 < keep <= 1:
            raise PodiumError(f"callbacks.ohem.keep must be in (0, 1], got {keep}")
        self.keep = keep
        self.start_epoch = start_epoch
        self.trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.trainer = trainer

    def wrap(self, seams: Seams) -> Seams:
        def reduce(losses: Tensor) -> Tensor:
            active = self.trainer is None or self.trainer.current_epoch >= self.start_epoch
            return seams.reduce(hardest(losses, self.keep) if active else losses)

        return replace(seams, reduce=reduce)


def hardest(losses: Tensor, keep: float) -> Tensor:
    """The ⌈keep · B⌉ largest of the losses (B,), largest first."""
    return losses.topk(math.ceil(keep * len(losses))).values
