"""What people hold, in head heights about the middle of the head: phones, cigarettes, cups, pens."""

from copy import copy

import cv2
import numpy as np
from numpy.typing import NDArray

from common.sample.pen import Colour, Pen, dimmed, some_colour
from common.sample.person import Looks, arm, fingers

PHONES: list[Colour] = [
    (20, 20, 24),
    (20, 20, 24),
    (235, 235, 238),
    (60, 62, 70),
    (160, 30, 40),
    (40, 70, 140),
]


def phone_at_ear(pen: Pen, looks: Looks, side: int, rng: np.random.Generator) -> None:
    """A phone, and the arm and hand that hold it to the ear at `side`, -1 or 1."""
    hand = (side * rng.uniform(0.56, 0.66), rng.uniform(0.18, 0.34))
    arm(pen, looks, side, hand)
    middle, lean = (
        np.array([side * rng.uniform(0.4, 0.47), rng.uniform(0.04, 0.14)]),
        side * rng.uniform(0.02, 0.3),
    )
    phone(pen, middle, lean, rng.uniform(0.13, 0.17), rng)
    fingers(pen, looks, hand, (side * 0.3, hand[1] - 0.05), 4, rng.uniform(0.24, 0.32))


def smoke(pen: Pen, looks: Looks, side: int, how: str, turn: float, rng: np.random.Generator) -> None:
    """A cigarette, between the lips or in a hand, and its smoke; `how` as in scene.Deed."""
    mouth = np.array([turn + side * 0.07, 0.285])
    length, angle = rng.uniform(0.55, 0.72), rng.uniform(-0.15, 0.7)
    along = np.array([side * np.cos(angle), np.sin(angle)])
    if how == "lips":
        _cigarette(pen, mouth, along, length, rng)
        return
    if how == "fingers":
        hand = (float(mouth[0] + side * rng.uniform(0.42, 0.55)), rng.uniform(0.5, 0.68))
        arm(pen, looks, side, hand)
        _cigarette(pen, mouth, along * [1, 0.6], length, rng)
        fingers(pen, looks, hand, (float(mouth[0] + side * 0.1), 0.3), 2, 0.28)
        return
    hand = (side * rng.uniform(0.6, 0.85), rng.uniform(0.5, 1.2))
    arm(pen, looks, side, hand)
    up = np.array([side * rng.uniform(-0.5, 0.7), -1.0])
    up /= np.linalg.norm(up)
    tip = np.array(hand) + 0.3 * up
    fingers(pen, looks, hand, tuple(tip), 2, 0.32)
    across = np.array([-up[1], up[0]]) * -side
    _cigarette(pen, tip - across * 0.12, across + up * 0.2, length, rng)


def other(pen: Pen, looks: Looks, what: str, side: int, turn: float, rng: np.random.Generator) -> None:
    """What a hand does that is neither calling nor smoking; `what` as in scene.Deed."""
    if what == "ear":
        hand = (side * rng.uniform(0.44, 0.58), rng.uniform(-0.05, 0.28))
        arm(pen, looks, side, hand)
        fingers(pen, looks, hand, (side * 0.3, hand[1] - 0.6), 4, 0.27)
    elif what == "chin":
        hand = (turn + side * rng.uniform(0.12, 0.32), rng.uniform(0.5, 0.62))
        arm(pen, looks, side, hand)
        fingers(pen, looks, hand, (turn, 0.25), 3, 0.25)
    elif what == "cup":
        close = rng.random() < 0.5
        hand = (
            (turn + side * 0.3, rng.uniform(0.48, 0.6))
            if close
            else (side * rng.uniform(0.6, 1.0), rng.uniform(1.2, 1.9))
        )
        arm(pen, looks, side, hand)
        x, y, colour = hand[0] - side * 0.14, hand[1] - 0.1, some_colour(rng)
        pen.polygon(
            [(x - 0.2, y - 0.22), (x + 0.2, y - 0.22), (x + 0.16, y + 0.24), (x - 0.16, y + 0.24)], colour
        )
        pen.ellipse((x, y - 0.22), (0.2, 0.06), dimmed(colour, 0.6))
        fingers(pen, looks, hand, (x, hand[1]), 4, 0.2)
    elif what == "pen":
        hand = (turn + side * rng.uniform(0.35, 0.9), rng.uniform(0.55, 1.5))
        arm(pen, looks, side, hand)
        end = np.array(hand) - np.array([side * rng.uniform(0.05, 0.35), rng.uniform(0.45, 0.6)])
        ink = [(30, 60, 160), (25, 25, 30), (180, 30, 40), (240, 190, 40)][rng.integers(4)]
        pen.limb(hand, tuple(end), (0.085, 0.06), ink)
        fingers(pen, looks, hand, tuple(end), 3, 0.2)
    else:  # a phone that is looked at
        hand = (side * rng.uniform(0.3, 0.75), rng.uniform(1.3, 1.9))
        arm(pen, looks, side, hand)
        phone(pen, np.array([hand[0] - side * 0.1, hand[1] - 0.2]), side * rng.uniform(-0.3, 0.3), 0.2, rng)
        fingers(pen, looks, hand, (hand[0] - side * 0.3, hand[1] - 0.1), 4, 0.2)


def phone(pen: Pen, middle: NDArray, lean: float, half_width: float, rng: np.random.Generator) -> None:
    """`lean`: radians by which its lower end turns to the left."""
    colour = PHONES[rng.integers(len(PHONES))]
    down, right = np.array([-np.sin(lean), np.cos(lean)]), np.array([np.cos(lean), np.sin(lean)])

    def corners(height: float, width: float) -> NDArray:
        return np.array(
            [middle + y * height * down + x * width * right for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        )

    pen.polygon(corners(0.43, half_width + 0.03), dimmed(colour, 0.55))
    pen.polygon(corners(0.4, half_width), colour)
    lens = dimmed(colour, 0.4) if sum(colour) > 300 else (120, 125, 135)
    pen.polygon(corners(0.04, 0.03) - 0.31 * down, lens)


def _cigarette(pen: Pen, start: NDArray, along: NDArray, length: float, rng: np.random.Generator) -> None:
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


def _wisps(pen: Pen, start: NDArray, rng: np.random.Generator) -> None:
    """Smoke that rises and spreads: light, see-through."""
    veil = copy(pen)
    veil.page = np.zeros_like(pen.page)
    height, sway = rng.uniform(0.6, 1.4), rng.uniform(-0.4, 0.4)
    rise = np.linspace(0, 1, 24)
    for strand in range(3):
        waves = 0.1 * np.sin(rise * rng.uniform(5, 9) + strand) * rise
        x = start[0] + sway * rise + waves + 0.14 * (strand - 1) * rise
        y = start[1] - height * rise
        veil.line(np.stack([x, y], 1), rng.uniform(0.05, 0.1), (255, 255, 255))
    share = 0.6 / 255 * cv2.GaussianBlur(veil.page, (0, 0), max(0.5, 0.05 * pen.unit)).astype(np.float32)
    pen.page[:] = (pen.page + share * (224.0 - pen.page)).astype(np.uint8)
