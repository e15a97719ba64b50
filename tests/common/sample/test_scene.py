"""Drawn people: what they do is seen where they do it, and nowhere else; shapes have the size that they should."""

import numpy as np
import pytest

from common.sample.pen import Pen
from common.sample.places import place
from common.sample.scene import Deed, View, _person, scene

SIDE, HEAD = 300, 80
MIDDLE = np.array([150.0, 100.0])


def figure(deed, seed):
    page = np.full((SIDE, SIDE, 3), 128, np.uint8)
    _person(Pen(page, HEAD, tuple(MIDDLE), 0.0), deed, np.random.default_rng(seed))
    return page


def changed(deed, other, seed):
    """Where two deeds of one person differ: (x, y) in head heights from the middle of the head, float (N, 2)."""
    rows, columns = np.nonzero((figure(deed, seed) != figure(other, seed)).any(axis=2))
    return (np.stack([columns, rows], axis=1) - MIDDLE) / HEAD


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("side", [-1, 1])
def test_a_cigarette_between_the_lips_is_seen_at_the_mouth_on_its_side(seed, side):
    where = changed(Deed(cigarette=side), Deed(), seed)
    assert len(where) > 0.02 * HEAD**2
    below = where[where[:, 1] > 0.1]  # above there may be smoke
    assert (side * below[:, 0] > -0.25).all() and (side * below[:, 0]).max() > 0.4
    assert (below[:, 1] < 0.9).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("side", [-1, 1])
def test_a_phone_is_seen_beside_the_face_and_the_other_arm_stays_on_its_side(seed, side):
    where = changed(Deed(phone=side), Deed(), seed)
    at_ear = where[(np.abs(where[:, 1]) < 0.4) & (np.abs(where[:, 0]) < 0.7)]
    assert len(at_ear) > 0.1 * HEAD**2 and (side * at_ear[:, 0] > 0.1).all()


def test_a_scene_is_fixed_by_its_numbers_and_has_the_size_asked_for():
    view = View(height=90, width=70, head=30, x=35, y=25)
    first, again, another = (scene(Deed(phone=1), view, np.random.default_rng(n)) for n in (0, 0, 1))
    assert first.shape == (90, 70, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != another).any()


def test_places_differ():
    pages = [place(60, 80, np.random.default_rng(seed)) for seed in range(20)]
    assert all(page.shape == (60, 80, 3) and page.dtype == np.uint8 for page in pages)
    assert len({page.tobytes() for page in pages}) == 20
    assert np.std([page.mean() for page in pages]) > 20


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_shapes_have_their_area_and_place_in_any_tilt(tilt):
    page = np.zeros((200, 200, 3), np.uint8)
    pen = Pen(page, 40, (100, 100), tilt)
    pen.ellipse((0, 1), (1, 0.5), (255, 255, 255))
    ink = page[:, :, 0] / 255
    assert ink.sum() == pytest.approx(np.pi * 0.5 * 40**2, rel=0.06)
    rows, columns = np.indices(ink.shape)
    centre = np.array([(ink * columns).sum(), (ink * rows).sum()]) / ink.sum()
    assert centre == pytest.approx([100 - 40 * np.sin(tilt), 100 + 40 * np.cos(tilt)], abs=0.7)
