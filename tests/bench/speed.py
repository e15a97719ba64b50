"""`bench=speed`: how much of a bare loop's speed Podium's training keeps; all alternate within one run."""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
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

from common.build import build
from common.config.configure import split
from common.config.layers import search_path
from common.data.image_views import ImageViews
from common.data.images import read
from common.data.module import ImageData
from common.errors import PodiumError
from common.model.classifier import ImageClassifier, leaf
from common.model.optimizers import build_optimizer
from common.run import environment, folder, job
from common.run.train import with_data
from tests.bench import table
from tests.bench.loops import (
    BareLoop,
    SingleImages,
    decoded_batches,
    freeze,
    original_views,
    seconds_of_steps,
    viewed_batches,
    wait_for,
)
from tests.bench.words import options_and_recipe, recipe

AIMS = {  # the share of the other's images/s that ours should reach
    "bare loop": 0.95,
    "bare loop, one batch in memory": 0.85,
    "Lightning's defaults": 1.0,
    "loader: decode each time": 0.9,
    "image views: plain imgaug": 0.9,
}
REPORTED_ONLY = {("original", "bare loop, one batch in memory")}

NOTES = (
    "ours: the Trainer of run/job.py with all its callbacks, timed between two step starts; no validation",
    "bare loop: same loader, views, network, frozen layers, loss, optimizer, learning rate, weight averaging "
    "(EMA), precision, memory format and threads; no other callback",
    "one batch in memory: that loop without loading and views",
    "Lightning's defaults: Trainer() and an ordinary DataLoader over the same decoded images; same views, "
    "frozen layers, loss, optimizer and weight averaging; 32 bits, contiguous",
    "loader: one thread, no workers; ours decodes every image once, before training, which is not timed",
    "all weights are random: no pretrained ones are fetched",
    "ratio: ours / other, the median over rounds; min and max are single rounds",
)


@dataclass
class Speed:
    """Options of `bench=speed`; all other words belong to the recipe."""

    rounds: int = 5  # of each contender, in turn
    steps: int = 30  # timed, in each round
    warmup: int = 5  # steps before them
    seconds: float = 30  # of steps in a round: where steps are slow, fewer are timed, but 5 at least
    images: int = 200  # viewed by imgaug, in each round
    # default: the competition's recipe. original: experiment=<competition>_original, or else its imgaug views
    recipes: list[str] = field(default_factory=lambda: ["default", "original"])

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "warmup", "seconds", "images"):
            if getattr(self, name) < 1:
                raise PodiumError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in self.recipes:
            if name not in ("default", "original"):
                raise PodiumError(f"recipes must be of default, original; got {name}")


