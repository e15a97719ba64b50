"""Sample data: generated calligraphy in the contest's layout, so that the first command needs no download."""

import hashlib
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from common.sample import paper
from common.sample.brush import MANNERS, Hand, draw
from common.sample.glyphs import COMPOSED, SIMPLE, characters, strokes

# Simple characters that are easily taken for one another, and what is composed of similar parts.
CLASSES = "土士王玉主大太犬天夫人入八木本未末禾日曰目田己已巳牛平不" + (
    "林明早杏呆昌品朋好安字休体仁仕什付伯住江沐沫泊泪汪注苦苗国困因囚思志枯胡间闲"
)
WRITERS = 24


def write_sample(root: Path, seed: int = 0, per_class: int = 46, tests: int = 300) -> None:
    """Write `train/<character>/`, `test1/`, `label_list.txt` and `test1_labels.csv` below `root`.

    The folder appears when all of it is written. The same seed gives the same files, byte for byte.

    Args:
        per_class: training images of each of the 66 characters.
        tests: images of `test1`, whose labels stand in `test1_labels.csv` and are read by nothing.
    """
    names = sorted(CLASSES)
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "test1").mkdir(parents=True)
    jobs = [(partial / "train" / name, name, per_class, (seed, 0, label)) for label, name in enumerate(names)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_class, *zip(*jobs, strict=True)))
    rng = np.random.default_rng((seed, 1))
    labels = {}
    for number in range(tests):
        name = names[int(rng.integers(len(names)))]
        labels[_write(partial / "test1", picture(name, np.random.default_rng((seed, 2, number))))] = name
    rows = "".join(f"{file},{labels[file]}\n" for file in sorted(labels))
    (partial / "test1_labels.csv").write_text(f"filename,label\n{rows}", encoding="utf-8")
    lines = "".join(f"{name} {label}\n" for label, name in enumerate(names))
    (partial / "label_list.txt").write_text(lines, encoding="utf-8")
    partial.rename(root)


def picture(character: str, rng: np.random.Generator) -> np.ndarray:
    """One grey picture of a character by one of the sample's writers: uint8 (H, W), 52 to 110 pixels a side."""
    writer = int(rng.integers(WRITERS))
    habits = np.random.default_rng((7, writer))
    hand = Hand.drawn(habits)
    manner = MANNERS[list(MANNERS)[habits.choice(len(MANNERS), p=[0.4, 0.35, 0.15, 0.1])]]
    shares = {part: float(habits.normal(1, 0.08)) for part in [*SIMPLE, *COMPOSED]}
    ink = draw(strokes(character, shares), hand, manner, 112, rng)
    ink = _cropped(ink, rng)
    return paper.rubbing(ink, rng) if rng.random() < 0.6 else paper.sheet(ink, rng)


def _cropped(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut out as a person would, not quite straight: another shape, a random margin, another size."""
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.2), np.flatnonzero(ink.max(axis=0) > 0.2)
    height, width = rows[-1] - rows[0], columns[-1] - columns[0]
    side = max(height, width, 20)
    margins = rng.uniform(-0.05, 0.22, 4) * side
    middle = rng.uniform(0.25, 0.75)  # a flat character is not cut out flat
    extra_y, extra_x = 0.6 * (side - height), 0.6 * (side - width)
    left, right = (
        columns[0] - margins[0] - middle * extra_x,
        columns[-1] + margins[1] + (1 - middle) * extra_x,
    )
    top, bottom = rows[0] - margins[2] - middle * extra_y, rows[-1] + margins[3] + (1 - middle) * extra_y
    size = int(rng.integers(52, 111))
    shape = (size, max(24, round(size * (bottom - top) / (right - left))))
    turn = rng.normal(0, 0.08)
    cos, sin = np.cos(turn), np.sin(turn)
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    matrix = np.array([[cos, -sin], [sin, cos]]) * (right - left) / shape[0]
    offset = centre - matrix @ (np.array(shape) / 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(ink, np.column_stack([matrix, offset]), shape, flags=flags)


def _write_class(folder: Path, character: str, count: int, key: tuple[int, ...]) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        _write(folder, picture(character, np.random.default_rng((*key, number))))


def _write(folder: Path, image: np.ndarray) -> str:
    """Write a JPEG that is named by the SHA-1 of its bytes; returns the name."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    name = f"{hashlib.sha1(data).hexdigest()}.jpg"
    (folder / name).write_bytes(data)
    return name


assert set(CLASSES) <= set(characters())
