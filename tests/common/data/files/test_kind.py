"""Photographs and strokes are told apart, by what the sample data's painters draw and by plain shapes."""

import cv2
import numpy as np
import pytest

from common.data.files.kind import LOOKED_AT, is_strokes, share_of_strokes
from common.sample.brush import MANNERS, Hand, draw
from common.sample.glyphs import characters, strokes
from common.sample.scene import Deed, View, scene

COUNT = 20


def character(rng: np.random.Generator) -> np.ndarray:
    """White brush strokes on black."""
    names = characters()
    ink = draw(strokes(names[rng.integers(len(names))]), Hand.drawn(rng), MANNERS["regular"], 96, rng)
    return (255 * ink.clip(0, 1)).astype(np.uint8)[..., None]


def line_drawing(rng: np.random.Generator) -> np.ndarray:
    """Lines with a pen on white, not square."""
    sheet = np.full((90, 120, 1), 255, np.uint8)
    for _ in range(5):
        start, end = rng.integers(5, 85, (2, 2)).tolist()
        cv2.line(sheet, start, end, int(rng.integers(0, 90)), 3, cv2.LINE_AA)
    return sheet


def photograph(rng: np.random.Generator) -> np.ndarray:
    """A person somewhere, in grey."""
    picture = scene(Deed(phone=1), View(96, 96, 40, 48, 40), rng)
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]


def thing_on_white(rng: np.random.Generator) -> np.ndarray:
    """As in a catalogue: two tones, and no stroke."""
    sheet = np.full((96, 96, 1), 250, np.uint8)
    axes = rng.integers(20, 40, 2).tolist()
    cv2.ellipse(sheet, (48, 48), axes, 0, 0, 360, int(rng.integers(0, 150)), -1)
    return sheet


def votes(draw_one) -> list[bool]:
    rng = np.random.default_rng(0)
    return [is_strokes(draw_one(rng)) for _ in range(COUNT)]


@pytest.mark.parametrize(
    ("draw_one", "expected"),
    [(character, True), (line_drawing, True), (photograph, False), (thing_on_white, False)],
)
def test_the_kind_of_what_painters_draw(draw_one, expected):
    assert np.mean([vote == expected for vote in votes(draw_one)]) >= 0.85


@pytest.mark.parametrize("draw_one", [character, line_drawing, photograph, thing_on_white])
def test_negatives_and_mirror_images_are_of_the_same_kind(draw_one):
    def negative(rng):
        return 255 - draw_one(rng)

    def mirrored(rng):
        return np.ascontiguousarray(draw_one(rng)[:, ::-1])

    same = [
        first == second
        for other in (negative, mirrored)
        for first, second in zip(votes(draw_one), votes(other), strict=True)
    ]
    assert np.mean(same) >= 0.9


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_a_picture_of_one_tone_is_no_stroke(tone):
    assert not is_strokes(np.full((5, 7, 1), tone, np.uint8))


def test_a_folder_is_judged_by_pictures_from_all_of_it_and_bad_ones_do_not_count(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number:03}.png" for number in range(2 * LOOKED_AT)]
    cv2.imwrite(str(paths[0]), line_drawing(rng))
    cv2.imwrite(str(paths[1]), thing_on_white(rng))
    content = [path.read_bytes() for path in paths[:2]]
    for number, path in enumerate(paths):  # a quarter strokes, at the end; a tenth damaged
        path.write_bytes(b"" if number % 10 == 9 else content[number < 1.5 * LOOKED_AT])
    assert share_of_strokes(paths) == pytest.approx(0.25, abs=0.03)
    paths[0].write_bytes(b"no picture")
    assert share_of_strokes(paths[:1]) is None
    assert share_of_strokes([]) is None
