"""EMA: an exponential moving average of the weights, which validates and predicts."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from common.errors import PodiumError


class EMA(WeightAveraging):
    """Averages parameters and buffers after every optimizer step; validation sees the average.

    In a checkpoint, `state_dict` is the average and `current_model_state` the trained weights themselves; a
    resumed run goes on with both. The average follows `average += (1 − d) · (weights − average)` with
    d = min(decay, (1 + n) / (10 + n)) after n updates, so that the first, bad weights are forgotten quickly.

    Lightning's own EMA multiplies by d and by 1 − d, which lets constant weights drift by rounding; a linear
    interpolation keeps equal values equal, frozen modules among them.

    Args:
        decay: in [0, 1).
    """

    def __init__(self, decay: float = 0.998) -> None:
        if not 0 <= decay < 1:
            raise PodiumError(f"callbacks.weight_averaging.decay must be in [0, 1), got {decay}")
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:  # the weights are brought to their precision later
            trainer.precision_plugin.convert_module(self._average_model)

    @torch.no_grad()
    def _average(self, averages: list[Tensor], weights: list[Tensor], updates: Tensor | int) -> None:
        updates = int(updates)
        share = 1 - min(self.decay, (1 + updates) / (10 + updates))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, share)
        else:  # counters, such as BatchNorm's
            torch._foreach_copy_(averages, weights)
