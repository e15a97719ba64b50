"""A person: looks, body, head and arms, in head heights about the middle of the head."""

from dataclasses import dataclass

import numpy as np

from common.sample.pen import Colour, Pen, Point, arc, dimmed, near, some_colour

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


@dataclass(frozen=True)
class Looks:
    """What stays the same all over a person."""

    skin: Colour
    hair: Colour
    cloth: Colour
    sleeve: Colour
    shoulders: float  # half their width
    bare_arms: bool


def body(pen: Pen, looks: Looks, rng: np.random.Generator) -> None:
    """Legs, neck and trunk, with one of four kinds of clothes."""
    wide, hips = looks.shoulders, looks.shoulders * rng.uniform(0.72, 0.85)
    trousers = dimmed(some_colour(rng), 0.7)
    for side in (-1, 1):
        pen.limb((side * 0.36, 3.7), (side * rng.uniform(0.3, 0.5), 7.0), (0.62, 0.4), trousers)
    pen.limb((0, 0.3), (0, 0.95), (0.4, 0.46), dimmed(looks.skin, 0.86))
    pen.polygon([(-0.25, 0.8), (0.25, 0.8), (wide, 1.0), (wide * 1.02, 1.4), (hips, 3.9), (-hips, 3.9),
                 (-wide * 1.02, 1.4), (-wide, 1.0)], looks.cloth)  # fmt: skip
    kind = rng.integers(4)
    if kind == 0:  # an open jacket
        pen.polygon([(-0.22, 0.8), (0.22, 0.8), (0.1, 3.9), (-0.1, 3.9)], some_colour(rng))
    elif kind == 1:
        for y in np.arange(1.2, 3.9, 0.36).tolist():
            pen.line([(-wide * 0.95, y), (wide * 0.95, y)], 0.09, dimmed(looks.cloth, 0.7))
    elif kind == 2:
        pen.polygon([(-0.24, 0.79), (0.24, 0.79), (0, 1.35)], near(looks.skin, rng, 6))
    else:
        pen.polygon([(-0.08, 0.85), (0.08, 0.85), (0.12, 2.2), (0, 2.45), (-0.12, 2.2)], some_colour(rng))


def head(pen: Pen, looks: Looks, turn: float, rng: np.random.Generator) -> None:
    """Face, hair, and sometimes beard, glasses or cap; `turn` is how far the face looks to the right."""
    skin, dark = looks.skin, dimmed(looks.skin, 0.72)
    for side in (-1, 1):
        pen.ellipse((side * 0.37, 0.03), (0.07, 0.12), dimmed(skin, 0.9))
    pen.ellipse((0, 0), (0.37, 0.5), skin)
    pen.ellipse((0.18 * np.sign(turn + 1e-9), 0.12), (0.16, 0.3), near(dimmed(skin, 0.95), rng, 3))
    if rng.random() < 0.2:  # a beard
        pen.polygon(arc((0, 0.08), (0.36, 0.43), 0.12, np.pi - 0.12), dimmed(looks.hair, 1.1))
    for side in (-1, 1):
        x = side * 0.15 + turn
        pen.ellipse((x, -0.04), (0.075, 0.035), (245, 245, 242))
        pen.ellipse((x, -0.04), (0.034, 0.036), (40, 30, 28))
        pen.line([(x - 0.09, -0.13), (x + 0.09, -0.14)], 0.035, dimmed(looks.hair, 0.8))
    pen.line([(turn, -0.02), (turn + 0.05, 0.13), (turn - 0.01, 0.15)], 0.025, dark)
    smile = rng.uniform(-0.03, 0.04)
    pen.line([(turn - 0.12, 0.28 - smile), (turn, 0.28), (turn + 0.12, 0.28 - smile)], 0.045, (168, 78, 74))
    if rng.random() < 0.2:  # glasses
        for side in (-1, 1):
            ring = arc((side * 0.15 + turn, -0.04), (0.12, 0.09), 0, 2 * np.pi)
            pen.line(ring, 0.025, (35, 35, 40))
        pen.line([(turn - 0.04, -0.05), (turn + 0.04, -0.05)], 0.025, (35, 35, 40))
    fringe = rng.uniform(-0.32, -0.16)
    cap = np.concatenate(
        [arc((0, -0.1), (0.42, 0.46), np.pi * 0.98, np.pi * 2.02), [(0.2, fringe), (-0.15, fringe - 0.05)]]
    )
    if rng.random() < 0.9:
        pen.polygon(cap, looks.hair)
    if rng.random() < 0.12:  # a cap with a peak
        colour = some_colour(rng)
        pen.polygon(arc((0, -0.22), (0.42, 0.4), np.pi, 2 * np.pi), colour)
        pen.limb((-0.3, -0.22), (0.45, -0.2), (0.09, 0.06), dimmed(colour, 0.75))


def arm(pen: Pen, looks: Looks, side: int, hand: Point) -> None:
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


def fingers(pen: Pen, looks: Looks, hand: Point, towards: Point, count: int = 4, length: float = 0.3) -> None:
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
            dimmed(looks.skin, 0.97 - 0.03 * (number % 2)),
        )
