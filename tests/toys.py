"""Small things that tests train on: pictures that can be told apart, and networks of a few lines."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from common.model.classifier import ImageClassifier
from common.model.networks.pretrained import load_weights
from common.task.measures import Measure, by_answers

CLASSES = ["bar", "cross", "ring", "slash"]


def write_images(
    root: Path, per_class: int = 12, size: int = 16, classes: list[str] = CLASSES, seed: int = 0
) -> None:
    """`root/<class>/<n>.png`: a class's random template under noise."""
    rng = np.random.default_rng(seed)
    for name in classes:
        template = rng.integers(0, 256, (size, size))
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            noisy = np.clip(template + rng.normal(0, 40, template.shape), 0, 255).astype(np.uint8)
            cv2.imencode(".png", noisy)[1].tofile(root / name / f"{number}.png")


class Tick(pl.Callback):
    """With the fixture `clock`: every step takes so many seconds."""

    now = 1000.0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        Tick.now += self.seconds


class Hold(pl.Callback):
    """Waits before the last epoch until a file is there, so that a run cannot end before it is killed.

    Meanwhile there is a file `held` beside it.
    """

    def __init__(self, until: str) -> None:
        self.until = Path(until)

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        while trainer.current_epoch == trainer.max_epochs - 1 and not self.until.exists():
            self.until.with_name("held").touch()
            time.sleep(0.01)


class TinyNet(nn.Sequential):
    """Convolution, BatchNorm, dropout, linear: all that makes resuming hard, in a few hundred weights."""

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: tuple[int, int], width: int = 8
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(width * 16, num_classes),
        )

    def get_classifier(self) -> nn.Module:
        return self[-1]


class Begun(TinyNet):
    """One that may begin from weights."""

    def __init__(self, *, pretrained: str = "none", **others) -> None:
        super().__init__(**others)
        load_weights(self, pretrained)


class Straight(nn.Sequential):
    """One linear layer: what a batch does to it is the mean of what its pictures do."""

    def __init__(self, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


def classifier(
    model: str | dict = "tests.toys.TinyNet",
    size: int = 16,
    channels: int = 1,
    loss: str | dict = "common.model.losses.CrossEntropy",
    kind: type[ImageClassifier] = ImageClassifier,
    **others,
) -> ImageClassifier:
    """A module of `kind`, its weights drawn from seed 0. model, loss: parts, or their targets."""
    torch.manual_seed(0)
    parts = {"model": model, "loss": loss, "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}}
    fit = {"fit": "stretch", "pad_value": 0, "interpolation": "area"}
    return kind(
        **{name: {"_target_": part} if isinstance(part, str) else part for name, part in parts.items()},
        schedule=None,
        preprocessing={"size": [size, size], "channels": channels, **fit},
        **{"class_names": CLASSES, **others},
    )


class WithF1(ImageClassifier):
    """A competition that is measured by F1, and by a number of which less is better."""

    def measures(self) -> list[Measure]:
        return [Measure("f1", macro_f1), Measure("brier", brier, direction="min")]


class WithSure(ImageClassifier):
    """A competition with a measure of which the recipe alone says what is better."""

    def measures(self) -> list[Measure]:
        return [by_answers("sure", lambda answers: answers.confidence.mean(), direction=None)]


def macro_f1(labels, probabilities) -> float:
    return f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0.0)


def brier(labels, probabilities) -> float:
    """Mean squared distance to the one-hot labels."""
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean())


class TwoLevels(nn.Module):
    """A linear map to leaf logits and one to those of a level above."""

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: tuple[int, int], num_parents: int = 2
    ) -> None:
        super().__init__()
        features = in_channels * image_size[0] * image_size[1]
        self.leaf = nn.Linear(features, num_classes)
        self.parent = nn.Linear(features, num_parents)

    def get_classifier(self) -> nn.Module:
        return self.leaf

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        flat = images.flatten(1)
        return {"label": self.leaf(flat), "group": self.parent(flat)}


def random_images(count: int, size: int = 6, seed: int = 0) -> Tensor:
    """float (count, 1, size, size) in [0, 1]."""
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


class Fails:
    """A picture's function that memory is never enough for."""

    def __call__(self, image):
        raise MemoryError("too large")
