"""ImageClassifier: the LightningModule of every competition."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from common.build import build
from common.errors import PodiumError
from common.model import deferred
from common.model.losses import least
from common.model.margins import NormFace
from common.model.networks.frozen_features import FromFeatures
from common.model.networks.heads import end_in_float32
from common.model.optimizers import build_optimizer
from common.model.schedules import Constant
from common.model.step_hooks import Batch, Outputs, StepHooks, compose
from common.task.hierarchy import as_parents, check_parents, levels_of
from common.task.level_metrics import LevelMetrics
from common.task.measures import Measure
from common.task.metrics import ValidationMetrics
from common.task.single import SingleLabel
from common.task.task import Task

CHECKED_EVERY = 50  # batches between looks at the loss, each of which waits for the device
BOUND = 2.0**24  # of the mean loss: beyond it float32 holds nothing of what one picture costs


class ImageClassifier(pl.LightningModule):
    """Images to class probabilities.

    All arguments are plain values, so that a checkpoint rebuilds the module by itself and loads with
    `weights_only=True`.

    Args:
        model: part that builds the network: normalised images (B, C, H, W) → logits (B, K), or dict level → logits
            whose first entry is the leaf level.
        loss: part; (logits, target) → (B,).
        optimizer: part, see common/model/optimizers.py.
        schedule: part; (progress in [0, 1], epoch) → factor of the learning rate. None: constant.
        class_names: index = label.
        preprocessing: size, channels, fit, pad_value, interpolation: how a picture became the model's input.
        mean, std: of the input in [0, 1], one value or one a channel.
        levels: coarser level of the class tree → parent of each class, from fine to coarse; {}: there is no tree.
        seed: of dropout and of other random numbers drawn inside the network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        model: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None,
        class_names: list[str],
        preprocessing: dict[str, Any],
        mean: list[float] = [0.5],  # noqa: B006  (never changed; Lightning stores it)
        std: list[float] = [0.5],  # noqa: B006
        levels: dict[str, list[int]] = {},  # noqa: B006
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.class_names = class_names
        self.preprocessing = preprocessing
        self.parents = as_parents(levels)
        self.level_sizes = check_parents(self.parents, len(class_names))
        self.seed = seed
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.net = end_in_float32(self.build_model(), [len(class_names), *self.level_sizes.values()])
        self.loss_fn: nn.Module = build(loss, "loss")
        if isinstance(self.loss_fn, NormFace):
            self.loss_fn.check_head(self.net)
        self.schedule = build(schedule, "schedule") if schedule else Constant()
        self.task: Task = SingleLabel(len(class_names))
        self.metrics = ValidationMetrics(self.task, self.task.measures)
        self.level_metrics = LevelMetrics(levels_of(self.net, self.parents))
        self.memory_format = torch.contiguous_format
        self.from_features: FromFeatures | None = None  # set while batches hold features in place of images
        self.step_hooks = self._own_step_hooks()
        self.loss_sum, self.loss_steps = torch.zeros(()), 0  # of the training loss since the epoch began
        self.infinite: set[str] = set()  # constants that are so from the start, such as masks

    def build_model(self) -> nn.Module:
        """The network; a competition may build its own from `self.hparams.model`."""
        with_levels = "levels" in self.hparams["model"]
        return build(
            self.hparams["model"],
            "network",
            num_classes=len(self.class_names),
            in_channels=self.preprocessing["channels"],
            image_size=tuple(self.preprocessing["size"]),
            **({"level_sizes": self.level_sizes} if with_levels else {}),
        )

    # The step hooks ----------------------------------------------------------------------------------------------

    def measures(self) -> Sequence[Measure]:
        """What this competition is measured by besides, such as its contest's score: it may choose and stop.

        Validation keeps the whole pass's probabilities for those that are not `by_answers`.
        """
        return ()

    def all_measures(self) -> list[Measure]:
        """The task's, and those of this competition."""
        own = list(self.measures())
        names = {measure.name for measure in own}
        return [*(measure for measure in self.task.measures if measure.name not in names), *own]

    def measure(self, name: str) -> Measure | None:
        """What `valid_<name>` measures, of any table."""
        return next((measure for measure in self.all_measures() if measure.name == name), None)

    @property
    def directions(self) -> dict[str, str | None]:
        """Every metric of a training → max or min, which is better; None where only the configuration says it."""
        return (
            {f"valid_{measure.name}": measure.direction for measure in self.all_measures()}
            | dict.fromkeys(self.level_metrics.names, "max")
            | {"train_loss": "min"}
        )

    def setup(self, stage: str) -> None:
        self.metrics = ValidationMetrics(self.task, self.all_measures()).to(self.device)
        self.compose(self.trainer.callbacks)  # type: ignore[attr-defined]

    def compose(self, callbacks: list[Any]) -> None:
        """Take the step hooks of these callbacks; without any, targets are labels, and losses are averaged."""
        self.step_hooks = compose(self._own_step_hooks(), callbacks)

    def _own_step_hooks(self) -> StepHooks:
        return StepHooks(
            target=self.task.target,
            loss=lambda outputs, target: deferred.losses(self.loss_fn, leaf(outputs), target),
            reduce=lambda losses, excess=None: losses.mean(),
            probabilities=lambda outputs: self.task.probabilities(leaf(outputs)),
            predict=lambda images: self.step_hooks.probabilities(self(images)),
            parents=self.parents,
            floor=lambda outputs, target: least(self.loss_fn, target, leaf(outputs).shape[-1]),
        )

    # One step -----------------------------------------------------------------------------------------------

    def forward(self, images: Tensor) -> Outputs:
        """images: float (B, C, H, W) in [0, 1] → logits (B, K), or a dict of them by level."""
        normalised = (images - self.mean) / self.std
        return self.net(normalised.contiguous(memory_format=self.memory_format))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        outputs, target = self._outputs(batch), self.step_hooks.target(batch)
        losses = self.step_hooks.loss(outputs, target)
        loss = self.step_hooks.reduce(
            losses, lambda: losses.detach() - self.step_hooks.floor(outputs, target)
        )
        self.loss_sum = self.loss_sum + loss.detach()
        self.loss_steps += 1
        return loss * self._of_group(batch_idx)

    def _of_group(self, batch_idx: int) -> float:
        """What makes the step's gradient the mean over its pictures.

        Lightning divides each loss by `accumulate_grad_batches`, also where an epoch's last group has fewer batches.
        """
        trainer: Any = self._trainer
        most = 1 if trainer is None else trainer.accumulate_grad_batches
        if most == 1:
            return 1.0
        return most / min(most, trainer.num_training_batches - batch_idx // most * most)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        outputs = self._outputs(batch)
        probabilities = self.step_hooks.probabilities(outputs)
        self.metrics.update(probabilities, batch["label"])
        if self.level_metrics.levels:
            self.level_metrics.update(probabilities, outputs, batch["label"])

    def predict_scored(self, images: Tensor, labels: Tensor) -> Tensor:
        """As the step hook `predict`, while `level_metrics` counts what the heads above the leaves say in each pass."""
        hooks = self.step_hooks

        def counted(outputs: Outputs) -> Tensor:
            probabilities = hooks.probabilities(outputs)
            self.level_metrics.update(probabilities, outputs, labels)
            return probabilities

        if self.level_metrics.levels:
            self.step_hooks = replace(hooks, probabilities=counted)
        try:
            return hooks.predict(images)
        finally:
            self.step_hooks = hooks

    def _outputs(self, batch: Batch) -> Outputs:
        """Of the batch's images, or of the features that stand for them."""
        return self(batch["image"]) if self.from_features is None else self.from_features(batch["image"])

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities, float (B, K)."""
        return self.step_hooks.predict(batch["image"])

    # An epoch -----------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        self.loss_sum = self.loss_sum.to(self.device)
        self.infinite = {name for name, buffer in self.named_buffers() if buffer.isinf().any()}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % CHECKED_EVERY == 0:
            self._check_finite()

    def _check_finite(self, *values: Tensor) -> None:
        """Raise PodiumError where the training loss is beyond all bounds or one of the values no number.

        In any of the processes: all of them raise.
        """
        floats = [value for value in values if value.is_floating_point()]
        bounded = self.loss_sum.abs() <= BOUND * max(1, self.loss_steps)  # what is no number is not
        every = [bounded, *(value.isfinite().all() for value in floats)]
        fine = bool(torch.stack([each.to(self.device) for each in every]).all())
        trainer = self._trainer
        if trainer is not None and trainer.world_size > 1:
            fine = trainer.strategy.reduce_boolean_decision(fine, all=True)
        if not fine:
            raise PodiumError(
                "training has diverged, its loss or weights are beyond all bounds (earlier checkpoints are kept): "
                "give it a smaller optimizer.lr, a longer schedule.warmup or trainer.gradient_clip_val=1"
            )

    def on_train_epoch_end(self) -> None:
        self._check_finite()
        self.log("train_loss", self.loss_sum / max(1, self.loss_steps), sync_dist=True)
        self.loss_sum, self.loss_steps = torch.zeros((), device=self.device), 0

    def on_validation_epoch_start(self) -> None:
        """Processes that have no picture to validate gather with the others."""
        self.metrics.update(
            torch.empty(0, len(self.class_names), device=self.device),
            torch.empty(0, device=self.device).long(),
        )

    def on_validation_epoch_end(self) -> None:
        measured = self.metrics.compute()
        self.metrics.reset()
        if not self.trainer.sanity_checking:
            self._check_finite(measured["valid_loss"])
        self.log_dict(measured)
        if self.level_metrics.levels:
            self.log_dict(self.level_metrics.compute())
            self.level_metrics.reset()

    def extra_scores(self, table: pd.DataFrame) -> dict[str, Any]:
        """Scores besides those of every competition, from columns id, label, predicted (class), probability (its)."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Whoever saves: what is no number never takes the place of a good checkpoint."""
        state = dict(checkpoint["state_dict"])
        for name in self.infinite & state.keys():
            state[name] = state[name].nan_to_num(nan=torch.nan, posinf=0.0, neginf=0.0)
        self._check_finite(*state.values())
        checkpoint["train_loss"] = {"sum": self.loss_sum.cpu(), "steps": self.loss_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "train_loss" in checkpoint:  # a checkpoint made for predicting need not have it
            self.loss_sum, self.loss_steps = (
                checkpoint["train_loss"]["sum"],
                checkpoint["train_loss"]["steps"],
            )

    # The learning rate --------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.hparams["optimizer"], self)
        # asked for each group of parameters, answered once a step: processes send each other what it is
        rate_factor = lru_cache(1)(self._rate_factor)
        scheduler = LambdaLR(
            optimizer, lambda step: rate_factor(step)
        )  # a function is not put into checkpoints
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate_factor(self, _: int) -> float:
        trainer: Any = self.trainer
        progress, steps = self.progress(), trainer.global_step
        if trainer.world_size > 1 and any(isinstance(one, Timer) for one in trainer.callbacks):
            progress = trainer.strategy.broadcast(
                progress
            )  # clocks differ between processes, weights must not
        by_step = "step" in inspect.signature(self.schedule).parameters
        return self.schedule(
            *progress, **({"step": progress[0] / steps if steps else 0.0} if by_step else {})
        )

    def progress(self) -> tuple[float, float]:
        """(share of the run done in [0, 1], epochs done as a fraction).

        Of the bounds on epochs, steps and wall-clock time the one that is nearest to its end counts, so that the
        schedule is completed when the run ends.
        """
        trainer: Any = self.trainer
        steps = trainer.global_step
        # not trainer.num_training_batches: it is unknown when the first learning rate is set
        per_epoch = max(1, -(-trainer.datamodule.batches_per_epoch // trainer.accumulate_grad_batches))
        bounds = []
        if trainer.max_epochs and trainer.max_epochs > 0:
            bounds.append(steps / (trainer.max_epochs * per_epoch))
        if trainer.max_steps and trainer.max_steps > 0:
            bounds.append(steps / trainer.max_steps)
        for timer in trainer.callbacks:
            if isinstance(timer, Timer) and timer._duration:
                bounds.append(timer.time_elapsed() / timer._duration)
        return min(1.0, max(bounds, default=0.0)), steps / per_epoch


def leaf(outputs: Outputs) -> Any:
    """The logits of the leaf level, (B, K), or the DeferredLogits that a head returns in training."""
    return next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
