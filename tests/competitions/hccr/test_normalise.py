"""The original's grey map against loops, and levelled characters whatever paper, light and size they come with."""

import math

import cv2
import numpy as np
import pytest

from common.data.reading.images import fit_to
from common.errors import PodiumError
from common.sample.brush import Hand, Manner, draw
from common.sample.glyphs import characters, strokes
from competitions.hccr import normalise
from competitions.hccr.normalise import Levelled, Original, Plain, is_light_on_dark, is_on_white
from tests.competitions.hccr import naive_levelled

RECIPE = {"size": [64, 64], "channels": 1, "fit": "pad", "pad_value": 0, "interpolation": "area"} | {
    "picture": {"_target_": "competitions.hccr.normalise.Levelled", "margin": 0.06}
}


def naive_original(image):
    """gnt2gnt.cpp, pixel by pixel, but for the blur."""
    height, width = image.shape
    ink = np.zeros_like(image)
    total, count = 0, 0
    for y in range(height):
        for x in range(width):
            ink[y, x] = 255 - image[y, x]
            if ink[y, x] > 0:
                total, count = total + int(ink[y, x]), count + 1
    m = total / (count + 0.1)
    if m >= 110:
        return ink
    squares = 0.0
    for value in ink.reshape(-1).tolist():
        if value > 0:
            squares += (value - m) ** 2
    s = math.sqrt(squares / (count + 0.1))
    if m == 0 or s == 0:
        return ink
    ink = cv2.GaussianBlur(ink, (3, 3), 0)
    p = math.log(185 / 225) / math.log(m / (m + 2 * s))
    a = 185 / m**p
    for y in range(height):
        for x in range(width):
            if ink[y, x] > 0:
                ink[y, x] = int(min(255, a * int(ink[y, x]) ** p))
    return ink


def hand_made():
    rng = np.random.default_rng(0)
    faint, dark, grainy = (np.full((30, 24), 255, np.uint8) for _ in range(3))
    faint[5:9, 3:20], faint[2:28, 10:13] = 200, 150
    dark[5:9, 3:20], dark[2:28, 10:13] = 30, 90
    grainy[8:20, 5:15] = rng.integers(120, 255, (12, 10))
    gradient = np.linspace(255, 120, 30 * 24).reshape(30, 24).astype(np.uint8)
    return {"faint": faint, "dark": dark, "grainy": grainy, "gradient": gradient}


@pytest.mark.parametrize("name", hand_made())
def test_the_grey_map_is_the_originals(name):
    image = hand_made()[name]
    np.testing.assert_array_equal(Original()(image[:, :, None])[:, :, 0], naive_original(image))


def test_the_grey_map_brings_faint_ink_to_185():
    image = hand_made()["grainy"]
    before, after = 255 - image, Original()(image[:, :, None])[:, :, 0]
    assert before[before > 0].mean() < 110 and 150 < after[9:19, 6:14].mean() < 210


@pytest.mark.parametrize(("grey", "side"), [(255, 9), (0, 9), (200, 400)])
def test_what_would_divide_by_zero_is_left_out(grey, side):
    """A blank picture; so many pixels of a single grey that the power is too large for a float."""
    image = np.full((side, side, 1), grey, np.uint8)
    with np.errstate(all="raise"):
        assert (Original()(image) == 255 - image).all()


def test_the_plain_variant_inverts():
    image = hand_made()["gradient"][:, :, None]
    np.testing.assert_array_equal(Plain()(image), 255 - image)


HAND = Hand(width=0.06, slant=0.05, rise=0.04, tremor=0.01, speed=0.0, tip=0.8)
PEN = Manner(contrast=0.2, rounding=1, joined=0.0, height=1.0, tails=0.0)


def ink_of(character, side=96, seed=0):
    return draw(strokes(character), HAND, PEN, side, np.random.default_rng(seed))


def seen(image):
    return fit_to(image[:, :, None], RECIPE)[:, :, 0].astype(float) / 255


def alike(one, other):
    """Correlation of two pictures."""
    return float(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1])


def scanned(ink):
    rows, columns = np.flatnonzero(ink.max(1) > 0.1), np.flatnonzero(ink.max(0) > 0.1)
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.where(ink > 0.04, 255 - 200 * ink, 255).astype(np.uint8)


