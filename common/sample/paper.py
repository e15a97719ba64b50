"""What characters are written on: rubbings of stone and sheets of paper, as grey pictures."""

import cv2
import numpy as np
from numpy.typing import NDArray


def rubbing(ink: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A rubbing: light strokes on dark, with the stone's grain, chips and cracks. ink: float (H, W) → uint8 (H, W)."""
    height, width = ink.shape
    stone = rng.uniform(5, 55) + rng.uniform(4, 22) * _grain(ink.shape, rng, coarse=3)
    light = rng.uniform(175, 245)
    chips = _grain(ink.shape, rng, coarse=2) > rng.uniform(1.3, 2.6)  # the stone is rough: spots everywhere
    page = stone + ink * (light - stone)
    page[chips] = rng.uniform(90, 200)
    for _ in range(rng.poisson(0.5)):
        crack = np.cumsum(rng.normal(0, 0.12, (8, 2)), axis=0) + rng.uniform(0, 1, 2)
        points = (crack * [width, height]).astype(np.int32)
        cv2.polylines(page, [points], False, float(rng.uniform(80, 200)), 1, cv2.LINE_AA)
    return np.clip(page, 0, 255).astype(np.uint8)


def sheet(ink: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paper: dark strokes on light, uneven light, fibres, sometimes a ruled square or a seal."""
    height, width = ink.shape
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    light = rng.uniform(165, 250) + rng.normal(0, 14) * across + rng.normal(0, 14) * down
    page = light + rng.uniform(1, 7) * _grain(ink.shape, rng, coarse=2)
    grey = rng.uniform(60, 140)
    if rng.random() < 0.25:
        margin = int(rng.integers(0, max(1, width // 12)))
        cv2.rectangle(page, (margin, margin), (width - 1 - margin, height - 1 - margin), grey, 1)
        if rng.random() < 0.5:
            cv2.line(page, (width // 2, margin), (width // 2, height - margin), grey + 40, 1)
            cv2.line(page, (margin, height // 2), (width - margin, height // 2), grey + 40, 1)
    if rng.random() < 0.1:
        x, y = rng.integers(0, width - width // 5), rng.integers(0, height - height // 5)
        page[y : y + height // 5, x : x + width // 5] -= rng.uniform(40, 90)
    black = rng.uniform(10, 70)
    return np.clip(page * (1 - ink) + black * ink, 0, 255).astype(np.uint8)


def _grain(shape: tuple[int, ...], rng: np.random.Generator, coarse: int) -> NDArray[np.float32]:
    """Noise of mean 0 and deviation about 1 whose spots are `coarse` pixels wide."""
    small = rng.normal(0, 1, (-(-shape[0] // coarse), -(-shape[1] // coarse))).astype(np.float32)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32)
