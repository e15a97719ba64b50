"""When checkpoints are written: the last one every minute and epoch, the best one when it is better."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loops.evaluation_loop import RestartStage

from common.errors import PodiumError

ASKED_EVERY = 10  # steps between which several processes agree on whether to save


class Stopped(Exception):
    """Training was asked by a signal to stop, and has saved. `code` is the exit code, 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.code = 128 + signum


class SaveLast(Checkpoint):
    """Writes `last.ckpt`, from which a killed run goes on: every `seconds`, after every epoch, and at the end.

    On SIGTERM or SIGINT it saves after the step under way and raises Stopped. A run that was told to stop early
    remembers it across a resume.

    Args:
        path: of the checkpoint.
        seconds: between saves, > 0.
        every_epoch: false where epochs are shorter than the writing: then they are saved by the clock too.
    """

    def __init__(self, path: str, seconds: float = 60.0, every_epoch: bool = True) -> None:
        self.path = path
        self.seconds = seconds
        self.every_epoch = every_epoch
        self.saved = time.monotonic()
        self.should_stop = False  # told so before its bounds were reached
        self.ended = False  # they are reached
        self.signal: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.saved = time.monotonic()

    def on_signal(self, signum: int, frame: Any) -> None:
        """The handler for SIGTERM and SIGINT while training."""
        if self.signal is not None:  # asked twice: do not wait for the step
            raise Stopped(signum)
        self.signal = signum

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if signal.getsignal(signal.SIGINT) == self.on_signal:
            # Lightning put its own handler over ours, by which a run ends unsaved and with exit code 0
            signal.signal(signal.SIGTERM, self.on_signal)
        trainer.should_stop = self.should_stop
        _validate_if_due(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last_batch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        last_epoch = 0 < (trainer.max_epochs or -1) <= trainer.current_epoch + 1
        self.ended = 0 < trainer.max_steps <= trainer.global_step or (last_batch and last_epoch)
        if self.ended or trainer.should_stop:  # the last weights are validated, whatever the interval
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = trainer.check_val_every_n_epoch and 1
            return
        if last_batch:
            return  # the epoch's end saves, with its validation done
        if trainer.fit_loop.epoch_loop._should_accumulate():
            return  # gradients are not in a checkpoint
        if self._is_due(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.should_stop = trainer.should_stop and not self.ended
        if trainer.world_size > 1:
            self.signal = trainer.strategy.broadcast(self.signal)
        if self.every_epoch or self._is_due(trainer) or self._is_over(trainer):
            self._save(trainer)

    def _is_over(self, trainer: pl.Trainer) -> bool:
        return self.should_stop or self.ended

    def _is_due(self, trainer: pl.Trainer) -> bool:
        """Whether to save now. Processes that train one model together save together, as the first of them says."""
        due = self.signal is not None or time.monotonic() - self.saved >= self.seconds
        if trainer.world_size > 1:
            if trainer.global_step % ASKED_EVERY:
                return False
            self.signal, due = trainer.strategy.broadcast((self.signal, due))
        return due

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved = time.monotonic()
        if self.signal is not None:
            raise Stopped(self.signal)

    def state_dict(self) -> dict[str, Any]:
        return {"should_stop": self.should_stop}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.should_stop = state_dict["should_stop"]


def _validate_if_due(trainer: pl.Trainer) -> None:
    """Begin with the validation that is due at the batch after which the checkpoint was written, if one is.

    It is written before the validation, so as not to lose a step to a kill. Lightning takes such a one as done; it
    makes up for one that was under way, which is what this says.
    """
    loop = trainer.fit_loop.epoch_loop
    fetcher: Any = trainer.fit_loop._data_fetcher
    if loop.restarted_on_train_batch_end and loop._should_check_val_fx(fetcher):
        loop.val_loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
        loop.val_loop.restarting = False  # none of its batches is done
        loop._batches_that_stepped -= 1  # where loggers draw it: both resume and validation count the batch


class SaveSteps(Checkpoint):
    """Writes `step_<n>.ckpt` every so many optimizer steps; the newest of them stay.

    One that falls on an epoch's last batch is written after its validation.

    Args:
        folder: where they are written.
        steps: between them, ≥ 1.
        keep: how many stay, ≥ 1.
    """

    def __init__(self, folder: str, steps: int, keep: int) -> None:
        self.folder = Path(folder)
        self.steps = steps
        self.keep = keep
        self.saved = 0  # the step of the newest

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_if_due(trainer)

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if step % self.steps or step == self.saved or trainer.fit_loop.epoch_loop._should_accumulate():
            return
        self.saved = step
        trainer.save_checkpoint(self.folder / f"step_{step:08d}.ckpt")
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step_*.ckpt"))[: -self.keep]:
                old.unlink()

    def state_dict(self) -> dict[str, Any]:
        return {"saved": self.saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.saved = state_dict["saved"]


class SaveBest(Checkpoint):
    """Writes a checkpoint whenever validation is as good as never before by one metric.

    Of equal values the later counts: its learning rate was lower.

    Args:
        path: of the checkpoint.
        monitor: the metric's name.
        mode: max or min.
    """

    def __init__(self, path: str, monitor: str, mode: str) -> None:
        self.path = path
        self.monitor = monitor
        self.sign = {"max": 1.0, "min": -1.0}[mode]
        self.best: float | None = None

    @property
    def state_key(self) -> str:
        return f"SaveBest-{self.monitor}"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            names = ", ".join(sorted(trainer.callback_metrics))
            raise PodiumError(f"best.{self.monitor}: there is no such metric; validation measures {names}")
        value = float(trainer.callback_metrics[self.monitor])
        if (
            self.best is None or self.best != self.best or self.sign * (value - self.best) >= 0
        ):  # nan: the worst
            self.best = value
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it, so that a file is whole or absent."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        target = Path(path)
        partial = target.with_name(f".{target.name}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)  # a link would be followed
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
            partial.unlink(missing_ok=True)
            kept = "the checkpoint before it is kept" if target.exists() else "there is none before it"
            raise PodiumError(
                f"{target} could not be written ({error}); {kept}. Free some space (df -h {target.parent}) "
                "and give the same command again: the run goes on from its last checkpoint"
            ) from error
