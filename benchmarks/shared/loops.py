"""What Podium is measured against: the same work written out plainly, without Trainer, callbacks or files."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import imgaug.augmenters as iaa
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.data.augmentation.image_views import ResizedCrop
from common.data.module import ImageData
from common.data.pixels.dataset import Images
from common.errors import PodiumError
from common.model.classifier import ImageClassifier, leaf
from common.model.deferred import losses
from common.model.optimizers import build_optimizer
from common.run.components import FORMATS
from common.train.speed_probe import PRECISIONS

Batch = dict[str, Tensor]


class BareLoop:
    """A recipe's training steps in plain PyTorch.

    Network, loss, optimizer, learning rate, clipping, precision, memory format, frozen layers and weight averaging
    are the recipe's, so that both sides do the same arithmetic. Nothing else of its callbacks is taken over.

    Args:
        module: network, normalisation, loss and schedule; is trained.
        config: the recipe, with `trainer.precision` and `trainer.memory_format` chosen.
        total_steps, steps_per_epoch: for the learning-rate schedule.
    """

    def __init__(
        self,
        module: ImageClassifier,
        config: dict[str, Any],
        device: torch.device,
        total_steps: int,
        steps_per_epoch: int,
    ) -> None:
        options = config["trainer"]
        if options["precision"] not in PRECISIONS or options["accumulate_grad_batches"] != 1:
            raise PodiumError(
                f"bench knows trainer.precision {', '.join(PRECISIONS)} and no accumulate_grad_batches, "
                f"got {options['precision']} and {options['accumulate_grad_batches']}"
            )
        self.module = module.to(device).train()
        freeze(module, config)
        self.module.memory_format = FORMATS[options["memory_format"]]
        self.module.net.to(memory_format=self.module.memory_format)  # type: ignore[call-overload]
        self.device = device
        self.dtype = PRECISIONS[options["precision"]]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.clip, self.clip_by = options["gradient_clip_val"], options["gradient_clip_algorithm"]
        self.optimizer = build_optimizer(config["optimizer"], module)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.done = 0
        averaging = config["callbacks"].get("weight_averaging")
        self.decay = averaging["decay"] if averaging else None
        weights = [*module.parameters(), *module.buffers()]
        self.floats = [weight.detach() for weight in weights if weight.is_floating_point()]
        self.counters = [weight for weight in weights if not weight.is_floating_point()]
        self.float_averages = [weight.clone() for weight in self.floats] if averaging else []
        self.counter_averages = [weight.clone() for weight in self.counters] if averaging else []

    def step(self, batch: Batch) -> None:
        """One step of the optimizer. batch: image float32 (B, C, H, W) in [0, 1] and label int64 (B,)."""
        factor = self.module.schedule(self.done / self.total_steps, self.done / self.steps_per_epoch)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            loss = losses(self.module.loss_fn, leaf(self.module(batch["image"])), batch["label"]).mean()
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            clip: Any = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}[self.clip_by]
            clip([weight for group in self.optimizer.param_groups for weight in group["params"]], self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.decay is not None:
            self._average(self.decay)
        self.done += 1

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """As common/callbacks/weight_averaging.py: the first update copies."""
        share = 1 - min(decay, (1 + self.done) / (10 + self.done)) if self.done else 1.0
        torch._foreach_lerp_(self.float_averages, self.floats, share)
        if self.counters:  # of BatchNorm
            torch._foreach_copy_(self.counter_averages, self.counters)


def freeze(module: ImageClassifier, config: dict[str, Any]) -> None:
    """The layers that the recipe freezes in its first epoch: no gradients, and eval mode."""
    part = config["callbacks"].get("freeze")
    for name in part["modules"] if part else []:
        module.net.get_submodule(name).requires_grad_(False).eval()


def viewed_batches(data: ImageData, device: torch.device) -> Iterator[Batch]:
    """One epoch from Podium's own loader, on the device, as float32 in [0, 1] and with the batch views."""
    data.trainer = None  # else the loader goes on where the last Trainer stopped
    for batch in data.train_dataloader():
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        images = batch["image"].to(torch.float32).div_(255)
        yield {**batch, "image": data.batch_view(images, batch["key"])}


def seconds_of_steps(loop: BareLoop, batches: Iterator[Batch], warmup: int, steps: int) -> float:
    """How long `steps` steps took, each with fetching its batch, after `warmup` others."""
    for _ in range(warmup):
        loop.step(next(batches))
    wait_for(loop.device)
    start = time.perf_counter()
    for _ in range(steps):
        loop.step(next(batches))
    wait_for(loop.device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class SingleImages(Dataset[Batch]):
    """The training images as a data set is usually written: an item is one image, to be collated."""

    def __init__(self, images: Images, rows: np.ndarray) -> None:
        self.images = images
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> Batch:
        return {name: value[0] for name, value in self.images[0, int(self.rows[item])].items()}


def decoded_batches(data: ImageData, files: Sequence[bytes]) -> Iterator[Tensor]:
    """Batches float32 (B, C, H, W) in [0, 1]: every image decoded, viewed and resized each time it is needed.

    files: encoded images, held in memory so that no disk is measured.
    """
    settings: dict[str, Any] = data.preprocessing
    channels, (height, width) = settings["channels"], settings["size"]
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    for start in range(0, len(files), data.batch_size):
        images = []
        for number, file in enumerate(files[start : start + data.batch_size], start):
            image: Any = cv2.imdecode(np.frombuffer(file, np.uint8), flag)
            if data.image_view is not None:
                image = data.image_view(image.reshape(*image.shape[:2], channels), number)
            if image.shape[:2] != (height, width):
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            images.append(image.reshape(height, width, channels))
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float().div_(255)
        yield data.batch_view(batch, torch.arange(start, start + len(images)))


def original_views() -> iaa.Augmenter:
    """conf/views/calligraphy_original.yaml as one would write it in imgaug itself."""
    return iaa.Sequential(
        [
            iaa.Invert(p=0.5),
            iaa.Sometimes(0.5, iaa.GaussianBlur(sigma=5)),
            iaa.Resize({"shorter-side": 200, "longer-side": "keep-aspect-ratio"}, interpolation="linear"),
            ResizedCrop(180, scale=(0.08, 1.0)),
            iaa.Affine(rotate=(-10, 10)),
            iaa.Resize(128, interpolation="linear"),
        ]
    )
