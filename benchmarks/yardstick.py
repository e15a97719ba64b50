"""`bench=yardstick`: the recipe against a plain loop, in the same seconds on the same split."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks.shared import table
from benchmarks.shared.words import check_single, options_and_recipe, recipe
from common.config.overrides import quote
from common.data.augmentation.batch_views import Affine, Flip
from common.data.augmentation.randomness import view_key
from common.data.module import ImageData
from common.data.pixels import arrays
from common.data.reading.images import fit
from common.errors import PodiumError
from common.model.networks.backbones import timm_model
from common.run import components, environment, folder
from common.run.jobs import jobs_of
from common.task.scores import score_rows
from common.train import job
from common.train.train import start, with_data


@dataclass(frozen=True)
class Plain:
    """What a competitor writes in an afternoon: a network of timm, usual views, AdamW, cosine to 0 by time."""

    network: str = "resnet18"
    pretrained: str = "none"  # or pip
    side: int = 64  # pixels, stretched
    batch: int = 64
    rate: float = 2e-3  # of AdamW, weight decay 0.05
    smoothing: float = 0.1
    flip: bool = False
    channels_last: bool = False
    features_side: int | None = None  # also a logistic regression on frozen features of pictures of this side

    @property
    def note(self) -> str:
        flips = "flips, " if self.flip else ""
        return (
            f"yardstick: timm's {self.network}, weights: {self.pretrained}, {self.side} x {self.side} stretched, "
            f"batches of {self.batch}, AdamW lr {self.rate}, weight decay 0.05, cosine to 0 by time, label smoothing "
            f"{self.smoothing}, {flips}shifts of 10 %, scales of 15 %, turns of 10°, 32 bits"
            f"{', channels_last' if self.channels_last else ''}, as many threads as ours; scored once, at the end"
        )


PHOTOS = Plain(
    "tf_efficientnet_lite0", "pip", 112, 32, 1e-3, 0.0, flip=True, channels_last=True, features_side=160
)
YARDSTICKS = {"aliproducts": PHOTOS, "garbage": PHOTOS, "smoking_calling": PHOTOS}

NOTES = (
    "ours at the end: the last validation of run/job.py's training, without test-time views, as the yardstick's",
    "ours, best: as `train` reports it: best.ckpt, which validation chose among all epochs, with test-time views",
    "ours validates and saves within its seconds; decoding and the choice of a precision come before them",
    "error ratio: error / the error of the best that is not ours",
)


@dataclass
class Yardstick:
    """Options of `bench=yardstick`; all other words belong to the recipe."""

    seconds: Any = 600  # of training, for each of the two; or a list: [150,300,600]
    seeds: Any = 0  # or a list: [0,1,2]

    def __post_init__(self) -> None:
        for name in ("seconds", "seeds"):
            value = getattr(self, name)
            numbers = value if isinstance(value, list) else [value]
            if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
                raise PodiumError(f"{name} must be a whole number or a list such as [1,2], got {value}")
            setattr(self, name, numbers)
        if min(self.seconds) < 1:
            raise PodiumError(f"seconds must be at least 1, got {min(self.seconds)}")


def main(words: Sequence[str]) -> None:
    """Train both in turn, print the table and write it to `runs/bench/<time>/yardstick.{csv,md}`."""
    options, given = options_and_recipe(Yardstick, words)
    config = with_data(recipe(given))
    check_single(config, "yardstick")
    torch.set_num_threads(job.threads(config))
    out = table.new_folder()
    job.quiet_lightning()
    data = components.make_data(config, out)
    data.setup()  # leaves folds.csv, which both take
    machine = environment.describe()
    gpus = f", {', '.join(machine['gpus'])}" if machine["gpus"] else ""
    train, valid = (len(data.rows(part)) for part in ("train", "valid"))
    plain = YARDSTICKS.get(config["competition"], Plain())
    notes = [
        plain.note,
        *NOTES,
        f"{machine['system']}, {machine['cpus']} cores{gpus}, torch {torch.__version__}",
        f"{train} training and {valid} validation images of {len(data.class_names)} classes",
    ]
    rows: list[dict[str, Any]] = []
    rivals = [frozen(data, plain)] if plain.features_side is not None else []
    for seconds in options.seconds:
        for seed in options.seeds:
            common = {"seconds": seconds, "seed": seed}
            found = [yardstick(config, data, plain, seconds, seed)]
            print(f"yardstick, {seconds} s, seed {seed}: {100 * found[0]['top1']:.2f} %", flush=True)
            found += rivals
            best = max(scores["top1"] for scores in found)
            found += ours(given, config, out, seconds, seed)
            rows += [common | _row(scores, best) for scores in found]
            table.write(out, "yardstick", [*rows, *_means(rows)], notes)
    print((out / "yardstick.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def yardstick(
    config: dict[str, Any], data: ImageData, plain: Plain, seconds: float, seed: int
) -> dict[str, Any]:
    """Train the plain network and score it at the end on the validation part."""
    torch.set_num_threads(job.threads(config))  # ours may have changed it
    torch.manual_seed(seed)
    assert data.table is not None
    labels = data.table["label"].to_numpy()
    images = pictures(data, plain.side)
    net = network(plain, data).to(components.device_of(config["trainer"]["accelerator"]))
    train, valid = data.rows("train"), data.rows("valid")
    used, seen = fit_bare(net, images[train], torch.from_numpy(labels[train]), plain, seconds, seed)
    probabilities = predict_bare(net, images[valid])
    scores = score_rows(labels[valid], probabilities, data.class_names)
    return {"model": "yardstick", "taken": used, "seen": seen, **scores}


def frozen(data: ImageData, plain: Plain) -> dict[str, Any]:
    """A logistic regression on the features of the pretrained network, whatever time it takes."""
    assert data.table is not None and plain.features_side is not None
    labels = data.table["label"].to_numpy()
    images = pictures(data, plain.features_side)
    began = time.perf_counter()
    net: Any = network(plain, data).eval()
    with torch.inference_mode():
        chunks = [
            net.forward_head(net.forward_features(_scaled(part)), pre_logits=True)
            for part in images.split(64)
        ]
    features = StandardScaler().fit_transform(torch.cat(chunks).numpy())
    train, valid = data.rows("train"), data.rows("valid")
    classifier = LogisticRegression(C=0.01, max_iter=1000).fit(features[train], labels[train])
    probabilities = np.zeros((len(valid), len(data.class_names)), np.float32)
    probabilities[:, classifier.classes_] = classifier.predict_proba(features[valid])
    scores = score_rows(labels[valid], probabilities, data.class_names)
    return {"model": "frozen features", "taken": time.perf_counter() - began, "seen": len(images), **scores}


def network(plain: Plain, data: ImageData) -> nn.Module:
    """The plain network for this data, with its start weights."""
    net = timm_model(
        plain.network,
        num_classes=len(data.class_names),
        in_channels=data.preprocessing["channels"],
        image_size=(plain.side, plain.side),
        pretrained=plain.pretrained,
    )
    return net.to(memory_format=torch.channels_last) if plain.channels_last else net  # type: ignore[call-overload]


def pictures(data: ImageData, side: int) -> Tensor:
    """All pictures of the data as they are, stretched, in its order: uint8 (N, C, side, side)."""
    assert data.table is not None
    picture = data.pictures(data.table)
    decoded, *_ = arrays.decode(range(len(data.table)), lambda row: fit(picture(row), (side, side)))
    return torch.from_numpy(decoded.stack(range(len(decoded)))).permute(0, 3, 1, 2).contiguous()


def fit_bare(
    net: nn.Module, images: Tensor, labels: Tensor, plain: Plain, seconds: float, seed: int
) -> tuple[float, int]:
    """Train for `seconds`; returns the seconds taken and the images seen. images: uint8 (N, C, side, side)."""
    device = next(net.parameters()).device
    views = [Affine(shift=0.1, scale=[0.85, 1.15], rotate=10), *([Flip()] if plain.flip else [])]
    optimizer = torch.optim.AdamW(net.parameters(), lr=plain.rate, weight_decay=0.05)
    loss_of = nn.CrossEntropyLoss(label_smoothing=plain.smoothing)
    order_of = np.random.default_rng(seed)
    batch = min(plain.batch, len(images))
    layout = torch.channels_last if plain.channels_last else torch.contiguous_format
    net.train()
    seen, epoch = 0, 0
    began = time.perf_counter()
    while True:
        for rows in order_of.permutation(len(images))[: len(images) // batch * batch].reshape(-1, batch):
            done = (time.perf_counter() - began) / seconds
            if done >= 1:
                return time.perf_counter() - began, seen
            for group in optimizer.param_groups:
                group["lr"] = plain.rate * (1 + math.cos(math.pi * done)) / 2
            keys = torch.from_numpy(view_key(seed, epoch, rows)).to(device)
            inputs = images[rows].to(device).float().div_(255)
            for view in views:
                inputs = view(inputs, keys)
            loss = loss_of(
                net(((inputs - 0.5) / 0.5).contiguous(memory_format=layout)), labels[rows].to(device)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += batch
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # else the clock runs ahead of the work
        epoch += 1


@torch.inference_mode()
def predict_bare(net: nn.Module, images: Tensor) -> np.ndarray:
    """Probabilities of uint8 (N, C, H, W): float32 (N, K)."""
    device = next(net.parameters()).device
    net.eval()
    chunks = [net(_scaled(chunk.to(device))) for chunk in images.split(128)]
    return torch.cat(chunks).softmax(dim=1).cpu().numpy()


def _scaled(images: Tensor) -> Tensor:
    """uint8 → float in [-1, 1]."""
    return (images.float().div_(255) - 0.5) / 0.5


def ours(
    given: Sequence[str], config: dict[str, Any], out: Path, seconds: int, seed: int
) -> list[dict[str, Any]]:
    """Train the recipe through run/job.py; scores of the last validation and of the best checkpoint."""
    settings = recipe([*given, f"seed={seed}", f"trainer.max_time={quote(duration(seconds))}"])
    settings["data"] = {**config["data"], "split": str(out / "folds.csv")}
    run = out / f"{seconds}s_seed{seed}"
    waves = jobs_of(settings)
    start(run, settings, waves)
    place = run / "jobs" / waves[0][0].name
    job.run_job(place)
    history = pd.read_csv(place / "history.csv").iloc[-1]
    scores = folder.load_json(place / "scores.json")
    batch = config["data"]["batch_size"] * config["trainer"]["accumulate_grad_batches"]
    shared = {"taken": float(history["seconds"]), "seen": int(history["step"]) * batch}
    return [
        {
            "model": "ours at the end",
            "top1": history["valid_top1"],
            "top5": history.get("valid_top5"),
            **shared,
        },
        {"model": "ours, best", "top1": scores["valid_top1"], "top5": scores.get("valid_top5"), **shared},
    ]


def duration(seconds: int) -> str:
    """DD:HH:MM:SS, as trainer.max_time wants it."""
    minutes, hours = seconds // 60, seconds // 3600
    return f"{hours // 24:02d}:{hours % 24:02d}:{minutes % 60:02d}:{seconds % 60:02d}"


def _row(scores: dict[str, Any], yardstick_top1: float) -> dict[str, Any]:
    error, reference = 1 - scores["top1"], 1 - yardstick_top1
    top5 = scores.get("top5")
    return {
        "model": scores["model"],
        "top-1 %": round(100 * scores["top1"], 2),
        "top-5 %": None if top5 is None else round(100 * top5, 2),
        "error %": round(100 * error, 2),
        "error ratio": round(error / reference, 3) if reference else None,
        "images/s": round(scores["seen"] / scores["taken"], 1),
        "images seen": scores["seen"],
        "seconds taken": round(scores["taken"], 1),
    }


def _means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over seeds for each model and time, where there are several seeds."""
    frame = pd.DataFrame(rows)
    if frame["seed"].nunique() < 2:
        return []
    means = frame.drop(columns="seed").groupby(["seconds", "model"], sort=False).mean().round(3).reset_index()
    return means.assign(seed="mean")[list(rows[0])].to_dict("records")
