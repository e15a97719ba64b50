"""Sample data: characters written with a pen by several people, in .gnt files, so that no download is needed."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.sample.brush import Hand, Manner, draw
from common.sample.glyphs import COMPOSED, SIMPLE, characters, strokes
from competitions.hccr import gnt, tags

WRITERS = {"train": 16, "test": 4, "unlabelled": 2}
SIDE = 96  # pixels of the page that a character is written on


def write_sample(root: Path, seed: int = 0, writers: dict[str, int] | None = None) -> None:
    """Write `train/<writer>.gnt`, `test/<writer>.gnt` and `unlabelled/<writer>.gnt`, with tags of zero, below `root`.

    Each writer writes every character once, in an order of his own. The folder appears when all of it is written. The
    same seed gives the same files, byte for byte.

    Args:
        writers: how many of each part.
    """
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    jobs: list[tuple[Path, tuple[int, int]]] = []
    for part, count in (writers or WRITERS).items():
        (partial / part).mkdir(parents=True)
        first = 1 + len(jobs)
        jobs += [
            (partial / part / f"{number:03d}.gnt", (seed, number)) for number in range(first, first + count)
        ]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_writer, *zip(*jobs, strict=True)))
    partial.rename(root)


def _write_writer(path: Path, key: tuple[int, int]) -> None:
    rng = np.random.default_rng(key)
    writer = Writer(rng)
    order = rng.permutation(characters()).tolist()
    known = path.parent.name != "unlabelled"
    gnt.write(
        path,
        (tags.stored_tag(name) if known else 0 for name in order),
        (writer.write(name, rng) for name in order),
    )


class Writer:
    """Somebody with a pen: a slant, a width of stroke, proportions, a haste, and paper that takes the ink so or so."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.hand = Hand(
            width=rng.uniform(0.028, 0.06),
            slant=rng.normal(0, 0.14),
            rise=rng.normal(0.06, 0.06),
            tremor=rng.uniform(0.012, 0.024),
            speed=0.0,  # a pen neither thins out nor runs dry
            tip=rng.uniform(0.5, 1.1),
        )
        self.manner = Manner(
            contrast=rng.uniform(0.05, 0.35),
            rounding=int(rng.integers(0, 4)),
            joined=rng.uniform(0, 0.6),
            height=rng.uniform(0.8, 1.25),
            tails=0.0,
        )
        self.shares = {part: float(rng.normal(1, 0.14)) for part in [*SIMPLE, *COMPOSED]}
        self.size = rng.uniform(0.55, 1.0)
        self.ink = rng.uniform(0.55, 0.95)

    def write(self, character: str, rng: np.random.Generator) -> gnt.Image:
        """A picture of one character as a scanner gives it, cut out to the ink: uint8 (H, W), paper 255."""
        ink: Any = draw(strokes(character, self.shares), self.hand, self.manner, SIDE, rng)
        scale = self.size * rng.normal(1, 0.06)
        size = max(24, round(SIDE * scale * rng.normal(1, 0.05))), max(24, round(SIDE * scale))
        ink = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
        rows, columns = np.flatnonzero(ink.max(axis=1) > 0.1), np.flatnonzero(ink.max(axis=0) > 0.1)
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        grey = 255 - 255 * self.ink * ink + rng.normal(0, 12, ink.shape) * (ink > 0.1)
        return np.where(ink > 0.04, np.clip(grey, 0, 254), 255).astype(np.uint8)
