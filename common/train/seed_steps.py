"""SeedSteps: what a step draws depends on the step alone."""

from typing import Any

import pytorch_lightning as pl
import torch

from common.data.augmentation.randomness import view_key


class SeedSteps(pl.Callback):
    """Seeds torch's generators from (seed, epoch, batch, rank) before every training step.

    Dropout and stochastic depth therefore draw the same numbers in a resumed run as in an unbroken one, without
    any generator's state in the checkpoint.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed = view_key(self.seed, trainer.current_epoch, batch_idx + (trainer.global_rank << 32))
        torch.default_generator.manual_seed(seed)  # a hundred times faster than torch.manual_seed
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(seed)