def photographed(ink, rng, size=(240, 300), white_on_black=False):
    """On a larger sheet, with a gradient, a vignette, a soft shadow, noise and JPEG."""
    height, width = size
    page = np.zeros(size, np.float32)
    side = int(rng.uniform(0.35, 0.75) * min(size))
    y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    page[y : y + side, x : x + side] = cv2.resize(ink, (side, side), interpolation=cv2.INTER_AREA)
    page = 1 - page if white_on_black else page
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    turn = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.35 * (np.cos(turn) * across + np.sin(turn) * down) - 0.15 * (across**2 + down**2)
    light *= 1 - 0.25 / (1 + np.exp(-8 * (across + down - rng.uniform(-1, 1))))
    photo = (0.9 - 0.75 * page) * light * rng.uniform(120, 200) + rng.normal(0, 3, size)
    encoded = cv2.imencode(".jpg", np.clip(photo, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


SOME = characters()[::9]


@pytest.mark.parametrize("white_on_black", [False, True])
def test_a_photograph_looks_like_a_scan(white_on_black):
    rng = np.random.default_rng(0)
    found = []
    for character in SOME:
        ink = ink_of(character)
        photo = photographed(ink, rng, white_on_black=white_on_black)
        found.append(alike(seen(photo), seen(scanned(ink))))
    assert np.median(found) > 0.95 and np.mean(np.array(found) > 0.85) > 0.93, sorted(found)[:8]


def is_light(grey):
    return is_light_on_dark(grey, normalise._evened(grey)[1])


def test_polarity_is_seen_in_scans_of_all_characters():
    wrong = [
        name
        for name in characters()[::4]
        if is_light(scanned(ink_of(name))) or not is_light(255 - scanned(ink_of(name)))
    ]
    assert not wrong


def pictures_of_all_kinds():
    rng = np.random.default_rng(0)
    for number, character in enumerate(SOME):
        ink = ink_of(character)
        yield scanned(ink)
        yield 255 - scanned(ink)
        yield photographed(ink, rng, white_on_black=bool(number % 2))
        yield rng.integers(0, 256, rng.integers(1, 60, 2), np.uint8)


def test_it_does_what_its_steps_say(monkeypatch):
    """Against numpy, picture by picture, whatever they are: where ink is faint, one grey becomes several."""
    monkeypatch.setattr(normalise, "is_on_white", lambda grey: False)
    for picture in pictures_of_all_kinds():
        found, expected = Levelled()(picture[:, :, None])[:, :, 0], naive_levelled.levelled(picture)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 10


def test_on_even_white_the_short_way_leads_to_the_same(monkeypatch):
    every = [scanned(ink_of(character)) for character in characters()[::4]]
    scans = [scan for scan in every if is_on_white(scan)]
    assert len(scans) > 0.9 * len(every)  # the others are little but ink, such as 一
    short = [Levelled()(scan[:, :, None])[:, :, 0] for scan in scans]
    seen_short = [seen(scan) for scan in scans]
    monkeypatch.setattr(normalise, "is_on_white", lambda grey: False)
    near = [alike(one, seen(scan)) for one, scan in zip(seen_short, scans, strict=True)]
    assert np.median(near) > 0.99 and min(near) > 0.9
    monkeypatch.setattr(naive_levelled, "paper_of", lambda grey: np.full_like(grey, 255))
    for found, scan in zip(short, scans, strict=True):
        assert np.abs(found - naive_levelled.levelled(scan)).max() < 4


def test_what_is_not_on_even_white_goes_the_long_way():
    rng = np.random.default_rng(0)
    for character in SOME:
        ink = ink_of(character)
        assert not is_on_white(255 - scanned(ink))
        assert not is_on_white(photographed(ink, rng))
    scan = scanned(ink_of("林"))
    assert not is_on_white(
        cv2.resize(scan, (300, 300), interpolation=cv2.INTER_NEAREST)
    )  # rather a photograph
    shadow = np.full((90, 90), 255, np.uint8)
    shadow[:30, :30] = 200
    assert not is_on_white(shadow)


@pytest.mark.parametrize("scale", [0.4, 2.0, 7.0])
def test_size_hardly_matters(scale):
    for character in SOME[1:6]:
        scan = scanned(ink_of(character))
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        other = cv2.resize(scan, None, fx=scale, fy=scale, interpolation=kind)
        assert alike(seen(scan), seen(other)) > (0.9 if scale > 1 else 0.8)


def test_the_aspect_is_kept_and_the_ink_fills_the_picture():
    flat = seen(scanned(ink_of("一")))
    rows, columns = np.flatnonzero(flat.max(1) > 0.3), np.flatnonzero(flat.max(0) > 0.3)
    assert columns[-1] - columns[0] > 50 and rows[-1] - rows[0] < 16
    assert abs(rows.mean() - 31.5) < 3


def test_strength_of_the_ink_does_not_matter():
    ink = ink_of("林")
    faint, strong = (np.where(ink > 0.04, 255 - weight * ink, 255).astype(np.uint8) for weight in (60, 250))
    assert abs(seen(faint).mean() - seen(strong).mean()) < 0.02 and alike(seen(faint), seen(strong)) > 0.97


def test_specks_far_from_the_ink_do_not_shrink_it():
    page = np.full((120, 120), 250, np.uint8)
    page[30:90, 30:90] = 250 - 200 * cv2.resize(ink_of("林"), (60, 60), interpolation=cv2.INTER_AREA)
    dirty = page.copy()
    dirty[3, 3] = dirty[115, 100] = 60
    assert alike(seen(page), seen(dirty)) > 0.999


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (64, 64), (3, 500)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_without_ink_comes_out_black(shape, grey):
    assert seen(np.full(shape, grey, np.uint8)).max() == 0


def test_noise_alone_is_no_ink():
    noise = np.random.default_rng(0).normal(200, 2, (80, 80)).clip(0, 255).astype(np.uint8)
    assert Levelled()(noise[:, :, None]).max() == 0


def test_a_margin_that_cannot_be_is_named():
    with pytest.raises(PodiumError, match=r"data.picture.margin must be in \[0, 1\], got 2"):
        Levelled(margin=2)
