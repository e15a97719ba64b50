"""Progress: how far a run is, on a terminal and in a log file."""

import os
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from common.activity import Activity, duration
from common.errors import PodiumError
from common.files import unwritable
from common.text import console


class Progress(Callback):
    """One line an epoch; in between what `Activity` says of the epoch under way.

    `log.txt` keeps the lines too, there with the scores of coarser levels.

    Args:
        title: the job, named with the bar and before each line; empty where there is only one.
        log: the file that lines are added to, with their time.
        with_bar: say how far it is between epochs' lines.
    """

    def __init__(self, title: str, log: str, with_bar: bool = True) -> None:
        self.title = title
        self.log_file = Path(log)  # not self.log: Lightning gives callbacks that name
        self.with_bar = with_bar
        self.console = console(soft_wrap=True)
        self.activity: Activity | None = None
        self.shown = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.monotonic()
        self.share_at_start = self._share(pl_module)
        self._note(f"training on {pl_module.device} from step {trainer.global_step}", trainer)
        if self.with_bar:
            self.activity = Activity(self.title or "training").__enter__()
            self._show(self.activity, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.activity is not None and time.monotonic() - self.shown >= 1:
            self._show(self.activity, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.activity is not None:
            self.activity.detail = f"{self._epoch(pl_module)}, validating batch {batch_idx + 1}"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        module: Any = pl_module
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        parts = [self.title] if self.title else []
        parts += [
            f"epoch {trainer.current_epoch + 1}{epochs}",
            f"loss {float(module.loss_sum) / max(1, module.loss_steps):.3f}",
        ]
        measured = {
            name: _number(name, value) for name, value in metrics.items() if name.startswith("valid_")
        }
        taken = duration(time.monotonic() - self.started)
        if self.activity is not None:
            self._show(self.activity, pl_module)
        coarser = module.level_metrics.names  # a line for each level would bury the classes' own
        shown = [f"{name} {value}" for name, value in measured.items() if name not in coarser]
        self.console.print("  ".join([*parts, *shown, taken]))
        self._note(
            "  ".join([*parts, *(f"{name} {value}" for name, value in measured.items()), taken]), trainer
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        with suppress(PodiumError):  # on a full disk the exception itself is what counts
            self._note(f"stopped at step {trainer.global_step}: {exception!r}", trainer)
        self._close()

    def _note(self, line: str, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            note(self.log_file, line)

    def _show(self, activity: Activity, pl_module: pl.LightningModule) -> None:
        """Tell the activity how far the training is."""
        self.shown = now = time.monotonic()
        share = activity.share = self._share(pl_module)
        done = share - self.share_at_start
        left = f", {duration((1 - share) * (now - self.started) / done)} left" if done > 0 else ""
        activity.detail = f"{self._epoch(pl_module)}, {100 * share:.0f} %{left}"

    def _epoch(self, pl_module: pl.LightningModule) -> str:
        return f"epoch {pl_module.current_epoch + 1}, step {pl_module.global_step}"

    def _close(self) -> None:
        if self.activity is not None:
            self.activity.__exit__()
            self.activity = None
        sys.stdout.flush()

    def _share(self, pl_module: pl.LightningModule) -> float:
        return pl_module.progress()[0]  # type: ignore[operator, index]


def note(log: Path, line: str) -> None:
    """Add a line with its time to a log file. Raises PodiumError where it cannot be written."""
    try:
        with open(log, "a", encoding="utf-8", opener=_no_link) as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {line}\n")
    except OSError as error:
        raise unwritable(log, error) from error


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _number(name: str, value: float) -> str:
    return f"{value:.3f}" if "loss" in name or abs(value) > 1 else f"{100 * value:.2f} %"
