"""Sample data: drawn people in the contest's layout, so that the first command needs no download."""

import hashlib
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from common.sample.scene import Deed, Image, View, scene

CLASSES = ["calling", "normal", "smoking", "smoking_calling"]
TALL_EVERY, HIGH_EVERY = 10, 12  # every so many pictures one can be in front, or behind, in a pasted one


def write_sample(root: Path, seed: int = 0, per_class: int = 200, tests: int = 80) -> None:
    """Write `train/<class>/`, `test/` and `test_labels.csv` below `root`.

    The folder appears when all of it is written. The same seed gives the same files, byte for byte.

    Args:
        per_class: training pictures of each of the four classes.
        tests: pictures of `test`, whose labels stand in `test_labels.csv` and are read by nothing.
    """
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "test").mkdir(parents=True)
    jobs = [
        (partial / "train" / name, label, per_class, (seed, 0, label)) for label, name in enumerate(CLASSES)
    ]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_class, *zip(*jobs, strict=True)))
    labels = {}
    for number in range(tests):
        rng = np.random.default_rng((seed, 1, number))
        labels[_write(partial / "test", picture(number % 4, number // 4, rng), rng)] = CLASSES[number % 4]
    rows = "".join(f"{file},{labels[file]}\n" for file in sorted(labels))
    (partial / "test_labels.csv").write_text(f"image_name,category\n{rows}", encoding="utf-8")
    partial.rename(root)


def picture(label: int, number: int, rng: np.random.Generator) -> Image:
    """One picture of a class: uint8 RGB (H, W, 3). By its number some are tall crops, some 600 pixels high."""
    high = number % HIGH_EVERY == 3
    if number % TALL_EVERY == 6:
        height = int(rng.integers(220, 400))
        width = int(height / rng.uniform(2.05, 2.5))
        head = width * rng.uniform(0.5, 0.65)
    elif high:
        height, width = 300, int(rng.integers(220, 300))
        head = height * _head_share(rng)
    else:
        height = int(rng.integers(130, 230))
        width = int(height * rng.uniform(0.8, 1.15))
        head = height * _head_share(rng)
    room = min(0.5 * width, 0.9 * head)  # so that what hands hold beside the head is seen
    x = np.clip(rng.normal(0.5, 0.07) * width, room, width - room)
    y = rng.uniform(0.6, 0.75) * head + max(0.0, 0.1 * (height - 2 * head)) * rng.random()
    page = scene(_deed(label, rng), View(height, width, head, x, y), rng)
    if high:  # drawn at half its size, so that the file stays small
        page = cv2.resize(page, (2 * width, 600), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return page


def _head_share(rng: np.random.Generator) -> float:
    """Of the picture's height: close-ups, half figures, and some seen from farther away."""
    low, high = [(0.42, 0.56), (0.34, 0.42), (0.26, 0.34)][rng.choice(3, p=[0.62, 0.32, 0.06])]
    return rng.uniform(low, high)


def _deed(label: int, rng: np.random.Generator) -> Deed:
    side = int(rng.choice([-1, 1]))
    smokes = str(rng.choice(["lips", "fingers", "away"], p=[0.42, 0.46, 0.12]))
    extra = str(rng.choice(["none", "cup", "pen", "chin", "screen"], p=[0.84, 0.05, 0.05, 0.03, 0.03]))
    if CLASSES[label] == "calling":
        return Deed(phone=side, other=extra)
    if CLASSES[label] == "smoking":
        return Deed(cigarette=side, smokes=smokes, other=extra)
    if CLASSES[label] == "smoking_calling":
        return Deed(phone=side, cigarette=-side, smokes=smokes)
    others = ["none", "cup", "pen", "ear", "chin", "screen"]
    return Deed(other=str(rng.choice(others, p=[0.55, 0.09, 0.09, 0.1, 0.09, 0.08])))


def _write_class(folder: Path, label: int, count: int, key: tuple[int, ...]) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng((*key, number))
        _write(folder, picture(label, number, rng), rng)


def _write(folder: Path, image: Image, rng: np.random.Generator) -> str:
    """Write a JPEG, named by a source and by the SHA-1 of its bytes; returns the name."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 92))])[1].tobytes()
    name = f"{rng.choice(['v1', 'v1', 'v2'])}_{hashlib.sha1(data).hexdigest()[:10]}.jpg"
    (folder / name).write_bytes(data)
    return name
