"""History: the curves, one row an epoch, kept across resumes."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from common.files import written


class History(Checkpoint):
    """Writes `history.csv`: epoch, step, seconds of training so far, lr and every epoch's metrics.

    The rows live in the checkpoint, so a resumed run's curves go on where its weights do. (A Checkpoint by class
    so that Lightning calls it after everything that logs.)

    Args:
        path: of the file.
        seconds: of training before the first step.
    """

    def __init__(self, path: str, seconds: float = 0.0) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self.measured: dict[str, float] = {}  # by validation within the epoch under way
        self.seconds_before = seconds
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent in training, resumes added up."""
        return self.seconds_before + time.monotonic() - self.started

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.measured = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(self.seconds, 2),
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        row |= self.measured | {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.measured = {}
        self.rows = [old for old in self.rows if old["epoch"] < row["epoch"]] + [row]
        if trainer.is_global_zero:
            with written(self.path, sync=False) as partial:
                pd.DataFrame(self.rows).to_csv(partial, index=False)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds, "measured": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
        self.seconds_before = state_dict["seconds"]
        self.measured = dict(state_dict.get("measured", {}))
