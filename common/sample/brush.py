"""The brush: strokes become ink, by the manner of a script and the hand of a writer."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from common.sample.glyphs import Stroke

OVERSAMPLING = 2  # ink is drawn this much larger, then shrunk


@dataclass(frozen=True)
class Manner:
    """A script's way with strokes.

    contrast: how much pressure changes along a stroke, 0 (wire) to 1. rounding: smoothing passes over corners.
    joined: chance that the brush does not leave the paper between strokes. height: of the character by its width.
    tails: clerical flare at the end of horizontals and right-falling strokes, 0 to 1.
    """

    contrast: float
    rounding: int
    joined: float
    height: float
    tails: float


MANNERS = {
    "regular": Manner(contrast=0.8, rounding=0, joined=0.0, height=1.0, tails=0.0),  # 楷
    "running": Manner(contrast=0.7, rounding=2, joined=0.45, height=1.05, tails=0.0),  # 行
    "clerical": Manner(contrast=0.35, rounding=1, joined=0.0, height=0.74, tails=1.0),  # 隶
    "seal": Manner(contrast=0.0, rounding=3, joined=0.0, height=1.15, tails=0.0),  # 篆
}


@dataclass(frozen=True)
class Hand:
    """A writer's habits, the same in all that he writes.

    width: of a stroke by the side of the character. slant: shear. rise: slope of horizontals. tremor: wobble by the
    side. speed: 0 (slow, wet) to 1 (quick: thin middles, dry brush). tip: angle of the brush tip in radians.
    """

    width: float
    slant: float
    rise: float
    tremor: float
    speed: float
    tip: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Hand":
        """Some writer."""
        return cls(
            width=rng.uniform(0.055, 0.115),
            slant=rng.normal(0, 0.07),
            rise=rng.normal(0.03, 0.035),
            tremor=rng.uniform(0.004, 0.016),
            speed=rng.uniform(0, 1),
            tip=rng.uniform(0.5, 1.1),
        )


def draw(
    parts: list[Stroke], hand: Hand, manner: Manner, size: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Ink of a character on a square: float32 (size, size), 0 (none) to 1 (black).

    parts: in the unit square. rng: of what differs between two tries of one writer.
    """
    side = size * OVERSAMPLING
    ink = np.zeros((side, side), np.float32)
    bend = rng.normal(0, 0.03, (4, 2))
    previous: NDArray[np.float64] | None = None
    for stroke in parts:
        path = _path(stroke, hand, manner, bend, rng)
        radius = hand.width * _pressure(stroke.kind, len(path), hand, manner, rng) / 2
        radius *= _tip_factor(path, hand, manner)
        radius = _flared(stroke.kind, radius, manner)
        if previous is not None and rng.random() < manner.joined:
            link = np.linspace(previous, path[0], 2 + int(160 * np.linalg.norm(path[0] - previous)))
            _stamp(ink, link, np.full(len(link), hand.width * 0.13), side)
        _stamp(ink, path, radius, side)
        if rng.random() < 0.6 * hand.speed and stroke.kind not in "d":
            _dry(ink, path, radius, side, rng)
        previous = path[-1]
    if rng.random() < 0.08 * (1 - hand.speed):  # a blot where a wet brush rested
        centre = parts[rng.integers(len(parts))].points[0]
        _stamp(ink, _placed(centre[None], hand, manner), np.array([hand.width * 0.9]), side)
    blur = cv2.GaussianBlur(ink, (0, 0), 0.6 * OVERSAMPLING)
    return cv2.resize(blur, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)


