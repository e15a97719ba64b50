"""What clients send as pictures: prepared as training prepares a file, or refused by its header."""

import io
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.data.reading.images import fit_to, needed, read
from common.serve.limits import Limits
from common.serve.pictures import check, prepare
from common.serve.refused import Refused
from tests.common.serve.painted import COLOURFUL, PREPROCESSING, SAMPLES, encoded, picture, png_of

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
LIMITS = Limits()


def prepared(data: bytes) -> np.ndarray:
    (image,) = prepare(data, [PREPROCESSING | {"size": [40, 40]}], LIMITS)
    return image


def status_of(data: bytes, limits: Limits = LIMITS) -> int:
    with pytest.raises(Refused) as refused:
        prepare(data, [PREPROCESSING], limits)
    return refused.value.status


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM"])
def test_every_format_is_prepared_as_training_prepares_the_file(form, tmp_path):
    data = encoded(COLOURFUL, form)
    (tmp_path / "picture").write_bytes(data)
    how = PREPROCESSING | {"size": [40, 40]}
    expected = fit_to(read(tmp_path / "picture", 3, needed(how)), how)
    np.testing.assert_array_equal(prepared(data), expected)


def test_a_large_photograph_is_decoded_as_small_as_training_decodes_it(tmp_path):
    data = encoded(COLOURFUL.resize((1500, 1000), Image.Resampling.BICUBIC), "JPEG")
    (tmp_path / "photograph").write_bytes(data)
    how = PREPROCESSING | {"size": [40, 40]}
    expected = fit_to(read(tmp_path / "photograph", 3, needed(how)), how)
    np.testing.assert_array_equal(prepared(data), expected)
    assert not np.array_equal(prepared(data), fit_to(read(tmp_path / "photograph", 3), how))


def test_a_rotated_photograph_comes_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    turned = encoded(COLOURFUL.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    upright = encoded(COLOURFUL, "JPEG", quality=95)
    assert np.abs(prepared(turned).astype(int) - prepared(upright)).mean() < 4


def test_cmyk_is_seen_in_its_colours():
    cmyk = encoded(COLOURFUL.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(prepared(cmyk).astype(int) - prepared(encoded(COLOURFUL))).mean() < 8


def test_sixteen_bits_are_seen_as_eight():
    eight = np.asarray(COLOURFUL)
    sixteen = cv2.imencode(".png", cv2.cvtColor(eight, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)[
        1
    ].tobytes()
    np.testing.assert_array_equal(prepared(sixteen), prepared(encoded(COLOURFUL)))


def test_transparency_is_white():
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert (prepared(encoded(clear)) == 255).all()


@pytest.mark.parametrize(("dtype", "size"), [(np.uint8, 4), (np.uint16, 8)])
def test_a_large_transparent_picture_takes_little_more_memory_than_its_pixels(dtype, size):
    data = cv2.imencode(".png", np.full((1500, 2000, 4), 99, dtype))[1].tobytes()
    tracemalloc.start()
    prepared(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 1500 * (size + 5)  # its bytes, three on white, and a strip


@pytest.mark.parametrize(
    ("mode", "dtype", "most"), [(3, np.uint8, 30_000), (4, np.uint8, 22_500), (4, np.uint16, 11_250)]
)
def test_pixels_of_more_bytes_may_be_fewer(mode, dtype, most):
    limits = Limits(megapixels=0.03)
    for pixels in (most, most + 2):
        data = cv2.imencode(".png", np.zeros((2, pixels // 2, mode), dtype))[1].tobytes()
        if pixels == most:
            check(data, limits)
    with pytest.raises(Refused, match=f"at most {most / 1e6:g} million") as refused:
        check(data, limits)
    assert refused.value.status == 413


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts_as_in_training(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    moving = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    np.testing.assert_array_equal(prepared(moving), prepared(encoded(frames[0])))


def test_a_photograph_with_a_preview_behind_it_is_no_animation():
    preview = Image.new("RGB", (8, 8), "red")
    data = encoded(COLOURFUL, "MPO", save_all=True, append_images=[preview])
    assert prepared(data).shape == (40, 40, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_what_is_cut_short_is_refused(form):
    data = encoded(COLOURFUL, form)
    for share in (0.3, 0.6, 0.9):
        assert status_of(data[: int(share * len(data))]) in (415, 422)


@pytest.mark.parametrize("data", [b"%PDF-1.7 text", b"\x00" * 100, b"<svg/>", b"PK\x03\x04"])
def test_what_is_no_picture_is_refused(data):
    assert status_of(data) == 415


def test_a_header_that_says_no_size_is_damaged():
    assert status_of(b"MM\x00*" + b"\x00" * 20) == 422


def test_nothing_is_refused():
    assert status_of(b"") == 400


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (10_001, 10_000)])
def test_decompression_bombs_are_refused_by_their_header(size, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)  # decoding would be too late
    assert status_of(png_of(*size)) == 413


def test_a_bomb_of_few_bytes_and_many_pixels():
    data = png_of(8000, 8000, b"\x00" * 8001 * 8000)
    assert len(data) < 100_000 and status_of(data) == 413
    assert status_of(picture(size=(200, 100)), Limits(megapixels=0.01)) == 413


def test_a_long_thin_picture_is_answered_or_refused():
    for size in ((1, 5000), (5000, 1), (1, 1)):
        assert prepared(picture(size=size)).shape == (40, 40, 3)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_prepared_and_nothing_else(data):
    changed = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, min(len(changed) - 1, 200)))] = data.draw(st.integers(0, 255))
    try:
        assert prepare(bytes(changed), [PREPROCESSING], LIMITS)[0].shape == (8, 8, 3)
    except Refused as refused:
        assert 400 <= refused.status < 500 and "\n" not in refused.reason


def test_the_header_is_all_that_check_reads():
    header = io.BytesIO(SAMPLES[0]).read(700)
    check(header, LIMITS)
