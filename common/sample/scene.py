"""Scenes: a person somewhere, with what they hold and do, drawn as a colour picture.

A person is drawn in head heights about the middle of the head, x to the right and y down, so that one description
fits close-ups and whole figures.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from common.sample.light import lit
from common.sample.pen import Image, Pen, dimmed, near, some_colour
from common.sample.person import HAIRS, SKINS, Looks, arm, body, head
from common.sample.places import place
from common.sample.things import other, phone_at_ear, smoke


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
    pen = Pen(page, double.head, (double.x, double.y), rng.normal(0, 0.06))
    _person(pen, deed, rng)
    small = cv2.resize(page, (view.width, view.height), interpolation=cv2.INTER_AREA)
    return lit(np.asarray(small, np.uint8), rng)


def _person(pen: Pen, deed: Deed, rng: np.random.Generator) -> None:
    cloth = some_colour(rng)
    looks = Looks(
        skin=near(SKINS[rng.integers(len(SKINS))], rng, 8),
        hair=near(HAIRS[rng.integers(len(HAIRS))], rng, 10),
        cloth=cloth,
        sleeve=dimmed(cloth, 0.86),
        shoulders=rng.uniform(0.8, 1.0),
        bare_arms=rng.random() < 0.35,
    )
    long_hair = rng.random() < 0.45
    if long_hair:
        pen.ellipse((0, 0.25), (0.5, rng.uniform(0.7, 1.05)), dimmed(looks.hair, 0.8))
    body(pen, looks, rng)
    turn = rng.uniform(-0.1, 0.1)
    head(pen, looks, turn, rng)
    busy = {deed.phone} | ({deed.cigarette} if deed.cigarette and deed.smokes != "lips" else set())
    free = [side for side in (-1, 1) if side not in busy]
    if deed.other != "none" and free:
        side = int(rng.choice(free))
        free.remove(side)
        other(pen, looks, deed.other, side, turn, rng)
    for side in free:
        hand = (side * (looks.shoulders + rng.uniform(-0.25, 0.35)), rng.uniform(2.9, 3.6))
        arm(pen, looks, side, hand)
    if deed.cigarette:
        smoke(pen, looks, deed.cigarette, deed.smokes, turn, rng)
    if deed.phone:
        phone_at_ear(pen, looks, deed.phone, rng)
