"""EarlyStopping: the end when validation gets no better."""

from typing import Any

import pytorch_lightning as pl

from common.config.nearest import suggest
from common.errors import PodiumError
from common.task.measures import direction_of


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Lightning's, in the direction that is the metric's own.

    Args:
        monitor: the metric: what validation measures, or train_loss.
        patience: validations (epochs for train_loss) without a new best, ≥ 1.
        min_delta: by how much a new best must be better, ≥ 0.
        mode: max or min; None: what the metric is.
    """

    def __init__(
        self, monitor: str = "valid_top1", patience: int = 10, min_delta: float = 0.0, mode: str | None = None
    ) -> None:
        if patience < 1 or min_delta < 0:
            key, least = ("patience", 1) if patience < 1 else ("min_delta", 0)
            raise PodiumError(f"callbacks.early_stopping.{key} must be at least {least}")
        self.given: dict[str, Any] = {"monitor": monitor, "patience": patience, "min_delta": min_delta}
        self.wanted = mode
        super().__init__(**self.given, mode=mode or "max")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        directions: Any = pl_module.directions
        if self.monitor not in directions:
            raise PodiumError(
                f"callbacks.early_stopping.monitor: there is no metric {self.monitor}"
                f"{suggest(self.monitor, directions)}; there are {', '.join(directions)}"
            )
        mode = direction_of("callbacks.early_stopping.mode", self.monitor, self.wanted, directions)
        at_epoch_end = self.monitor.startswith("train_")  # known after the epoch's validation only
        super().__init__(**self.given, mode=mode, check_on_train_epoch_end=at_epoch_end)
        super().setup(trainer, pl_module, stage)
