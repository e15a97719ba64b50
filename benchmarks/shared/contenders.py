"""Who runs in `bench=speed`: Podium's training, and the same work done by others."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import cv2
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from benchmarks.shared.loops import (
    BareLoop,
    SingleImages,
    decoded_batches,
    freeze,
    original_views,
    seconds_of_steps,
    viewed_batches,
    wait_for,
)
from benchmarks.shared.words import recipe
from common.build import build
from common.cores import cores
from common.data.augmentation.image_views import ImageViews
from common.data.module import ImageData
from common.data.reading.images import read
from common.errors import PodiumError
from common.model.classifier import ImageClassifier, leaf
from common.model.deferred import losses
from common.model.optimizers import build_optimizer
from common.run import components, folder
from common.train import fit, job


class Contenders:
    """All that one recipe compares. Each method without arguments runs one round and returns its images/s.

    Args:
        config: the recipe.
        out: folder for the split and for our job.
        steps, warmup: timed steps of a round, and those before them; at most what one epoch holds.
        seconds: that the steps of a round may take; fewer are timed where they are slow, but 5 at least.
        images: viewed by imgaug in a round.

    Raises PodiumError if an epoch has fewer than three batches.
    """

    def __init__(
        self, config: dict[str, Any], out: Path, *, steps: int, warmup: int, seconds: float, images: int
    ) -> None:
        job.quiet_lightning()
        trainer = {"max_epochs": None, "max_time": None, "limit_train_batches": None, "limit_val_batches": 0}
        trainer |= {"devices": 1, "fast_dev_run": False}
        self.config = {**config, "trainer": {**config["trainer"], **trainer}}
        if "pretrained" in config["model"]:
            self.config["model"] = {**config["model"], "pretrained": "none"}
        self.images, self.out = images, out
        self.device = components.device_of(config["trainer"]["accelerator"])
        torch.set_num_threads(config["trainer"]["threads"] or cores())
        self.data = components.make_data(self.config, out)
        self.data.setup()
        epoch = len(self.data.rows("train")) // self.data.batch_size
        if epoch < 3:
            raise PodiumError(
                f"{self.data.root}: bench needs 3 training batches, got {epoch}; lower data.batch_size"
            )
        self.epoch = epoch
        self.warmup = min(warmup, epoch // 3)
        self.steps = min(steps, epoch - self.warmup - 1)  # no epoch ends while the clock runs
        self.config["trainer"]["max_steps"] = self.warmup + self.steps + 1
        speed = self.ours(1, 1)  # warms up, and chooses precision and memory format
        affordable = max(5, int(seconds * speed / self.data.batch_size))
        if affordable < self.steps:
            self.warmup, self.steps = min(self.warmup, max(1, affordable // 5)), affordable
            self.config["trainer"]["max_steps"] = self.warmup + self.steps + 1
        chosen = folder.load_json(out / "jobs" / "bench" / "speed.json")
        self.config["trainer"] |= {name: chosen[name] for name in ("precision", "memory_format")}
        module = self.module()
        parameters = sum(parameter.numel() for parameter in module.net.parameters())
        self.settings = (
            f"{type(module.net).__name__} with {parameters / 1e6:.1f} M parameters, {self.device.type}, "
            f"{torch.get_num_threads()} threads, {chosen['precision']}, {chosen['memory_format']}, "
            f"batches of {self.data.batch_size} at {self.data.preprocessing['size']}, "
            f"{self.data.workers} workers; rounds of {self.steps} steps after {self.warmup}"
        )

    def ours(self, warmup: int | None = None, steps: int | None = None) -> float:
        """Through run/job.py, as `train` does."""
        warmup, steps = warmup or self.warmup, steps or self.steps
        clock = {"_target_": f"{__name__}.StepClock", "warmup": warmup, "steps": steps}
        config = {**self.config, "callbacks": {"clock": clock, **self.config["callbacks"]}}
        place = self.out / "jobs" / "bench"
        place.mkdir(parents=True, exist_ok=True)
        (place / "last.ckpt").unlink(missing_ok=True)  # else it would be resumed
        try:
            fit.train(config, place, self.data, self.module())
        except Timed as timed:
            return steps * self.data.batch_size / timed.seconds
        raise AssertionError("training ended before the clock did")

    def bare(self) -> float:
        return self._bare(viewed_batches(self.data, self.device))

    def memory(self) -> float:
        return self._bare(repeat(next(viewed_batches(self.data, self.device))))

    def _bare(self, batches: Iterator[dict[str, Tensor]]) -> float:
        total = self.config["trainer"]["max_steps"]
        loop = BareLoop(self.module(), self.config, self.device, total, self.epoch)
        return self.steps * self.data.batch_size / seconds_of_steps(loop, batches, self.warmup, self.steps)

    def lightning(self) -> float:
        """As in Lightning's manual; what it prints goes to /dev/null."""
        images = SingleImages(self.data.train_images, self.data.rows("train"))
        loader = DataLoader(
            images, self.data.batch_size, shuffle=True, num_workers=self.data.workers, drop_last=True
        )
        averaging = self.config["callbacks"].get("weight_averaging")
        with silence():
            trainer = pl.Trainer(
                accelerator=self.config["trainer"]["accelerator"],
                devices=1,
                max_steps=self.config["trainer"]["max_steps"],
                default_root_dir=self.out / "lightning",
                callbacks=[StepClock(self.warmup, self.steps), *([build(averaging)] if averaging else [])],
            )
            try:
                trainer.fit(PlainModule(self.module(), self.config, self.data), loader)
            except Timed as timed:
                return self.steps * self.data.batch_size / timed.seconds
        raise AssertionError("training ended before the clock did")

    def our_loader(self) -> float:
        batches = viewed_batches(self.data, torch.device("cpu"))
        next(batches)
        return images_per_second(islice((batch["image"] for batch in batches), self.steps))

    def plain_loader(self) -> float:
        count = self.steps * self.data.batch_size
        files = [Path(path).read_bytes() for path in self.training_files(count)]
        return images_per_second(decoded_batches(self.data, files))

    def our_views(self) -> float:
        views = ImageViews(
            recipe(["competition=calligraphy", "views=calligraphy_original"])["views"]["image"]
        )
        images = self.pictures()
        return images_per_second(views(image, key)[None] for key, image in enumerate(images))

    def plain_views(self) -> float:
        views, images = original_views(), self.pictures()
        return images_per_second(views(image=image)[None] for image in images)

    def pictures(self) -> list[Any]:
        channels: Any = self.data.preprocessing["channels"]
        return [read(path, channels) for path in self.training_files(self.images)]

    def training_files(self, count: int) -> list[str]:
        """Paths of the first `count` training images."""
        assert self.data.table is not None
        return self.data.table["path"].iloc[self.data.rows("train")[:count]].tolist()

    def module(self) -> ImageClassifier:
        pl.seed_everything(self.config["seed"], verbose=False)
        return components.make_module(self.config, self.data)


