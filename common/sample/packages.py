"""Packages: bottles, boxes, tubes and the like with their labels, in heights about the middle of the package."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from common.sample.glyphs import strokes
from common.sample.pen import Colour, Pen, dimmed

Profile = list[tuple[float, float]]  # (y, half the width there), from the top down

PROFILES: dict[str, Profile] = {
    "bottle": [(-0.5, 0.06), (-0.36, 0.06), (-0.2, 0.17), (0.47, 0.17), (0.5, 0.15)],
    "can": [(-0.34, 0.18), (-0.3, 0.21), (0.3, 0.21), (0.34, 0.18)],
    "carton": [(-0.5, 0.13), (-0.45, 0.13), (-0.33, 0.21), (0.5, 0.21)],
    "cup": [(-0.32, 0.29), (-0.27, 0.28), (0.34, 0.19)],
    "box": [(-0.42, 0.31), (0.42, 0.31)],
    "bag": [(-0.46, 0.3), (-0.4, 0.25), (0.0, 0.32), (0.4, 0.27), (0.46, 0.31)],
    "jar": [(-0.4, 0.17), (-0.27, 0.17), (-0.2, 0.25), (0.36, 0.25), (0.4, 0.21)],
    "tin": [(-0.19, 0.36), (-0.16, 0.39), (0.16, 0.39), (0.19, 0.36)],
    "tube": [(-0.5, 0.21), (0.32, 0.14), (0.35, 0.08), (0.5, 0.08)],
    "pump": [(-0.34, 0.05), (-0.24, 0.05), (-0.18, 0.21), (0.46, 0.21), (0.5, 0.18)],
    "spray": [(-0.5, 0.08), (-0.36, 0.1), (-0.28, 0.16), (0.5, 0.16)],
    "bar": [(-0.17, 0.4), (0.17, 0.4)],
}
LABELS = {  # from and to which y there is room for a label
    "bottle": (-0.1, 0.38), "can": (-0.22, 0.22), "carton": (-0.25, 0.4), "cup": (-0.18, 0.24),
    "box": (-0.32, 0.34), "bag": (-0.3, 0.34), "jar": (-0.12, 0.3), "tin": (-0.14, 0.14),
    "tube": (-0.38, 0.2), "pump": (-0.1, 0.4), "spray": (-0.2, 0.42), "bar": (-0.14, 0.14),
}  # fmt: skip
CAPS = {
    "bottle": (-0.5, -0.4),
    "jar": (-0.42, -0.27),
    "tube": (0.35, 0.5),
    "spray": (-0.5, -0.37),
    "cup": (-0.34, -0.28),
}
LAYOUTS = ("band", "patch", "lower", "stripes", "slanted")
EMBLEMS = ("disc", "ring", "star", "drop", "leaf", "heart", "bolt", "cross", "diamond", "moon")


@dataclass(frozen=True)
class Package:
    """What a product looks like.

    shape: of PROFILES. layout: of LAYOUTS: where the label's colour is. emblem: of EMBLEMS, on the label. word: a
    character of common/sample/glyphs.py.
    """

    shape: str
    body: Colour
    cap: Colour
    layout: str
    accent: Colour
    emblem: str
    emblem_colour: Colour
    word: str
    word_colour: Colour


def draw_package(pen: Pen, package: Package) -> None:
    """Draw it about the pen's origin, one unit high at most."""
    profile = PROFILES[package.shape]
    top, bottom = profile[0][0], profile[-1][0]
    if package.shape == "pump":
        pen.polygon(
            [(-0.04, -0.5), (0.2, -0.5), (0.2, -0.44), (0.04, -0.42), (0.04, -0.3), (-0.04, -0.3)],
            package.cap,
        )
    pen.polygon(_between(profile, top, bottom, 1.05), dimmed(package.body, 0.6))  # an edge
    pen.polygon(_between(profile, top, bottom, 1.0), package.body)
    _label(pen, package, profile)
    if package.shape in CAPS:
        pen.polygon(_between(profile, *CAPS[package.shape], 1.12), package.cap)
    for left, share, factor in (
        (-0.8, 0.14, 1.25),
        (0.62, 0.3, 0.82),
    ):  # light on one side, shade on the other
        veil = _between(profile, top, bottom, 1.0) * [share / 2, 0.96] + [left * _width(profile, 0), 0]
        mask = Pen(np.zeros_like(pen.page), 1, (0, 0), 0)
        mask.matrix, mask.origin = pen.matrix, pen.origin
        mask.polygon(veil, (1.0, 1.0, 1.0))
        lit = cv2.LUT(pen.page, np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8))
        np.copyto(pen.page, lit, where=mask.page > 0)


