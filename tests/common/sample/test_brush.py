"""The brush draws every character it knows, within the page, and the same for the same seed."""

import numpy as np
import pytest

from common.sample.brush import MANNERS, Hand, draw
from common.sample.glyphs import COMPOSED, SIMPLE, characters, strokes

STEADY = Hand(width=0.08, slant=0.0, rise=0.0, tremor=0.0, speed=0.0, tip=0.8)


@pytest.mark.parametrize("character", characters())
def test_every_character_stays_in_its_square(character):
    parts = strokes(character)
    points = np.concatenate([stroke.points for stroke in parts])
    assert points.min() >= -0.01 and points.max() <= 1.01
    assert all(stroke.kind in "hvpndtzg" and len(stroke.points) >= 2 for stroke in parts)


@pytest.mark.parametrize("character", COMPOSED)
def test_a_composed_character_has_the_strokes_of_its_components(character):
    def count(name):
        return (
            len(SIMPLE[name].split(";"))
            if name in SIMPLE
            else sum(map(count, COMPOSED[name].strip("⿰⿱⿴⿵")))
        )

    description = COMPOSED[character].translate(str.maketrans("", "", "⿰⿱⿴⿵"))
    assert len(strokes(character)) == sum(
        count(part) if part in SIMPLE else len(strokes(part)) for part in description
    )


def test_a_tree_beside_a_tree_is_a_wood():
    """⿰木木: the left half and the right half are one tree each."""
    left, right = strokes("林")[:4], strokes("林")[4:]
    for tree in (left, right):
        for stroke, other in zip(tree, strokes("木"), strict=True):
            scaled = (stroke.points - stroke.points[0]) / (other.points - other.points[0] + 1e-12)
            assert stroke.kind == other.kind
            assert np.nanmax(np.abs(np.sign(scaled[1:]))) <= 1
    assert max(s.points[:, 0].max() for s in left) < 0.5 < max(s.points[:, 0].max() for s in right)


@pytest.mark.parametrize("manner", MANNERS)
def test_ink_is_on_the_page_and_within_range(manner):
    ink = draw(strokes("林"), STEADY, MANNERS[manner], 64, np.random.default_rng(0))
    assert ink.shape == (64, 64) and ink.dtype == np.float32
    assert ink.min() >= 0 and ink.max() <= 1.001
    assert 0.05 < ink.mean() < 0.6
    assert max(ink[0].max(), ink[-1].max(), ink[:, 0].max(), ink[:, -1].max()) < 0.05  # nothing is cut off


def test_a_broader_brush_leaves_more_ink():
    def ink(width):
        hand = Hand(width=width, slant=0, rise=0, tremor=0, speed=0, tip=0.8)
        return draw(
            strokes("永" if "永" in SIMPLE else "水"), hand, MANNERS["regular"], 64, np.random.default_rng(0)
        ).sum()

    assert ink(0.05) < ink(0.08) < ink(0.12)


def test_pressure_thickens_the_end_of_a_right_falling_stroke():
    stroke = [s for s in strokes("大") if s.kind == "n"]
    ink = draw(stroke, STEADY, MANNERS["regular"], 128, np.random.default_rng(1))
    rows = np.flatnonzero(ink.sum(axis=1) > 0.5)
    third = len(rows) // 3
    assert ink[rows[-third:-2]].sum(axis=1).max() > 1.4 * ink[rows[2:third]].sum(axis=1).max()
