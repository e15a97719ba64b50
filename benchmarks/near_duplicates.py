"""`bench=near_duplicates`: which planted copies are found, what is grouped by mistake, and how long it takes.

make bench BENCH=near_duplicates DATA=<folder with a data set of each competition, by its name>

A data set without its folder is left out, and said so.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from benchmarks.shared import table
from benchmarks.shared.words import recipe
from common.build import build
from common.config.options import parse
from common.config.schema import at_least
from common.data.reading.images import Image, ImageError
from common.data.split.duplicates import find_near_duplicates

SETS = ("calligraphy", "hccr", "aliproducts", "garbage", "smoking_calling")
STROKES = ("calligraphy", "hccr")  # whose mirror images are no copies
NOTES = (
    "shares of the copies that are in the group of their original; crops lack so much of either side, anywhere",
    "two classes: unplanted pictures in groups of more than one class; same: by pairs of that kind alone",
)


@dataclass
class NearDuplicates:
    """Options of `bench=near_duplicates`."""

    competition: Any = ""  # of SETS; empty: all
    root: Any = "data"  # folder of the data sets
    planted: int = 1000  # pictures that are copied, at most
    counts: Any = (10_000, 100_000)  # generated pictures whose time is taken

    def __post_init__(self) -> None:
        at_least("planted", self.planted, 1)


def resized(factor: float) -> Callable[[Image, np.random.Generator], Image]:
    def copy(image: Image, _: np.random.Generator) -> Image:
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return cv2.resize(image, (width, height), interpolation=how).reshape(height, width, image.shape[2])

    return copy


def cropped(share: float) -> Callable[[Image, np.random.Generator], Image]:
    def copy(image: Image, rng: np.random.Generator) -> Image:
        height, width = (max(1, round(side * (1 - share))) for side in image.shape[:2])
        top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
        return image[top : top + height, left : left + width]

    return copy


def compressed(image: Image, rng: np.random.Generator) -> Image:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 91))])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8).reshape(image.shape)


def relit(image: Image, rng: np.random.Generator) -> Image:
    return np.clip(rng.uniform(0.85, 1.15) * image.astype(float) + rng.uniform(-20, 20), 0, 255).astype(
        np.uint8
    )


COPIES: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "half": resized(1 / 2),
    "third": resized(1 / 3),
    "double": resized(2),
    "jpeg 40-90": compressed,
    "light": relit,
    "crop 5 %": cropped(0.05),
    "crop 10 %": cropped(0.1),
}
TURNED: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "mirror": lambda image, _: image[:, ::-1],
    "turn 90": lambda image, _: np.rot90(image, 1),
    "turn 180": lambda image, _: np.rot90(image, 2),
    "turn 270": lambda image, _: np.rot90(image, 3),
}


def main(words: Sequence[str]) -> None:
    """Print both tables and write them to `runs/bench/<time>/near_duplicates{,_times}.{csv,md}`."""
    words = [word.replace("data.root=", "root=", 1) for word in words]
    options = parse(NearDuplicates, words)
    out = table.new_folder()
    rows = []
    for name in [options.competition] if options.competition else SETS:
        folder = Path(str(options.root)) / name
        if not folder.is_dir():
            print(f"{name} is left out: there is no folder {folder}")
            continue
        found = measured(*pictures(name, folder, out / name), name not in STROKES, options.planted)
        rows.append({"data": name, **found})
        print(rows[-1], flush=True)
    if rows:
        table.write(out, "near_duplicates", rows, NOTES)
        print(table.markdown(rows))
    times = [{"pictures": count, "seconds": round(seconds(count), 1)} for count in options.counts]
    if times:
        notes = ("generated pictures of 64 x 64; mirrored and turned ones are looked for too",)
        table.write(out, "near_duplicates_times", times, notes)
        print(table.markdown(times))


def pictures(name: str, root: Path, folder: Path) -> tuple[list[Image], np.ndarray]:
    """The labelled pictures of a data set as they are, and their labels."""
    config = recipe([f"competition={name}", f"data.root={root}"])
    more = {"prepared": False} if name == "smoking_calling" else {}
    data = build({**config["data"], **more}, "data", seed=0, views={}, folder=str(folder))
    records, _ = data.records()
    picture = data.pictures(records)
    images, labels = [], []
    for row, label in enumerate(records["label"]):
        try:
            images.append(picture(row))
            labels.append(label)
        except ImageError as error:
            print(error)
    return images, np.array(labels)


def measured(images: list[Image], labels: np.ndarray, turned: bool, planted: int) -> dict[str, Any]:
    groups, pairs = find_near_duplicates(images, turned=turned)
    same = pairs[pairs["kind"] == "same"]
    row: dict[str, Any] = {"pictures": len(images)}
    row["two classes, same"] = of_two_classes(components(len(images), same), labels)
    row["two classes"] = of_two_classes(np.array(groups), labels)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(images))[:planted]
    for kind, copy in {**COPIES, **(TURNED if turned else {})}.items():
        copies = [np.ascontiguousarray(copy(images[i], rng)) for i in chosen]
        found = np.array(find_near_duplicates([*images, *copies], turned=turned)[0])
        row[kind] = f"{(found[chosen] == found[len(images) :]).mean():.3f}"
    return row


def components(count: int, pairs: pd.DataFrame) -> np.ndarray:
    label = np.arange(count)
    ends = pairs[["first", "second"]].to_numpy()
    while len(ends) and (label[ends[:, 0]] != label[ends[:, 1]]).any():
        least = label[ends].min(1)
        np.minimum.at(label, ends[:, 0], least)
        np.minimum.at(label, ends[:, 1], least)
    return label


def of_two_classes(groups: np.ndarray, labels: np.ndarray) -> int:
    return int((pd.Series(labels).groupby(groups).transform("nunique") > 1).sum())


def seconds(count: int) -> float:
    """Of finding the near-duplicates among so many generated pictures, generating them aside."""
    images = list(generated(count))
    start = time.perf_counter()
    find_near_duplicates(images, turned=True)
    return time.perf_counter() - start


def generated(count: int, side: int = 64) -> Iterator[Image]:
    """Noise whose amplitude falls with its frequency, as in photographs."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        page = np.full((side, side, 3), 128, np.float32)
        for cells, amplitude in ((2, 60), (4, 40), (8, 25), (16, 15)):
            noise = rng.normal(0, amplitude, (cells, cells, 3)).astype(np.float32)
            page += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        yield np.clip(page, 0, 255).astype(np.uint8)