def _label(pen: Pen, package: Package, profile: Profile) -> None:
    low, high = LABELS[package.shape]
    middle, room = (low + high) / 2, high - low
    wide = min(_width(profile, low), _width(profile, high))
    if package.layout == "band":
        pen.polygon(_between(profile, low + 0.25 * room, high - 0.1 * room, 1.0), package.accent)
    elif package.layout == "patch":
        pen.ellipse((0, middle + 0.08 * room), (0.85 * wide, 0.42 * room), package.accent)
    elif package.layout == "lower":
        pen.polygon(_between(profile, middle - 0.12 * room, profile[-1][0], 1.0), package.accent)
    elif package.layout == "stripes":
        for start in (0.02, 0.3, 0.58):
            pen.polygon(
                _between(profile, low + start * room, low + (start + 0.2) * room, 1.0), package.accent
            )
    else:
        outer = _between(profile, low, high, 1.0)
        half = len(outer) // 2
        pen.polygon(np.vstack([outer[half:], outer[:1] + np.array([0, 0.45 * room])]), package.accent)
    size = min(0.36 * room, 0.62 * wide)
    centre = np.array([0.0, middle + 0.12 * room])
    for points in emblem(package.emblem):
        pen.polygon(points * size + centre, package.emblem_colour)
    if package.emblem == "ring":
        pen.ellipse((0, centre[1]), (0.5 * size, 0.5 * size), package.accent)
    letter = min(0.34 * room, 0.8 * wide)
    corner = np.array([-letter / 2, low - 0.06 * room])
    for stroke in strokes(package.word):
        pen.line(stroke.points * letter + corner, 0.13 * letter, package.word_colour)


def emblem(name: str) -> list[NDArray[np.float64]]:
    """Polygons (P, 2) about the origin, within -1..1."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    if name in ("disc", "ring"):
        return [circle]
    if name == "star":
        return [circle[::3] * np.where(np.arange(12) % 2, 0.45, 1.0)[:, None]]
    if name == "drop":
        return [np.vstack([circle[:19] * 0.65 + [0, 0.35], [[0.0, -1.0]]])]
    if name == "leaf":
        bow = np.linspace(-1, 1, 18)
        return [
            np.vstack([np.stack([bow, 0.55 * (1 - bow**2)], 1), np.stack([-bow, -0.55 * (1 - bow**2)], 1)])
        ]
    if name == "heart":
        turn = angle
        x, y = 16 * np.sin(turn) ** 3, 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn)
        return [np.stack([x, -y], 1) / 17]
    if name == "bolt":
        return [np.array([(0.3, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.2), (0.05, -0.2)])]
    if name == "cross":
        bar = np.array([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)])
        return [bar, bar[:, ::-1]]
    if name == "diamond":
        return [np.array([(0.0, -1), (0.65, 0), (0, 1), (-0.65, 0)])]
    if name == "moon":
        return [np.vstack([circle[6:31], circle[30:5:-1] * 0.7 + [0.35, 0]])]
    raise KeyError(name)


def _between(profile: Profile, top: float, bottom: float, factor: float) -> NDArray[np.float64]:
    """The outline from one height to another, its width times a factor: float (P, 2)."""
    inner = [y for y, _ in profile if top < y < bottom]
    right = np.array([(factor * _width(profile, y), y) for y in (top, *inner, bottom)])
    return np.vstack([right, right[::-1] * [-1, 1]])


def _width(profile: Profile, y: float) -> float:
    return float(np.interp(y, [at for at, _ in profile], [half for _, half in profile]))
