"""Frozen backbones: what they say of each image is computed once, and the classifier trains on that.

It is done where a stage freezes everything but the classifier (`callbacks.freeze.modules: [backbone]`) and shows every
image the same way in each epoch: then an epoch on images and one on features compute the same, to rounding. The
features, float32, lie in `features/<key>/` of the run folder; the key is made of all that they depend on, so that the
folds of a stage share them where they start from the same weights. A killed job goes on where it was; when the run is
finished they are deleted, since checkpoints hold the whole network all the same.
"""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from common.activity import counted, duration
from common.data.module import ImageData
from common.data.pixels.features import Features
from common.errors import PodiumError, reading
from common.model.checkpoint import load_checkpoint
from common.model.classifier import ImageClassifier
from common.model.networks.backbone_parts import classifiers_of
from common.model.networks.frozen_features import Unlike, features_of, head_on_features
from common.run import folder
from common.train import speed_probe
from common.train.progress import note

PROBED = 8  # images on which features are tried
SAVED_EVERY = 30  # seconds of computing features that a kill can cost


def train_on_features(
    config: dict[str, Any],
    job: Path,
    data: ImageData,
    module: ImageClassifier,
    precision: str,
    device: torch.device,
) -> "SayWhenItPays | None":
    """Give data and module features in place of images where that trains the same model, else leave them alone.

    module: with what never learns frozen. Returns a callback, which says after the first epoch what was saved.
    Raises PodiumError where `trainer.frozen_features` is true and the stage's recipe does not allow it.
    """
    wanted = config["trainer"]["frozen_features"]
    if wanted is False or _learning(module):  # where a part of the backbone learns, features change
        if wanted is True:
            raise PodiumError(
                "trainer.frozen_features=true needs a stage that freezes everything but the classifier, by "
                "callbacks.freeze.modules=[backbone] and no until_epoch; set it to auto or false"
            )
        return None
    if (job / "last.ckpt").exists():  # the frozen weights are those that the job began with
        state = load_checkpoint(job / "last.ckpt", "state_dict")["state_dict"]
        with reading(job / "last.ckpt"):
            module.load_state_dict(state)
    module.to(device)
    try:
        _check_recipe(config, data)
        rows = np.union1d(data.rows("train"), data.rows("valid"))
        head = head_on_features(module, _images(data, rows[:PROBED], device))
        stored, seconds = _computed(config, job, data, module, rows, precision, device)
    except Unlike as reason:
        if wanted is True:
            raise PodiumError(f"trainer.frozen_features=true: {reason}; set it to auto or false") from None
        _say(job, f"the backbone is frozen, but looks at the images in every epoch: {reason}")
        return None
    finally:
        module.train()
    assert data.table is not None
    place = np.full(len(data.table), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    data.features = Features(stored, place, data.valid_images.labels, data.seed)
    module.from_features = head
    seen = data.batches_per_epoch * data.batch_size + len(data.rows("valid"))
    return SayWhenItPays(job, seconds, seconds * seen / len(rows))


def delete_features(run: Path) -> None:
    """Remove what takes gigabytes and can be computed again."""
    shutil.rmtree(run / "features", ignore_errors=True)


class SayWhenItPays(pl.Callback):
    """After the first whole epoch: how long the pass over the images took, and the epoch from which it is made up for.

    Args:
        job: the job's folder.
        first: seconds of the pass over the images.
        slow: seconds that an epoch on images takes, about.
    """

    def __init__(self, job: Path, first: float, slow: float) -> None:
        self.job, self.first, self.slow = job, first, slow
        self.began: float | None = None
        self.said = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.said or self.began is None:  # None: the rest of an epoch, after a resume
            return
        self.said = True
        fast = max(time.monotonic() - self.began, 1e-3)
        pays = pays_from(self.first, self.slow, fast)
        _say(
            self.job,
            f"an epoch takes {fast:.2f} s on features and about {self.slow:.1f} s on images: "
            + (
                f"{self.slow / fast:.0f} times as long, so it pays from epoch {pays} on"
                if pays
                else "it does not pay"
            ),
        )


def pays_from(first: float, slow: float, fast: float) -> int | None:
    """The first epoch at whose end a pass over the images and epochs on features took less than epochs on images.

    first, slow, fast: seconds of the pass, of an epoch on images and of one on features. None: it never pays.
    """
    return None if slow <= fast else int(first / (slow - fast)) + 1


def _learning(module: ImageClassifier) -> list[str]:
    """The network's parameters that learn, without the classifier's."""
    classifier = {id(parameter) for part in classifiers_of(module.net) for parameter in part.parameters()}
    named = module.net.named_parameters()
    return [name for name, parameter in named if parameter.requires_grad and id(parameter) not in classifier]


def _check_recipe(config: dict[str, Any], data: ImageData) -> None:
    """Raise Unlike where images differ between epochs, or where too few epochs follow."""
    options = config["trainer"]
    views = [name for name, part in (config["views"].get("batch") or {}).items() if part]
    if config["views"].get("image"):
        raise Unlike("views.image show each image in another way")
    if views:
        raise Unlike(f"views.batch.{views[0]} shows each image in another way")
    if config["callbacks"].get("mix"):
        raise Unlike("callbacks.mix blends images")
    if options["devices"] not in (1, "1") or options["num_nodes"] != 1:
        raise Unlike("several processes train one model")
    if options["fast_dev_run"]:
        raise Unlike("fast_dev_run looks at a few images only")
    if options["frozen_features"] == "auto" and _epochs(options, data) < 2:
        raise Unlike("a single epoch has nothing to gain")


def _epochs(options: dict[str, Any], data: ImageData) -> float:
    """Epochs that the stage will take at most; infinite where the clock bounds it."""
    steps = -(-data.batches_per_epoch // options["accumulate_grad_batches"])
    bounds = [options["max_epochs"], options["max_steps"] and options["max_steps"] / steps]
    return min((bound for bound in bounds if bound), default=float("inf"))


def _computed(
    config: dict[str, Any],
    job: Path,
    data: ImageData,
    module: ImageClassifier,
    rows: np.ndarray,
    precision: str,
    device: torch.device,
) -> tuple[np.ndarray, float]:
    """(features float32 (rows, …), mapped from their file; seconds that it took), computed unless they are there."""
    if precision not in speed_probe.PRECISIONS:
        raise Unlike(f"trainer.precision={precision} is not one of {', '.join(speed_probe.PRECISIONS)}")
    dtype = speed_probe.PRECISIONS[precision]
    place = job.parent.parent / "features" / _key(config, data, module, rows, precision)
    with folder.lock(place, wait=True), torch.no_grad():  # another fold may be at them
        module.eval()
        done, seconds = 0, 0.0
        if (place / "progress.json").exists():
            done, seconds = folder.load_json(place / "progress.json", list[float])
            stored: np.memmap = np.lib.format.open_memmap(place / "features.npy", "r+")
        saved = began = time.monotonic()
        left = len(rows) - done
        what = f"{left:,} images are computed once" if left else f"{len(rows):,} images are there already"
        _say(job, f"the backbone is frozen: its features of {what}")
        batches = data.in_order(rows[done:]) if left else ()
        for batch in counted(batches, "computing features: batches", len(batches)):
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                images = batch["image"].to(device).float().div_(255)
                found = features_of(module, images).cpu().numpy()
            if done == 0:
                stored = _new_file(place / "features.npy", (len(rows), *found.shape[1:]))
            stored[done : done + len(found)] = found
            done += len(found)
            now = time.monotonic()
            if now - saved > SAVED_EVERY or done == len(rows):
                stored.flush()
                folder.write_json(place / "progress.json", [done, seconds + now - began])
                saved = now
        if left:
            seconds += saved - began
            shape = " x ".join(map(str, stored.shape[1:]))
            _say(job, f"{shape} numbers each, {stored.nbytes / 1e6:,.0f} MB, in {duration(seconds)}: {place}")
    return np.lib.format.open_memmap(place / "features.npy", "r"), seconds


def _new_file(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A file of zeros whose space is taken now: a full disk would otherwise end the process by a signal."""
    stored = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        path.unlink()
        raise Unlike(
            f"{stored.nbytes / 1e9:.1f} GB of features do not fit on the disk ({error.strerror})"
        ) from None
    return stored


def _key(
    config: dict[str, Any], data: ImageData, module: ImageClassifier, rows: np.ndarray, precision: str
) -> str:
    """Of everything that features depend on: the frozen weights, what is done to an image before, and which images."""
    assert data.table is not None
    left_out = ("head", "dropout", "pretrained")  # features do not depend on them
    network = {key: value for key, value in config["model"].items() if key not in left_out}
    pools = getattr(classifiers_of(module.net)[0], "pools", False)
    said = [network, pools, config["module"], module.preprocessing, precision, str(module.memory_format)]
    key = hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode())
    classifier = {
        tensor.data_ptr() for part in classifiers_of(module.net) for tensor in part.state_dict().values()
    }
    for name, tensor in module.net.state_dict().items():
        if tensor.ndim and tensor.data_ptr() not in classifier:
            key.update(name.encode() + tensor.cpu().numpy().tobytes())
    key.update(data.picture_keys(data.table.iloc[rows].reset_index(drop=True)).tobytes())
    return key.hexdigest()[:16]


def _images(data: ImageData, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    items = [(0, int(row)) for row in rows]
    return data.valid_images.__getitems__(items)["image"].to(device).float().div_(255)


def _say(job: Path, line: str) -> None:
    print(line, flush=True)
    note(job / "log.txt", line)