def main(words: Sequence[str]) -> None:
    """Measure, print the table and write it to `runs/bench/<time>/speed.{csv,md}`."""
    options, given = options_and_recipe(Speed, words)
    more = {"default": [], "original": _original(given)}
    configs = {name: recipe([*given, *more[name]]) for name in options.recipes}
    out = table.new_folder()
    machine = environment.describe()
    gpus = f", {', '.join(machine['gpus'])}" if machine["gpus"] else ""
    notes = [*NOTES, f"{machine['system']}, {machine['cpus']} cores{gpus}, torch {torch.__version__}"]
    rows: list[dict[str, Any]] = []
    for name, config in configs.items():
        bench = Bench(with_data(config), options, out / name)
        notes.append(f"{name}: {bench.settings}")
        rows += [{"recipe": name, **row} for row in bench.compare(name)]
        table.write(out, "speed", rows, notes)
    print((out / "speed.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


class Bench:
    """The contenders of one recipe. Each returns the images/s of one round.

    Args:
        config: the recipe.
        out: folder for the split and for our job.
    """

    def __init__(self, config: dict[str, Any], options: Speed, out: Path) -> None:
        job.quiet_lightning()
        trainer = {"max_epochs": None, "max_time": None, "limit_train_batches": None, "limit_val_batches": 0}
        trainer |= {"devices": 1, "fast_dev_run": False}
        self.config = {**config, "trainer": {**config["trainer"], **trainer}}
        if "pretrained" in config["model"]:
            self.config["model"] = {**config["model"], "pretrained": "none"}
        self.options, self.out = options, out
        self.device = job.device_of(config["trainer"]["accelerator"])
        torch.set_num_threads(config["trainer"]["threads"] or os.cpu_count() or 1)
        self.data = job.make_data(self.config, out)
        self.data.setup()
        epoch = len(self.data.rows("train")) // self.data.batch_size
        if epoch < 3:
            raise PodiumError(
                f"{self.data.root}: bench needs 3 training batches, got {epoch}; lower data.batch_size"
            )
        self.epoch = epoch
        self.warmup = min(options.warmup, epoch // 3)
        self.steps = min(options.steps, epoch - self.warmup - 1)  # no epoch ends while the clock runs
        self.config["trainer"]["max_steps"] = self.warmup + self.steps + 1
        speed = self.ours(1, 1)  # warms up, and chooses precision and memory format
        affordable = max(5, int(options.seconds * speed / self.data.batch_size))
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
            f"{self.data.workers} workers; {options.rounds} rounds of {self.steps} steps after {self.warmup}"
        )

    def compare(self, recipe_name: str) -> list[dict[str, Any]]:
        """One row for each contender of ours and another."""
        training = {
            "ours": self.ours,
            "bare loop": self.bare,
            "bare loop, one batch in memory": self.memory,
            "Lightning's defaults": self.lightning,
        }
        loading = {"ours": self.our_loader, "loader: decode each time": self.plain_loader}
        viewing = {"ours": self.our_views, "image views: plain imgaug": self.plain_views}
        rows = compare(training, self.options.rounds)
        with one_core(self.data):
            rows += compare(loading, self.options.rounds) + compare(viewing, self.options.rounds)
        for row in rows:
            if (recipe_name, row["compared with"]) in REPORTED_ONLY:
                row |= {"aim": None, "met": None}
        return rows

    def ours(self, warmup: int | None = None, steps: int | None = None) -> float:
        """Through run/job.py, as `train` does."""
        warmup, steps = warmup or self.warmup, steps or self.steps
        clock = {"_target_": f"{__name__}.StepClock", "warmup": warmup, "steps": steps}
        config = {**self.config, "callbacks": {"clock": clock, **self.config["callbacks"]}}
        place = self.out / "jobs" / "bench"
        place.mkdir(parents=True, exist_ok=True)
        (place / "last.ckpt").unlink(missing_ok=True)  # else it would be resumed
        try:
            job.train(config, place, self.data, self.module())
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
        return [read(path, channels) for path in self.training_files(self.options.images)]

    def training_files(self, count: int) -> list[str]:
        """Paths of the first `count` training images."""
        assert self.data.table is not None
        return self.data.table["path"].iloc[self.data.rows("train")[:count]].tolist()

    def module(self) -> ImageClassifier:
        pl.seed_everything(self.config["seed"], verbose=False)
        return job.make_module(self.config, self.data)


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
        loss = self.classifier.loss_fn(leaf(self.classifier(images)), batch["label"]).mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.optimizer, self)
        schedule = self.classifier.schedule
        scheduler = LambdaLR(optimizer, lambda step: schedule(step / self.total_steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def compare(contenders: dict[str, Callable[[], float]], rounds: int) -> list[dict[str, Any]]:
    """Rounds of all contenders in turn, every second one backwards; the first is compared with each other."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(contenders[name]())
        last = ", ".join(f"{name} {values[-1]:.0f}" for name, values in found.items())
        print(f"round {number + 1}/{rounds}: {last} images/s", flush=True)
    ours, *others = contenders
    return [_row(other, found[ours], found[other]) for other in others]


def _row(other: str, ours: list[float], others: list[float]) -> dict[str, Any]:
    ratios = [one / two for one, two in zip(ours, others, strict=True)]
    median = statistics.median(ratios)
    return {
        "compared with": other,
        "ours images/s": round(statistics.median(ours), 1),
        "other images/s": round(statistics.median(others), 1),
        "ratio": round(median, 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
        "aim": AIMS[other],
        "met": "yes" if median >= AIMS[other] else "no",
    }


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


def _original(words: Sequence[str]) -> list[str]:
    """The words that make a recipe the original entry's: its experiment, or else only imgaug's views."""
    name = f"{recipe(words)['competition']}_original"
    found = search_path(split(list(words))[1]).find("experiment", name)
    return [f"experiment={name}"] if found else ["views=calligraphy_original"]