class Timed(Exception):
    """Ends a fit: the clock has seen enough. `seconds`: what the timed steps took."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class StepClock(pl.Callback):
    """Times `steps` whole steps after `warmup` others, from step start to step start, then raises Timed."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps, self.seen = warmup, steps, 0
        self.start = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.seen in (self.warmup, self.warmup + self.steps):
            wait_for(pl_module.device)
            now = time.perf_counter()
            if self.seen > self.warmup:
                raise Timed(now - self.start)
            self.start = now
        self.seen += 1


class PlainModule(pl.LightningModule):
    """The recipe's network, views, loss and optimizer in a LightningModule as its manual writes them."""

    def __init__(self, classifier: ImageClassifier, config: dict[str, Any], data: ImageData) -> None:
        super().__init__()
        self.classifier = classifier
        freeze(classifier, config)
        self.optimizer = config["optimizer"]
        self.total_steps = config["trainer"]["max_steps"]
        self.batch_view = data.batch_view

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = self.batch_view(batch["image"].to(torch.float32).div_(255), batch["key"])
        loss = losses(self.classifier.loss_fn, leaf(self.classifier(images)), batch["label"]).mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.optimizer, self)
        schedule = self.classifier.schedule
        scheduler = LambdaLR(optimizer, lambda step: schedule(step / self.total_steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def images_per_second(batches: Iterable[Any]) -> float:
    start = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    return count / (time.perf_counter() - start)


@contextmanager
def silence() -> Iterator[None]:
    """What is printed meanwhile goes to /dev/null."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def one_core(data: ImageData) -> Iterator[None]:
    """One thread for torch and OpenCV, and no loader processes."""
    threads, cv2_threads, workers = torch.get_num_threads(), cv2.getNumThreads(), data.workers
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data.workers = 0
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)
        data.workers = workers
