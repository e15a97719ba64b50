"""Light: what a camera makes of a drawn page."""

import cv2
import numpy as np

from common.sample.pen import Image


def lit(page: Image, rng: np.random.Generator) -> Image:
    """Light from one side, its colour, contrast, a little blur, grain: uint8 RGB (H, W, 3) → the same."""
    height, width = page.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slope = 1 + rng.uniform(0, 0.25) * (np.cos(angle) * x + np.sin(angle) * y)
    tint = rng.normal(1, 0.05, 3) * rng.uniform(0.75, 1.12)
    light = page.astype(np.float32) * (slope[:, :, None] * tint).astype(np.float32)
    if rng.random() < 0.35:
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.3, 0.8))
    light += rng.normal(0, rng.uniform(1, 7), page.shape).astype(np.float32)
    if rng.random() < 0.03:
        light[:] = light.mean(axis=2, keepdims=True)
    return np.clip(light, 0, 255).astype(np.uint8)
