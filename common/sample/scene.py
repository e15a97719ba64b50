"""Scenes: a person somewhere, with what they hold and do, drawn as a colour picture.

A person is drawn in head heights about the middle of the head, x to the right and y down, so that one description
fits close-ups and whole figures.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from common.sample.places import place

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]
Point = tuple[float, float]

SKINS: list[Colour] = [
    (245, 214, 186),
    (232, 190, 152),
    (210, 160, 118),
    (172, 120, 82),
    (121, 80, 54),
    (84, 55, 40),
]
HAIRS: list[Colour] = [
    (28, 22, 20),
    (60, 40, 26),
    (110, 72, 40),
    (176, 132, 72),
    (150, 148, 146),
    (120, 44, 26),
]
PHONES: list[Colour] = [
    (20, 20, 24),
    (20, 20, 24),
    (235, 235, 238),
    (60, 62, 70),
    (160, 30, 40),
    (40, 70, 140),
]
SHIFT = 4  # fractional bits of cv2's coordinates


@dataclass(frozen=True)
class Deed:
    """What a person does. Sides: -1 left in the picture, 1 right, 0 not at all.

    phone: side of the ear at which a phone is held. cigarette: side to which it points, `smokes` how: "lips" (no
    hand), "fingers" (held to the mouth) or "away" (in a hand beside the face). other: what else a hand does: "none",
    "cup", "pen", "ear" (a hand at the ear, without phone), "chin" or "screen" (a phone looked at).
    """

    phone: int = 0
    cigarette: int = 0
    smokes: str = "lips"
    other: str = "none"


@dataclass(frozen=True)
class View:
    """A picture of height × width pixels in which the head is `head` pixels high, its middle at (x, y) in pixels."""

    height: int
    width: int
    head: float
    x: float
    y: float


def scene(deed: Deed, view: View, rng: np.random.Generator) -> Image:
    """Draw it: uint8 RGB (height, width, 3)."""
    double = replace(
        view, height=2 * view.height, width=2 * view.width, head=2 * view.head, x=2 * view.x, y=2 * view.y
    )
    page = place(double.height, double.width, rng)
    _person(_Pen(page, double, rng.normal(0, 0.06)), deed, rng)
    small = cv2.resize(page, (view.width, view.height), interpolation=cv2.INTER_AREA)
    return _lit(np.asarray(small, np.uint8), rng)


class _Pen:
    """Draws on a page in head heights; `tilt` turns the whole person, in radians."""

    def __init__(self, page: Image, view: View, tilt: float) -> None:
        cos, sin = np.cos(tilt), np.sin(tilt)
        self.page, self.unit = page, view.head
        self.matrix = view.head * np.array([[cos, -sin], [sin, cos]])
        self.origin = np.array([view.x, view.y])

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


@dataclass(frozen=True)
class _Looks:
    skin: Colour
    hair: Colour
    cloth: Colour
    sleeve: Colour
    shoulders: float  # half their width
    bare_arms: bool


def _person(pen: _Pen, deed: Deed, rng: np.random.Generator) -> None:
    cloth = _colour(rng)
    looks = _Looks(
        skin=_near(SKINS[rng.integers(len(SKINS))], rng, 8),
        hair=_near(HAIRS[rng.integers(len(HAIRS))], rng, 10),
        cloth=cloth,
        sleeve=_dimmed(cloth, 0.86),
        shoulders=rng.uniform(0.8, 1.0),
        bare_arms=rng.random() < 0.35,
    )
    long_hair = rng.random() < 0.45
    if long_hair:
        pen.ellipse((0, 0.25), (0.5, rng.uniform(0.7, 1.05)), _dimmed(looks.hair, 0.8))
    _body(pen, looks, rng)
    turn = rng.uniform(-0.1, 0.1)
    _head(pen, looks, turn, rng)
    busy = {deed.phone} | ({deed.cigarette} if deed.cigarette and deed.smokes != "lips" else set())
    free = [side for side in (-1, 1) if side not in busy]
    if deed.other != "none" and free:
        side = int(rng.choice(free))
        free.remove(side)
        _other(pen, looks, deed.other, side, turn, rng)
    for side in free:
        hand = (side * (looks.shoulders + rng.uniform(-0.25, 0.35)), rng.uniform(2.9, 3.6))
        _arm(pen, looks, side, hand)
    if deed.cigarette:
        _smoke(pen, looks, deed, turn, rng)
    if deed.phone:
        _phone_at_ear(pen, looks, deed.phone, rng)


def _body(pen: _Pen, looks: _Looks, rng: np.random.Generator) -> None:
    wide, hips = looks.shoulders, looks.shoulders * rng.uniform(0.72, 0.85)
    trousers = _dimmed(_colour(rng), 0.7)
    for side in (-1, 1):
        pen.limb((side * 0.36, 3.7), (side * rng.uniform(0.3, 0.5), 7.0), (0.62, 0.4), trousers)
    pen.limb((0, 0.3), (0, 0.95), (0.4, 0.46), _dimmed(looks.skin, 0.86))
    pen.polygon([(-0.25, 0.8), (0.25, 0.8), (wide, 1.0), (wide * 1.02, 1.4), (hips, 3.9), (-hips, 3.9),
                 (-wide * 1.02, 1.4), (-wide, 1.0)], looks.cloth)  # fmt: skip
    kind = rng.integers(4)
    if kind == 0:  # an open jacket
        pen.polygon([(-0.22, 0.8), (0.22, 0.8), (0.1, 3.9), (-0.1, 3.9)], _colour(rng))
    elif kind == 1:
        for y in np.arange(1.2, 3.9, 0.36).tolist():
            pen.line([(-wide * 0.95, y), (wide * 0.95, y)], 0.09, _dimmed(looks.cloth, 0.7))
    elif kind == 2:
        pen.polygon([(-0.24, 0.79), (0.24, 0.79), (0, 1.35)], _near(looks.skin, rng, 6))
    else:
        pen.polygon([(-0.08, 0.85), (0.08, 0.85), (0.12, 2.2), (0, 2.45), (-0.12, 2.2)], _colour(rng))


def _head(pen: _Pen, looks: _Looks, turn: float, rng: np.random.Generator) -> None:
    skin, dark = looks.skin, _dimmed(looks.skin, 0.72)
    for side in (-1, 1):
        pen.ellipse((side * 0.37, 0.03), (0.07, 0.12), _dimmed(skin, 0.9))
    pen.ellipse((0, 0), (0.37, 0.5), skin)
    pen.ellipse((0.18 * np.sign(turn + 1e-9), 0.12), (0.16, 0.3), _near(_dimmed(skin, 0.95), rng, 3))
    if rng.random() < 0.2:  # a beard
        pen.polygon(_arc((0, 0.08), (0.36, 0.43), 0.12, np.pi - 0.12), _dimmed(looks.hair, 1.1))
    for side in (-1, 1):
        x = side * 0.15 + turn
        pen.ellipse((x, -0.04), (0.075, 0.035), (245, 245, 242))
        pen.ellipse((x, -0.04), (0.034, 0.036), (40, 30, 28))
        pen.line([(x - 0.09, -0.13), (x + 0.09, -0.14)], 0.035, _dimmed(looks.hair, 0.8))
    pen.line([(turn, -0.02), (turn + 0.05, 0.13), (turn - 0.01, 0.15)], 0.025, dark)
    smile = rng.uniform(-0.03, 0.04)
    pen.line([(turn - 0.12, 0.28 - smile), (turn, 0.28), (turn + 0.12, 0.28 - smile)], 0.045, (168, 78, 74))
    if rng.random() < 0.2:  # glasses
        for side in (-1, 1):
            ring = _arc((side * 0.15 + turn, -0.04), (0.12, 0.09), 0, 2 * np.pi)
            pen.line(ring, 0.025, (35, 35, 40))
        pen.line([(turn - 0.04, -0.05), (turn + 0.04, -0.05)], 0.025, (35, 35, 40))
    fringe = rng.uniform(-0.32, -0.16)
    cap = np.concatenate(
        [_arc((0, -0.1), (0.42, 0.46), np.pi * 0.98, np.pi * 2.02), [(0.2, fringe), (-0.15, fringe - 0.05)]]
    )
    if rng.random() < 0.9:
        pen.polygon(cap, looks.hair)
    if rng.random() < 0.12:  # a cap with a peak
        colour = _colour(rng)
        pen.polygon(_arc((0, -0.22), (0.42, 0.4), np.pi, 2 * np.pi), colour)
        pen.limb((-0.3, -0.22), (0.45, -0.2), (0.09, 0.06), _dimmed(colour, 0.75))


def _arm(pen: _Pen, looks: _Looks, side: int, hand: Point) -> None:
    """From the shoulder to `hand`, the elbow outside and below."""
    shoulder, upper, lower = np.array([side * (looks.shoulders - 0.14), 1.16]), 1.35, 1.2
    reach = np.array(hand) - shoulder
    distance = float(np.clip(np.linalg.norm(reach), 0.3, upper + lower - 0.02))
    cosine = np.clip((upper**2 + distance**2 - lower**2) / (2 * upper * distance), -1, 1)
    base, bend = np.arctan2(reach[1], reach[0]), np.arccos(cosine)
    elbows = [
        shoulder + upper * np.array([np.cos(base + sign * bend), np.sin(base + sign * bend)])
        for sign in (-1, 1)
    ]
    elbow = max(elbows, key=lambda point: 0.6 * side * point[0] + point[1])
    colour = looks.skin if looks.bare_arms else looks.sleeve
    pen.limb(tuple(shoulder), tuple(elbow), (0.46, 0.38), looks.sleeve)
    pen.limb(tuple(elbow), hand, (0.34, 0.24), colour)
    pen.ellipse(hand, (0.16, 0.19), looks.skin)


def _fingers(
    pen: _Pen, looks: _Looks, hand: Point, towards: Point, count: int = 4, length: float = 0.3
) -> None:
    """Fingers from `hand` in the direction of `towards`, side by side."""
    along = np.array(towards) - hand
    along = along / (np.linalg.norm(along) + 1e-9)
    across = np.array([-along[1], along[0]])
    for number in range(count):
        start = np.array(hand) + across * 0.09 * (number - (count - 1) / 2)
        pen.limb(
            tuple(start),
            tuple(start + along * length),
            (0.1, 0.085),
            _dimmed(looks.skin, 0.97 - 0.03 * (number % 2)),
        )


def _phone_at_ear(pen: _Pen, looks: _Looks, side: int, rng: np.random.Generator) -> None:
    hand = (side * rng.uniform(0.56, 0.66), rng.uniform(0.18, 0.34))
    _arm(pen, looks, side, hand)
    middle, lean = (
        np.array([side * rng.uniform(0.4, 0.47), rng.uniform(0.04, 0.14)]),
        side * rng.uniform(0.02, 0.3),
    )
    _phone(pen, middle, lean, rng.uniform(0.13, 0.17), rng)
    _fingers(pen, looks, hand, (side * 0.3, hand[1] - 0.05), 4, rng.uniform(0.24, 0.32))


def _phone(pen: _Pen, middle: NDArray, lean: float, half_width: float, rng: np.random.Generator) -> None:
    """`lean`: radians by which its lower end turns to the left."""
    colour = PHONES[rng.integers(len(PHONES))]
    down, right = np.array([-np.sin(lean), np.cos(lean)]), np.array([np.cos(lean), np.sin(lean)])

    def corners(height: float, width: float) -> NDArray:
        return np.array(
            [middle + y * height * down + x * width * right for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        )

    pen.polygon(corners(0.43, half_width + 0.03), _dimmed(colour, 0.55))
    pen.polygon(corners(0.4, half_width), colour)
    lens = _dimmed(colour, 0.4) if sum(colour) > 300 else (120, 125, 135)
    pen.polygon(corners(0.04, 0.03) - 0.31 * down, lens)


def _smoke(pen: _Pen, looks: _Looks, deed: Deed, turn: float, rng: np.random.Generator) -> None:
    side, mouth = deed.cigarette, np.array([turn + deed.cigarette * 0.07, 0.285])
    length, angle = rng.uniform(0.55, 0.72), rng.uniform(-0.15, 0.7)
    along = np.array([side * np.cos(angle), np.sin(angle)])
    if deed.smokes == "lips":
        _cigarette(pen, mouth, along, length, rng)
        return
    if deed.smokes == "fingers":
        hand = (float(mouth[0] + side * rng.uniform(0.42, 0.55)), rng.uniform(0.5, 0.68))
        _arm(pen, looks, side, hand)
        _cigarette(pen, mouth, along * [1, 0.6], length, rng)
        _fingers(pen, looks, hand, (float(mouth[0] + side * 0.1), 0.3), 2, 0.28)
        return
    hand = (side * rng.uniform(0.6, 0.85), rng.uniform(0.5, 1.2))
    _arm(pen, looks, side, hand)
    up = np.array([side * rng.uniform(-0.5, 0.7), -1.0])
    up /= np.linalg.norm(up)
    tip = np.array(hand) + 0.3 * up
    _fingers(pen, looks, hand, tuple(tip), 2, 0.32)
    across = np.array([-up[1], up[0]]) * -side
    _cigarette(pen, tip - across * 0.12, across + up * 0.2, length, rng)


def _cigarette(pen: _Pen, start: NDArray, along: NDArray, length: float, rng: np.random.Generator) -> None:
    """From `start`, its filter, to the ember, and its smoke."""
    along = along / np.linalg.norm(along)
    normal = 0.055 * np.array([-along[1], along[0]])
    width = rng.uniform(0.9, 1.25)

    def part(begin: float, end: float, colour: Colour) -> None:
        a, b = start + along * length * begin, start + along * length * end
        pen.polygon(
            np.array([a + width * normal, b + width * normal, b - width * normal, a - width * normal]), colour
        )

    part(-0.02, 1.03, (90, 84, 80))  # an edge, so that it is seen before light grounds
    part(0, 0.3, (205, 140, 70))
    part(0.3, 0.94, (250, 249, 246))
    part(0.94, 1.08, (232, 84, 32))
    if rng.random() < 0.65:
        _wisps(pen, start + along * length * 1.08, rng)


def _wisps(pen: _Pen, start: NDArray, rng: np.random.Generator) -> None:
    """Smoke that rises and spreads: light, see-through."""
    clear = pen.page.copy()
    height, sway = rng.uniform(0.6, 1.4), rng.uniform(-0.4, 0.4)
    rise = np.linspace(0, 1, 24)
    for strand in range(3):
        waves = 0.1 * np.sin(rise * rng.uniform(5, 9) + strand) * rise
        x = start[0] + sway * rise + waves + 0.14 * (strand - 1) * rise
        y = start[1] - height * rise
        pen.line(np.stack([x, y], 1), rng.uniform(0.05, 0.1), (222, 224, 228))
    veiled = cv2.GaussianBlur(pen.page, (0, 0), max(0.5, 0.05 * pen.unit))
    pen.page[:] = cv2.addWeighted(clear, 0.4, np.maximum(clear, veiled), 0.6, 0)  # light on dark only


def _other(pen: _Pen, looks: _Looks, what: str, side: int, turn: float, rng: np.random.Generator) -> None:
    if what == "ear":
        hand = (side * rng.uniform(0.44, 0.58), rng.uniform(-0.05, 0.28))
        _arm(pen, looks, side, hand)
        _fingers(pen, looks, hand, (side * 0.3, hand[1] - 0.6), 4, 0.27)
    elif what == "chin":
        hand = (turn + side * rng.uniform(0.12, 0.32), rng.uniform(0.5, 0.62))
        _arm(pen, looks, side, hand)
        _fingers(pen, looks, hand, (turn, 0.25), 3, 0.25)
    elif what == "cup":
        close = rng.random() < 0.5
        hand = (
            (turn + side * 0.3, rng.uniform(0.48, 0.6))
            if close
            else (side * rng.uniform(0.6, 1.0), rng.uniform(1.2, 1.9))
        )
        _arm(pen, looks, side, hand)
        x, y, colour = hand[0] - side * 0.14, hand[1] - 0.1, _colour(rng)
        pen.polygon(
            [(x - 0.2, y - 0.22), (x + 0.2, y - 0.22), (x + 0.16, y + 0.24), (x - 0.16, y + 0.24)], colour
        )
        pen.ellipse((x, y - 0.22), (0.2, 0.06), _dimmed(colour, 0.6))
        _fingers(pen, looks, hand, (x, hand[1]), 4, 0.2)
    elif what == "pen":
        hand = (turn + side * rng.uniform(0.35, 0.9), rng.uniform(0.55, 1.5))
        _arm(pen, looks, side, hand)
        end = np.array(hand) - np.array([side * rng.uniform(0.05, 0.35), rng.uniform(0.45, 0.6)])
        ink = [(30, 60, 160), (25, 25, 30), (180, 30, 40), (240, 190, 40)][rng.integers(4)]
        pen.limb(hand, tuple(end), (0.085, 0.06), ink)
        _fingers(pen, looks, hand, tuple(end), 3, 0.2)
    else:  # a phone that is looked at
        hand = (side * rng.uniform(0.3, 0.75), rng.uniform(1.3, 1.9))
        _arm(pen, looks, side, hand)
        _phone(pen, np.array([hand[0] - side * 0.1, hand[1] - 0.2]), side * rng.uniform(-0.3, 0.3), 0.2, rng)
        _fingers(pen, looks, hand, (hand[0] - side * 0.3, hand[1] - 0.1), 4, 0.2)


def _lit(page: Image, rng: np.random.Generator) -> Image:
    """Light from one side, its colour, contrast, a little blur, grain."""
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


def _arc(centre: Point, axes: Point, start: float, end: float) -> NDArray:
    angle = np.linspace(start, end, 24)
    return np.stack([centre[0] + axes[0] * np.cos(angle), centre[1] + axes[1] * np.sin(angle)], 1)


def _colour(rng: np.random.Generator) -> Colour:
    hue = np.array([[[rng.integers(180), rng.integers(20, 190), rng.integers(50, 245)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _near(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255).tolist()
    return red, green, blue


def _dimmed(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255.0, value * factor) for value in colour)
    return red, green, blue
