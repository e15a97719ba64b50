"""A pen for scenes: shapes in units of what is drawn, and colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]
Point = tuple[float, float]

SHIFT = 4  # fractional bits of cv2's coordinates


class Pen:
    """Draws filled shapes on a page in units of one's own.

    page: uint8 RGB (H, W, 3), drawn on. unit: in pixels. origin: in pixels, (x, y). tilt: turns all, in radians.
    """

    def __init__(self, page: Image, unit: float, origin: Point, tilt: float) -> None:
        cos, sin = np.cos(tilt), np.sin(tilt)
        self.page, self.unit = page, unit
        self.matrix = unit * np.array([[cos, -sin], [sin, cos]])
        self.origin = np.array(origin)

    def polygon(self, points: NDArray | list[Point], colour: Colour) -> None:
        cv2.fillPoly(self.page, [self._pixels(points)], colour, cv2.LINE_AA, SHIFT)

    def ellipse(self, centre: Point, axes: Point, colour: Colour, turn: float = 0.0) -> None:
        angle = np.linspace(0, 2 * np.pi, 40)
        x, y = axes[0] * np.cos(angle), axes[1] * np.sin(angle)
        cos, sin = np.cos(turn), np.sin(turn)
        self.polygon(np.stack([centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y], 1), colour)

    def limb(self, start: Point, end: Point, width: Point, colour: Colour) -> None:
        """A tapered stroke with round ends; width at start and end."""
        a, b = np.array(start), np.array(end)
        along = (b - a) / (np.linalg.norm(b - a) + 1e-9)
        normal = np.array([-along[1], along[0]])
        sides = [
            a + normal * width[0] / 2,
            b + normal * width[1] / 2,
            b - normal * width[1] / 2,
            a - normal * width[0] / 2,
        ]
        self.polygon(np.array(sides), colour)
        self.ellipse(start, (width[0] / 2, width[0] / 2), colour)
        self.ellipse(end, (width[1] / 2, width[1] / 2), colour)

    def line(self, points: NDArray | list[Point], width: float, colour: Colour) -> None:
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.page, [self._pixels(points)], False, colour, thickness, cv2.LINE_AA, SHIFT)

    def _pixels(self, points: NDArray | list[Point]) -> NDArray[np.int32]:
        return ((np.asarray(points) @ self.matrix.T + self.origin) * 2**SHIFT).round().astype(np.int32)


def arc(centre: Point, axes: Point, start: float, end: float) -> NDArray:
    """Points of an ellipse from angle to angle (radians, clockwise from the right): float (24, 2)."""
    angle = np.linspace(start, end, 24)
    return np.stack([centre[0] + axes[0] * np.cos(angle), centre[1] + axes[1] * np.sin(angle)], 1)


def some_colour(rng: np.random.Generator) -> Colour:
    """A random colour, neither black nor white."""
    hue = np.array([[[rng.integers(180), rng.integers(20, 190), rng.integers(50, 245)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def near(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    """A colour near another, by a deviation of `spread` in each channel."""
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255).tolist()
    return red, green, blue


def dimmed(colour: Colour, factor: float) -> Colour:
    """A colour times a factor, which may also be above 1."""
    red, green, blue = (min(255.0, value * factor) for value in colour)
    return red, green, blue