def _path(
    stroke: Stroke, hand: Hand, manner: Manner, bend: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Dense points of a stroke as this writer writes it, float (P, 2)."""
    points = stroke.points + rng.normal(0, 1.2 * hand.tremor, stroke.points.shape)
    points = points + np.einsum("k,kc->c", rng.normal(0, 0.5, 4), bend)  # strokes of one try drift together
    if stroke.kind in "hpn" and len(points) == 2:  # even a straight stroke arches a little
        middle = points.mean(axis=0) + np.array([0, rng.normal(-0.012, 0.01)])
        points = np.array([points[0], middle, points[1]])
    corners = max(manner.rounding, 2 if stroke.kind in "pn" else 0)
    for _ in range(corners):
        points = _cut_corners(points)
    points = _placed(points, hand, manner)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(lengths)])
    count = max(8, int(at[-1] * 90))
    even = np.linspace(0, at[-1], count)
    dense = np.stack([np.interp(even, at, points[:, axis]) for axis in (0, 1)], axis=1)
    wobble = np.cumsum(rng.normal(0, hand.tremor / 4, dense.shape), axis=0)
    return dense + wobble - np.linspace(0, 1, count)[:, None] * wobble[-1]


def _placed(points: NDArray[np.float64], hand: Hand, manner: Manner) -> NDArray[np.float64]:
    """From the unit square to the page: slanted, rising, of the script's proportions, inside a margin."""
    x, y = (points - 0.5).T
    sheared = np.stack([x - hand.slant * y, y - hand.rise * x], axis=1)
    scale = np.array([min(1.0, 1 / manner.height), min(1.0, manner.height)]) * 0.78
    return sheared * scale + 0.5


def _cut_corners(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """One pass of Chaikin's corner cutting, ends kept."""
    inner = [p for a, b in pairwise(points) for p in (0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b)]
    return np.array([points[0], *inner[1:-1], points[-1]]) if len(points) > 2 else points


PROFILES = {  # pressure at equal steps along a stroke
    "h": [0.95, 0.72, 0.62, 0.66, 1.0],
    "v": [1.0, 0.85, 0.8, 0.84, 0.9],
    "p": [1.05, 0.95, 0.8, 0.55, 0.12],
    "n": [0.35, 0.6, 0.85, 1.3, 0.15],
    "d": [0.3, 0.8, 1.15, 1.1, 0.45],
    "t": [1.1, 0.9, 0.65, 0.4, 0.1],
    "z": [0.95, 0.75, 1.05, 0.85, 0.9],
    "g": [0.95, 0.85, 0.85, 1.05, 0.15],
}


def _pressure(
    kind: str, count: int, hand: Hand, manner: Manner, rng: np.random.Generator
) -> NDArray[np.float64]:
    profile = np.array(PROFILES[kind]) * rng.normal(1, 0.08, 5)
    middle = np.array([0, 0.1, 0.22, 0.1, 0]) * hand.speed  # a quick brush is lifted on its way
    along = np.interp(np.linspace(0, 4, count), np.arange(5), profile - middle)
    return np.maximum(0.1, manner.contrast * along + (1 - manner.contrast) * 0.8)


def _tip_factor(path: NDArray[np.float64], hand: Hand, manner: Manner) -> NDArray[np.float64]:
    """A tilted tip writes thin along its own direction and broad across it."""
    step = np.gradient(path, axis=0)
    across = np.abs(np.sin(np.arctan2(step[:, 1], step[:, 0]) + hand.tip))
    return 1 - manner.contrast * 0.3 * (1 - across)


def _flared(kind: str, radius: NDArray[np.float64], manner: Manner) -> NDArray[np.float64]:
    """The clerical script's swallow tail."""
    if kind not in "hn" or manner.tails == 0:
        return radius
    end = np.linspace(0, 1, len(radius))
    return radius * (1 + manner.tails * (0.8 * np.exp(-(((end - 0.88) / 0.1) ** 2)) - 0.5 * (end > 0.97)))


def _stamp(
    ink: NDArray[np.float32], path: NDArray[np.float64], radius: NDArray[np.float64], side: int
) -> None:
    """Press the tip at every point of a path; coordinates and radii by the page's side."""
    shift = 4  # fractional bits of cv2's coordinates
    for (x, y), r in zip((path * side * 2**shift).round().astype(int), radius * side * 2**shift, strict=True):
        cv2.circle(ink, (int(x), int(y)), max(6, int(r)), 1.0, -1, cv2.LINE_AA, shift)


def _dry(
    ink: NDArray[np.float32],
    path: NDArray[np.float64],
    radius: NDArray[np.float64],
    side: int,
    rng: np.random.Generator,
) -> None:
    """Flying white (飞白): hairs that have run out of ink leave streaks in the second half of a quick stroke."""
    start = int(len(path) * rng.uniform(0.35, 0.7))
    tail, widths = path[start:], radius[start:]
    if len(tail) < 4:
        return
    step = np.gradient(tail, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / (
        np.linalg.norm(step, axis=1, keepdims=True) + 1e-9
    )
    for offset in rng.uniform(-0.8, 0.8, rng.integers(2, 5)):
        hair = ((tail + normal * widths[:, None] * offset) * side).round().astype(np.int32)
        first = rng.integers(0, len(hair) // 2)
        cv2.polylines(ink, [hair[first:]], False, 0.0, 1, cv2.LINE_8)
