"""Forty kinds of household waste, drawn about a pen's origin, one unit high or wide at most.

Each painter draws one thing as the contest's names have it: of a shape that tells it, in a colour that mostly does
not. What comes in packages is drawn by common/sample/packages.py.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.sample.packages import EMBLEMS, LAYOUTS, Package, draw_package
from common.sample.pen import Colour, Pen, Point, arc, dimmed, near, some_colour

Random = np.random.Generator
Painter = Callable[[Pen, Random], None]

WHITE, CREAM, BONE, WOOD = (238, 238, 234), (240, 228, 196), (232, 220, 196), (196, 150, 92)
BROWN, LEATHER, CLAY, GREEN = (92, 62, 38), (84, 52, 34), (178, 96, 60), (86, 146, 62)
GREY, STEEL, GLASS, DARK = (128, 130, 134), (178, 182, 188), (196, 220, 224), (44, 44, 50)


def thing(name: str) -> Painter:
    """The painter of a class, such as 其他垃圾/烟蒂. KeyError for a name that is not among the forty."""
    return _PAINTERS[name.partition("/")[2]]


# Other waste ---------------------------------------------------------------------------------------------


def _lunch_box(pen: Pen, rng: Random) -> None:
    colour = near(WHITE, rng, 6)
    pen.polygon([(-0.45, -0.05), (0.45, -0.05), (0.36, 0.3), (-0.36, 0.3)], dimmed(colour, 0.86))
    pen.polygon([(-0.4, -0.4), (0.4, -0.4), (0.45, -0.05), (-0.45, -0.05)], colour)  # the open lid
    _blobs(pen, rng, (0, 0.02), (0.34, 0.06), 7, near((200, 120, 40), rng, 25))


def _dirty_plastic(pen: Pen, rng: Random) -> None:
    colour = near(GLASS, rng, 14)
    pen.polygon(_ragged(rng, 0.46, 0.38, 14), dimmed(colour, 0.8))
    pen.polygon(_ragged(rng, 0.4, 0.32, 14), colour)
    for _ in range(6):  # folds
        pen.line(rng.uniform(-0.3, 0.3, (3, 2)), 0.015, dimmed(colour, rng.choice([0.75, 1.2])))
    _blobs(pen, rng, (0.05, 0.05), (0.2, 0.15), 9, near(BROWN, rng, 15))


def _stub(pen: Pen, rng: Random) -> None:
    bend = rng.uniform(-0.12, 0.12)
    pen.limb((-0.45, 0), (0, bend), (0.17, 0.17), (206, 140, 70))
    pen.limb((0, bend), (0.32, bend * 1.4), (0.16, 0.13), near(WHITE, rng, 6))
    pen.limb((0.32, bend * 1.4), (0.42, bend * 1.6), (0.13, 0.06), DARK)


def _toothpicks(pen: Pen, rng: Random) -> None:
    for _ in range(rng.integers(2, 6)):
        x, lean = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.5)
        pen.limb((x - lean / 2, -0.45), (x + lean / 2, 0.45), (0.008, 0.03), near(CREAM, rng, 8))


def _shards(pen: Pen, rng: Random) -> None:
    colour = near(CLAY, rng, 15) if rng.random() < 0.6 else near(WHITE, rng, 8)
    for x, y in ((-0.22, 0.12), (0.22, 0.16), (0.02, -0.2)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 4))
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.2, 0.3, (4, 1)) + np.array(
            [x, y]
        )
        pen.polygon(points + np.array([0.02, 0.025]), dimmed(colour, 0.55))
        pen.polygon(points, dimmed(colour, rng.uniform(0.85, 1.1)))


def _chopsticks(pen: Pen, rng: Random) -> None:
    colour, lean = near((206, 168, 104), rng, 12), rng.uniform(-0.25, 0.25)
    for x in (-0.07, 0.07):
        pen.limb((x * rng.uniform(0.3, 2), -0.5), (x + lean, 0.5), (0.065, 0.035), colour)


# Kitchen waste -------------------------------------------------------------------------------------------


def _leftovers(pen: Pen, rng: Random) -> None:
    plate = near(WHITE, rng, 6)
    pen.ellipse((0, 0.05), (0.5, 0.36), dimmed(plate, 0.8))
    pen.ellipse((0, 0.03), (0.47, 0.33), plate)
    for colour in (CREAM, (214, 120, 50), GREEN, (170, 52, 36)):
        _blobs(pen, rng, tuple(rng.uniform(-0.1, 0.1, 2)), (0.24, 0.15), 8, near(colour, rng, 14))


def _bone(pen: Pen, rng: Random) -> None:
    colour = near(BONE, rng, 8)
    pen.limb((-0.32, 0), (0.32, 0), (0.17, 0.15), colour)
    for x in (-0.36, 0.36):
        for y in (-0.09, 0.09):
            pen.ellipse((x, y), (0.12, 0.11), colour)
    pen.line([(-0.25, 0.04), (0.25, 0.04)], 0.02, dimmed(colour, 0.8))


def _peel(pen: Pen, rng: Random) -> None:
    colour = near([(228, 196, 60), (232, 140, 40), (190, 40, 40)][rng.integers(3)], rng, 14)
    for turn in rng.permutation([-1.1, -0.1, 0.9]):  # strips that hang from the stalk
        end = (0.46 * np.sin(turn), 0.42 * np.cos(turn) - 0.05)
        bow = (0.3 * np.sin(turn) + 0.12, 0.2 * np.cos(turn) - 0.15)
        pen.limb((0, -0.28), bow, (0.1, 0.2), dimmed(colour, rng.uniform(0.8, 1)))
        pen.limb(bow, end, (0.2, 0.06), colour)
    pen.limb((0, -0.42), (0, -0.28), (0.05, 0.08), dimmed(colour, 0.55))


def _pulp(pen: Pen, rng: Random) -> None:
    rind = near([(60, 130, 60), (226, 150, 50), (200, 60, 50)][rng.integers(3)], rng, 12)
    flesh = near([(222, 70, 70), (250, 200, 110), (246, 236, 200)][rng.integers(3)], rng, 12)
    for size, colour in ((0.5, rind), (0.44, (240, 238, 214)), (0.39, flesh)):
        pen.polygon(arc((0, -0.2), (size, size), 0, np.pi), colour)
    for angle in np.linspace(0.4, 2.7, 7):
        pen.ellipse(
            (0.25 * np.cos(angle), 0.25 * np.sin(angle) - 0.2), (0.015, 0.03), DARK, np.pi / 2 - angle
        )


def _tea(pen: Pen, rng: Random) -> None:
    _blobs(pen, rng, (0, 0), (0.36, 0.26), 30, near((58, 56, 30), rng, 8))
    for _ in range(50):
        (x, y), turn = rng.normal(0, 0.18, 2), rng.uniform(0, np.pi)
        leaf = near((76, 70, 34), rng, 16)
        pen.ellipse((x, y * 0.8), (rng.uniform(0.03, 0.07), 0.014), leaf, turn)


def _greens(pen: Pen, rng: Random) -> None:
    leaf = near(GREEN, rng, 18)
    for x in (-0.22, 0.22, 0):
        pen.polygon(
            _ragged(rng, 0.2, 0.28, 16) + np.array([x, -0.2 - 0.03 * (x == 0)]),
            dimmed(leaf, rng.uniform(0.8, 1.15)),
        )
        pen.limb((x * 0.4, 0.3), (x, -0.25), (0.1, 0.03), near((214, 226, 180), rng, 8))
    for x in (-0.08, 0, 0.08):
        pen.line([(0.4 * x, 0.3), (x, 0.48)], 0.015, near(CREAM, rng, 10))


def _eggshell(pen: Pen, rng: Random) -> None:
    colour = near([(226, 180, 140), WHITE][rng.integers(2)], rng, 8)
    x = np.linspace(-0.34, 0.34, 12)
    edge = np.stack([x, np.where(np.arange(12) % 2, -0.09, 0.03) + rng.normal(0, 0.02, 12)], 1)
    pen.ellipse((0, -0.02), (0.34, 0.12), dimmed(colour, 0.7))  # the inside
    pen.polygon(np.vstack([edge, arc((0, 0), (0.34, 0.42), 0, np.pi)]), colour)


def _fish_bone(pen: Pen, rng: Random) -> None:
    colour = near(BONE, rng, 8)
    pen.line([(-0.3, 0), (0.4, 0)], 0.035, colour)
    for x in np.linspace(-0.2, 0.28, 6):
        size = 0.24 * (1 - abs(x - 0.0) * 1.6)
        pen.line([(x + 0.07, -size), (x, 0), (x + 0.07, size)], 0.022, colour)
    pen.polygon([(-0.5, 0), (-0.28, -0.17), (-0.28, 0.17)], colour)
    pen.ellipse((-0.37, -0.03), (0.025, 0.025), DARK)
    pen.polygon([(0.38, 0), (0.5, -0.16), (0.46, 0), (0.5, 0.16)], colour)


# Recyclables ---------------------------------------------------------------------------------------------


def _power_bank(pen: Pen, rng: Random) -> None:
    colour = [DARK, WHITE, some_colour(rng)][rng.integers(3)]
    pen.polygon(_rounded(0.27, 0.46, 0.07), dimmed(colour, 0.7))
    pen.polygon(_rounded(0.25, 0.44, 0.07), colour)
    pen.polygon(_rounded(0.07, 0.02, 0.01, (0, -0.4)), GREY)
    for x in np.linspace(-0.12, 0.12, 4):
        pen.ellipse((x, 0.33), (0.018, 0.018), (110, 190, 250))


def _bag(pen: Pen, rng: Random) -> None:
    colour = some_colour(rng)
    pen.line(arc((0, -0.12), (0.2, 0.34), np.pi, 2 * np.pi), 0.05, dimmed(colour, 0.6))
    pen.polygon([(-0.34, -0.12), (0.34, -0.12), (0.44, 0.42), (-0.44, 0.42)], colour)
    pen.polygon([(-0.35, -0.12), (0.35, -0.12), (0.2, 0.14), (-0.2, 0.14)], dimmed(colour, 0.82))
    pen.ellipse((0, 0.13), (0.04, 0.03), (226, 190, 90))


def _toy(pen: Pen, rng: Random) -> None:
    colour = some_colour(rng)
    pen.polygon([(-0.2, -0.25), (0.15, -0.25), (0.28, -0.02), (-0.3, -0.02)], dimmed(colour, 0.85))
    pen.polygon([(-0.15, -0.2), (0.11, -0.2), (0.19, -0.04), (-0.2, -0.04)], GLASS)
    pen.polygon([(-0.48, -0.03), (0.46, -0.03), (0.48, 0.18), (-0.48, 0.18)], colour)
    for x in (-0.28, 0.28):
        pen.ellipse((x, 0.19), (0.12, 0.12), DARK)
        pen.ellipse((x, 0.19), (0.05, 0.05), some_colour(rng))


def _bowl(pen: Pen, rng: Random) -> None:
    colour = some_colour(rng)
    pen.polygon([(-0.5, -0.12), (0.5, -0.12), (0.26, 0.3), (-0.26, 0.3)], colour)
    pen.ellipse((0, -0.12), (0.5, 0.13), dimmed(colour, 1.25))
    pen.ellipse((0, -0.1), (0.43, 0.1), dimmed(colour, 0.7))


def _hanger(pen: Pen, rng: Random) -> None:
    colour = some_colour(rng)
    pen.line([(0, -0.12), (-0.48, 0.24), (0.48, 0.24), (0, -0.12)], 0.05, colour)
    pen.line(np.vstack([arc((0, -0.31), (0.09, 0.09), np.pi, 2.5 * np.pi), [[0, -0.12]]]), 0.035, GREY)


def _courier_bag(pen: Pen, rng: Random) -> None:
    colour = near([(190, 150, 104), GREY, WHITE][rng.integers(3)], rng, 12)
    pen.polygon([(-0.4, -0.3), (0.4, -0.34), (0.42, 0.34), (-0.38, 0.36)], dimmed(colour, 0.8))
    pen.polygon([(-0.4, -0.32), (0.4, -0.36), (0.42, 0.32), (-0.38, 0.34)], colour)
    pen.polygon([(-0.24, -0.16), (0.24, -0.18), (0.26, 0.16), (-0.22, 0.18)], (246, 246, 242))
    for x in np.cumsum(rng.uniform(0.015, 0.05, 9)) - 0.2:  # a bar code
        pen.line([(x, -0.12), (x, 0.0)], rng.choice([0.008, 0.018]), DARK)
    for y in (0.06, 0.11):
        pen.line([(-0.16, y), (0.18, y)], 0.012, GREY)


def _plug(pen: Pen, rng: Random) -> None:
    colour = [DARK, WHITE, some_colour(rng)][rng.integers(3)]
    t = np.linspace(0, 1, 30)
    wave = 0.26 * np.sin(t * rng.uniform(6, 9))
    pen.line(np.stack([0.1 - 0.55 * t + 0.1 * np.sin(9 * t), wave * t + 0.4 * t], 1), 0.05, colour)
    pen.polygon(_rounded(0.15, 0.13, 0.04, (0.2, -0.12)), colour)
    for y in (-0.2, -0.05):
        pen.limb((0.33, y), (0.5, y), (0.035, 0.035), STEEL)


def _clothes(pen: Pen, rng: Random) -> None:
    colour = some_colour(rng)
    half = np.array([(0.1, -0.4), (0.25, -0.38), (0.5, -0.08), (0.36, 0.04), (0.26, -0.1), (0.28, 0.44)])
    pen.polygon(np.vstack([half, half[::-1] * [-1, 1]]), colour)
    pen.ellipse((0, -0.4), (0.1, 0.06), dimmed(colour, 0.55))
    stripe = some_colour(rng)
    for y in rng.choice([-0.15, 0.0, 0.15, 0.3], rng.integers(1, 4), replace=False):
        pen.line([(-0.26, y), (0.26, y)], 0.04, stripe)


def _pillow(pen: Pen, rng: Random) -> None:
    colour = near([WHITE, CREAM, some_colour(rng)][rng.integers(3)], rng, 8)
    x = np.linspace(-1, 1, 12)
    bow = 0.04 * (1 - x**2)
    top, right = np.stack([0.48 * x, -0.3 + bow], 1), np.stack([0.48 - bow, 0.3 * x], 1)
    outline = np.vstack([top, right, -top, -right])
    pen.polygon(outline, dimmed(colour, 0.8))
    pen.polygon(outline * 0.93, colour)
    for sign in (-1, 1):
        pen.line([(0.46 * sign, -0.26), (0.3 * sign, -0.12)], 0.012, dimmed(colour, 0.75))
        pen.line([(0.46 * sign, 0.26), (0.28 * sign, 0.1)], 0.012, dimmed(colour, 0.75))


def _plush(pen: Pen, rng: Random) -> None:
    fur = near([(150, 100, 58), (214, 190, 160), (230, 150, 170)][rng.integers(3)], rng, 14)
    for x, y, size in ((-0.2, -0.4, 0.1), (0.2, -0.4, 0.1), (-0.28, 0.1, 0.11), (0.28, 0.1, 0.11),
                       (-0.17, 0.42, 0.12), (0.17, 0.42, 0.12)):  # fmt: skip
        pen.ellipse((x, y), (size, size), dimmed(fur, 0.85))
    pen.ellipse((0, 0.18), (0.26, 0.29), fur)
    pen.ellipse((0, -0.22), (0.25, 0.22), fur)
    pen.ellipse((0, -0.15), (0.11, 0.08), dimmed(fur, 1.25))
    for x, y, size in ((-0.09, -0.26, 0.025), (0.09, -0.26, 0.025), (0, -0.18, 0.03)):
        pen.ellipse((x, y), (size, size), DARK)


def _glass(pen: Pen, rng: Random) -> None:
    colour = near(GLASS, rng, 10)
    pen.polygon([(-0.27, -0.45), (0.27, -0.45), (0.2, 0.45), (-0.2, 0.45)], colour)
    pen.polygon(
        [(-0.22, -0.05), (0.22, -0.05), (0.18, 0.38), (-0.18, 0.38)], dimmed(colour, rng.uniform(0.8, 0.95))
    )
    pen.ellipse((0, -0.45), (0.27, 0.06), dimmed(colour, 1.15))
    pen.ellipse((0, -0.45), (0.24, 0.045), dimmed(colour, 0.85))
    pen.line([(-0.17, -0.36), (-0.13, 0.34)], 0.03, (250, 252, 252))


def _shoe(pen: Pen, rng: Random) -> None:
    colour = near([DARK, LEATHER, (126, 70, 36)][rng.integers(3)], rng, 10)
    pen.polygon(
        [(-0.48, -0.2), (-0.12, -0.22), (0.06, -0.02), (0.36, 0.04), (0.5, 0.18), (-0.46, 0.18)], colour
    )
    pen.ellipse((-0.3, -0.2), (0.17, 0.05), dimmed(colour, 0.5))
    pen.polygon([(-0.47, 0.17), (0.5, 0.17), (0.48, 0.23), (-0.18, 0.23), (-0.2, 0.3), (-0.46, 0.3)], DARK)
    for x in (-0.08, -0.02, 0.04):
        pen.line([(x - 0.04, -0.1), (x + 0.03, -0.14)], 0.02, dimmed(colour, 1.7))


def _board(pen: Pen, rng: Random) -> None:
    colour = near(WOOD, rng, 12)
    pen.polygon(_rounded(0.48, 0.31, 0.06, (0, 0.02)), dimmed(colour, 0.65))
    pen.polygon(_rounded(0.48, 0.31, 0.06), colour)
    for y in np.linspace(-0.24, 0.24, 6):
        pen.line(
            [(-0.42, y + rng.normal(0, 0.01)), (0.42, y + rng.normal(0, 0.01))], 0.01, dimmed(colour, 0.85)
        )
    pen.ellipse((0.39, 0), (0.035, 0.07), dimmed(colour, 0.35))


def _carton(pen: Pen, rng: Random) -> None:
    colour = near((190, 146, 98), rng, 10)
    pen.polygon([(-0.42, -0.12), (0.16, -0.04), (0.16, 0.42), (-0.42, 0.3)], colour)
    pen.polygon([(0.16, -0.04), (0.44, -0.18), (0.44, 0.24), (0.16, 0.42)], dimmed(colour, 0.78))
    pen.polygon([(-0.42, -0.12), (-0.12, -0.26), (0.44, -0.18), (0.16, -0.04)], dimmed(colour, 0.5))
    pen.polygon([(-0.42, -0.12), (0.16, -0.04), (0.02, -0.32), (-0.5, -0.36)], dimmed(colour, 1.15))  # a flap
    pen.polygon([(-0.2, -0.1), (-0.1, -0.08), (-0.1, 0.36), (-0.2, 0.34)], dimmed(colour, 1.2))


def _pot(pen: Pen, rng: Random) -> None:
    colour = near([DARK, STEEL, (150, 40, 36)][rng.integers(3)], rng, 10)
    pen.limb((0.2, -0.12), (0.5, -0.3), (0.07, 0.09), dimmed(DARK, 1.2))
    pen.polygon(
        np.vstack([[(-0.46, -0.1)], arc((-0.08, 0.12), (0.37, 0.16), 0, np.pi)[::-1], [(0.3, -0.1)]]), colour
    )
    pen.ellipse((-0.08, -0.1), (0.38, 0.11), dimmed(colour, 1.35))
    pen.ellipse((-0.08, -0.09), (0.34, 0.08), dimmed(colour, 0.6))


# Hazardous waste -----------------------------------------------------------------------------------------


def _battery(pen: Pen, rng: Random) -> None:
    body, band = (
        [DARK, some_colour(rng)][rng.integers(2)],
        [(206, 150, 60), some_colour(rng)][rng.integers(2)],
    )
    pen.polygon(_rounded(0.06, 0.04, 0.01, (0, -0.46)), STEEL)
    pen.polygon(_rounded(0.18, 0.44, 0.04), dimmed(body, 0.7))
    pen.polygon(_rounded(0.16, 0.43, 0.04), body)
    pen.polygon(_rounded(0.17, 0.1, 0.01, (0, -0.32)), band)
    pen.line([(0, 0.2), (0, 0.32)], 0.03, WHITE)
    pen.line([(-0.06, 0.26), (0.06, 0.26)], 0.03, WHITE)


def _medicine(pen: Pen, rng: Random) -> None:
    foil, pill = near(STEEL, rng, 8), near([WHITE, (226, 120, 60), (230, 210, 90)][rng.integers(3)], rng, 8)
    pen.polygon(_rounded(0.3, 0.45, 0.03, (0.02, 0.02)), dimmed(foil, 0.7))
    pen.polygon(_rounded(0.3, 0.45, 0.03), foil)
    for x in (-0.15, 0.15):
        for y in np.linspace(-0.33, 0.33, 4):
            pen.ellipse((x + 0.01, y + 0.012), (0.1, 0.062), dimmed(foil, 0.6))
            if rng.random() < 0.8:  # the others are empty
                pen.ellipse((x, y), (0.09, 0.055), pill)


def _packed(
    shape: str, body: Colour | None = None, cap: Colour | None = None, layout: str | None = None
) -> Painter:
    """A package of packages.py whose colours and label are drawn where they are not given."""

    def paint(pen: Pen, rng: Random) -> None:
        accent = some_colour(rng)
        ink = (250.0, 250.0, 245.0) if sum(accent) < 420 else (30.0, 26.0, 34.0)
        look = Package(
            shape=shape,
            body=near(body, rng, 14) if body else some_colour(rng),
            cap=near(cap, rng, 10) if cap else some_colour(rng),
            layout=layout or str(rng.choice(LAYOUTS)),
            accent=accent,
            emblem=str(rng.choice(EMBLEMS)),
            emblem_colour=ink,
            word=str(rng.choice([*"米口日目田白月山水火"])),
            word_colour=ink,
        )
        draw_package(pen, look)

    return paint


def _oil(pen: Pen, rng: Random) -> None:
    _packed("carton", (222, 180, 70), layout="patch")(pen, rng)
    pen.polygon(_rounded(0.08, 0.05, 0.01, (0, -0.49)), some_colour(rng))
    pen.line(arc((0.16, -0.3), (0.12, 0.12), -0.5 * np.pi, 0.6 * np.pi), 0.05, (214, 168, 60))  # the handle


def _blobs(pen: Pen, rng: Random, centre: Point, spread: Point, count: int, colour: Colour) -> None:
    for x, y in rng.normal(0, 0.5, (count, 2)) * spread + centre:
        size = rng.uniform(0.025, 0.07)
        pen.ellipse((x, y), (size, size * 0.8), dimmed(colour, rng.uniform(0.75, 1.2)), rng.uniform(0, np.pi))


def _ragged(rng: Random, wide: float, high: float, corners: int) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([wide * np.cos(angle), high * np.sin(angle)], 1) * rng.uniform(0.75, 1.1, (corners, 1))


def _rounded(wide: float, high: float, radius: float, centre: Point = (0, 0)) -> NDArray[np.float64]:
    """A rectangle with round corners, half its sides given."""
    corners = [
        arc((x * (wide - radius), y * (high - radius)), (radius, radius), start, start + np.pi / 2)
        + np.array(centre)
        for x, y, start in ((1, 1, 0.0), (-1, 1, np.pi / 2), (-1, -1, np.pi), (1, -1, 1.5 * np.pi))
    ]
    return np.vstack(corners)


_PAINTERS: dict[str, Painter] = {
    "一次性快餐盒": _lunch_box, "污损塑料": _dirty_plastic, "烟蒂": _stub, "牙签": _toothpicks,
    "破碎花盆及碟碗": _shards, "竹筷": _chopsticks, "剩饭剩菜": _leftovers, "大骨头": _bone,
    "水果果皮": _peel, "水果果肉": _pulp, "茶叶渣": _tea, "菜叶菜根": _greens, "蛋壳": _eggshell, "鱼骨": _fish_bone,
    "充电宝": _power_bank, "包": _bag, "化妆品瓶": _packed("jar", WHITE, (214, 180, 110), "lower"), "塑料玩具": _toy,
    "塑料碗盆": _bowl, "塑料衣架": _hanger, "快递纸袋": _courier_bag, "插头电线": _plug, "旧衣服": _clothes,
    "易拉罐": _packed("can"), "枕头": _pillow, "毛绒玩具": _plush, "洗发水瓶": _packed("pump"), "玻璃杯": _glass,
    "皮鞋": _shoe, "砧板": _board, "纸板箱": _carton, "调料瓶": _packed("jar", BROWN, (190, 40, 40), "band"),
    "酒瓶": _packed("bottle", (44, 84, 50), (120, 30, 40), "patch"), "金属食品罐": _packed("tin", STEEL),
    "锅": _pot, "食用油桶": _oil, "饮料瓶": _packed("bottle", GLASS, None, "band"), "干电池": _battery,
    "软膏": _packed("tube", WHITE, None, "stripes"), "过期药物": _medicine,
}  # fmt: skip
