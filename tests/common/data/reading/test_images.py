"""The oracle is Pillow: another decoder, which reports cut-off files itself."""

import io
import pickle
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from common.data.reading.images import STRIP, ImageError, decode, fit, read
from common.errors import PodiumError


def scene(height: int = 48, width: int = 72, channels: int = 3) -> np.ndarray:
    """Smooth colours, so that lossy formats stay close."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (6, 9, channels), np.uint8), (width, height))
    return image.reshape(height, width, channels)


def encoded(image: np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image.squeeze()).save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))).convert(mode)).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "JPEG", "WEBP"])
@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_every_format_decodes_to_what_pillow_sees(kind, channels, mode):
    data = encoded(scene(), kind)
    image = decode(data, channels)
    assert (image.shape, image.dtype) == ((48, 72, channels), np.uint8)
    assert np.abs(image.squeeze() - by_pillow(data, mode)).max() <= (8 if kind in ("JPEG", "WEBP") else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation, kind):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), kind, exif=exif.tobytes())
    assert np.abs(decode(data, 3) - by_pillow(data)).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation_is_applied_to_transparent_pictures(orientation, kind, channels):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    opaque = np.dstack([scene(), np.full((48, 72), 255, np.uint8)])
    opaque[0, 0, 3] = 254  # else WebP leaves the channel out
    data = encoded(opaque, kind, exif=exif.tobytes(), lossless=True)
    expected = by_pillow(data, "RGB" if channels == 3 else "L")
    assert np.abs(decode(data, channels).squeeze() - expected).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_broken_metadata_leave_a_picture_as_it_is_stored(kind):
    image = np.dstack([scene(), np.full((48, 72), 200, np.uint8)])
    sound, broken = encoded(image, kind, lossless=True), encoded(image, kind, lossless=True, exif=b"Exif..")
    np.testing.assert_array_equal(decode(broken, 3), decode(sound, 3))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_show_white_paper(kind, channels):
    image = np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)])
    image[:4, :, 3] = 0
    shown = decode(encoded(image, kind, lossless=True), channels)
    assert (shown[:4] == 255).all() and (shown[4:] == 0).all()
    image[:, :, 3] = 128
    assert np.abs(decode(encoded(image, kind, lossless=True), channels).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_laid_on_white_alike_in_every_row(dtype):
    image = np.random.default_rng(0).integers(0, 256, (3 * STRIP + 5, 7, 4), np.uint8)
    alpha = image[:, :, 3:] / np.float32(255)
    expected = (image[:, :, 2::-1] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    data = cv2.imencode(".png", image.astype(dtype) << 8 * (dtype == np.uint16))[1].tobytes()
    np.testing.assert_array_equal(decode(data, 3), expected)
    np.testing.assert_array_equal(decode(data, 1)[:, :, 0], cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY))


def test_a_transparent_colour_of_a_palette_shows_white_paper():
    palette = Pillow.fromarray(np.zeros((8, 8), np.uint8), "P")
    palette.putpalette([0, 0, 0] * 256)
    for kind in ("PNG", "GIF"):
        buffer = io.BytesIO()
        palette.save(buffer, kind, transparency=0)
        assert (decode(buffer.getvalue(), 3) == 255).all()


def test_sixteen_bits_become_their_high_byte():
    deep = np.arange(0, 65536, 256 * 4, dtype=np.uint16).reshape(8, 8) + 77
    for suffix in (".png", ".tiff"):
        image = decode(cv2.imencode(suffix, deep)[1].tobytes(), 1)
        np.testing.assert_array_equal(image[:, :, 0], deep >> 8)
    opaque = np.dstack([deep, deep, deep, np.full_like(deep, 65535)])
    np.testing.assert_array_equal(decode(cv2.imencode(".png", opaque)[1].tobytes(), 1)[:, :, 0], deep >> 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_named(kind, kept, tmp_path):
    data = encoded(scene(), kind)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(ImageError, match="cut short") as caught:
        read(path, 3)
    assert caught.value.path == str(path)


def test_a_jpeg_without_its_last_bytes_is_cut_short_as_pillow_says():
    data = encoded(scene(), "JPEG")[:-2]
    with warnings.catch_warnings(), pytest.raises(OSError, match="truncated"):
        Pillow.open(io.BytesIO(data)).load()
    with pytest.raises(ImageError, match="cut short"):
        decode(data, 3)


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text.write_bytes(b"not a picture")
    for path, reason in [(tmp_path / "none.jpg", "No such file"), (empty, "empty"), (text, "not a picture")]:
        with pytest.raises(ImageError, match=reason) as caught:
            read(path, 1)
        assert str(path) in str(caught.value)


def test_an_image_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "cut short")))
    assert (error.path, error.reason, str(error)) == ("a.jpg", "cut short", "a.jpg: cut short")


def test_names_outside_ascii_are_read(tmp_path):
    path = tmp_path / "始意.png"
    path.write_bytes(encoded(scene(), "PNG"))
    np.testing.assert_array_equal(read(path, 3), scene())


def test_a_reduced_jpeg_is_large_enough_and_looks_like_the_whole_one():
    data = encoded(scene(480, 720), "JPEG", quality=95)
    for at_least in [(480, 720), (100, 200), (60, 60), (59, 90), (7, 7)]:
        reduced = decode(data, 3, at_least)
        assert reduced.shape[0] >= at_least[0] and reduced.shape[1] >= at_least[1]
        whole = fit(decode(data, 3), at_least)
        assert np.abs(fit(reduced, at_least).astype(int) - whole).mean() < 2
    assert decode(data, 3, (60, 60)).shape == (60, 90, 3)
    assert decode(data, 3, (61, 61)).shape == (120, 180, 3)


def test_a_reduced_jpeg_is_large_enough_when_it_is_turned():
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = encoded(scene(480, 720), "JPEG", exif=exif.tobytes())
    assert decode(data, 3, (200, 100)).shape == (360, 240, 3)


def test_stretch_by_area_is_the_mean_of_blocks():
    image = scene(48, 72)
    blocks = image.reshape(12, 4, 12, 6, 3).mean((1, 3))
    assert np.abs(fit(image, (12, 12)) - blocks).max() <= 0.5


def test_area_averages_the_side_that_shrinks_while_the_other_grows():
    stripes = np.tile(np.array([0, 255], np.uint8), 50).reshape(1, 100, 1).repeat(10, 0)
    assert np.abs(fit(stripes, (40, 10)).astype(int) - 127).max() <= 1


def test_pad_keeps_the_aspect_and_centres():
    image = np.full((20, 40, 3), 200, np.uint8)
    fitted = fit(image, (40, 40), "pad", pad_value=7)
    assert (fitted[10:30] == 200).all() and (fitted[:10] == 7).all() and (fitted[30:] == 7).all()


def test_crop_keeps_the_aspect_and_the_middle():
    ramp = np.arange(60, dtype=np.uint8).reshape(1, 60, 1).repeat(20, 0)
    np.testing.assert_array_equal(fit(ramp, (20, 20), "crop"), ramp[:, 20:40])


@pytest.mark.parametrize("mode", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 3), (300, 1, 1), (7, 5, 3)])
def test_any_shape_fits_any_size(mode, interpolation, shape):
    image = np.full(shape, 99, np.uint8)
    fitted = fit(image, (13, 8), mode, 99, interpolation)
    assert (fitted.shape, fitted.dtype) == ((13, 8, shape[2]), np.uint8)
    assert (fitted == 99).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 3),), "size must be"),
        (((3, 3), "strech"), "fit must be stretch, pad or crop, got 'strech'"),
        (((3, 3), "pad", 0, "cubic"), "interpolation must be one of area, bilinear, bicubic, got 'cubic'"),
    ],
)
def test_wrong_arguments_of_fit_are_named(arguments, message):
    with pytest.raises(PodiumError, match=message):
        fit(scene(), *arguments)
