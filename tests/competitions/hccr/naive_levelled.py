"""What `Levelled` does, step by step as its docstrings say it, with numpy alone where that can be: an oracle for it."""

import cv2
import numpy as np


def evened(grey):
    """The 16 x 16 means of a picture, and what differs from the quadratic surface that fits them best."""
    means = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float64).reshape(-1)
    surface = quadratic(16) @ np.linalg.lstsq(quadratic(16), means, rcond=None)[0]
    return means, means - surface


def quadratic(side):
    at = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = (axis.reshape(-1) for axis in np.meshgrid(at, at))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def is_light_on_dark(grey):
    _, rest = evened(grey)
    spread = rest.std()
    if spread < 1e-3:
        return False
    square = rest.reshape(16, 16)
    inside = square[1:-1, 1:-1]
    border = (square.sum() - inside.sum()) / (256 - inside.size)
    lean = (rest**3).mean() / spread**3 + (inside.mean() - border) / spread
    white, black = (grey >= 250).mean(), (grey <= 5).mean()
    if abs(lean) < 1 and max(white, black) >= 0.1:
        return black > white
    return lean > 0


def paper_of(grey):
    means, rest = evened(grey)
    kept = rest >= -rest.std()
    fitted = np.linalg.lstsq(quadratic(16)[kept], means[kept], rcond=None)[0]
    surface = np.maximum(quadratic(32) @ fitted, 16).reshape(32, 32)
    fine = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA) / surface
    closed = cv2.morphologyEx(fine.astype(np.float32), cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    paper = np.clip(cv2.blur(closed, (5, 5)) * surface, 1, 255).astype(np.uint8)
    return cv2.resize(paper, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)


def widened(grey):
    height, width = grey.shape
    if max(height, width) <= 2 * min(height, width):
        return grey
    side = ((max(0, width - height) // 2,) * 2, (max(0, height - width) // 2,) * 2)
    return np.pad(grey, side, constant_values=int(np.percentile(grey, 95)))


def levelled(image, margin=0.06):
    """uint8 (H, W) → uint8 (H', W'), for pictures up to 512 pixels a side."""
    grey = widened(255 - image if is_light_on_dark(image) else image)
    paper = paper_of(grey)
    ink = (255 - np.minimum(255, np.rint(255.0 * grey / paper))).astype(np.uint8)
    threshold = cv2.threshold(ink, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]
    mask = ink > threshold
    if not mask.any():
        return np.zeros_like(ink)
    white, black = ink[mask].mean(), ink[~mask].mean()
    if (white - black) / 255 * paper.mean() < 10:
        return np.zeros_like(ink)
    stretched = (ink - (black + 0.15 * (white - black))) * 255 / (white - black)
    count, piece = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = [(piece == number).sum() for number in range(1, count)]
    kept = np.isin(piece, [number for number in range(1, count) if areas[number - 1] >= 0.01 * max(areas)])
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    cut = stretched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(np.clip(cut, 0, 255), round(margin * max(cut.shape)))
