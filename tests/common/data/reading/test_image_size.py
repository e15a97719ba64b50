"""Sizes by headers alone, and pictures that are too large."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from common.data.files.found import images_below
from common.data.reading.formats import bytes_of_pixel
from common.data.reading.image_size import image_size, is_known
from common.data.reading.images import ImageError, decode, read
from common.data.reading.raw import Raw
from common.data.reading.reader import predicted
from common.data.records import records

FORMATS = ["jpg", "png", "bmp", "webp", "tif", "gif", "ppm", "pam", "hdr", "pfm", "ras", "jp2", "avif"]


def encoded(ext: str, height: int = 37, width: int = 53) -> bytes:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(f".{ext}", image.astype(np.float32) / 255 if ext in ("hdr", "pfm") else image)[
        1
    ].tobytes()


@pytest.mark.parametrize("ext", FORMATS)
def test_the_header_tells_what_opencv_decodes(ext):
    data = encoded(ext)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image_size(data) == decoded.shape[:2] == (37, 53)
    assert decode(data, 3, max_pixels=37 * 53).shape == (37, 53, 3)
    with pytest.raises(ImageError, match="53 × 37 pixels are more than max_pixels=1960"):
        decode(data, 3, max_pixels=37 * 53 - 1)


def test_other_kinds_of_webp_and_a_jpeg_with_rubbish_between_its_parts():
    image = np.zeros((5, 9, 4), np.uint8)
    lossless = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    assert image_size(lossless) == (5, 9)
    jpeg = encoded("jpg")
    at = 4 + int.from_bytes(jpeg[4:6])
    assert image_size(jpeg[:at] + b"rubbish" + jpeg[at:]) == (37, 53)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF8",
        b"\xff\xd8\xff",
        b"II*\0\xff\xff\xff\xff",
        b"II+\0" + b"\xff" * 12,
        b"P6 a b",
        b"no picture",
        b"BMW is a maker of cars, and others",
        b"P2 is a name of roads",
        b"\0\0\0\x18ftypisom\0\0\2\0isomiso2mp41",  # a film
    ],
)
def test_what_has_no_size_has_none(data):
    assert image_size(data) is None
    assert is_known(data) == (data[:4] in (b"GIF8", b"\xff\xd8\xff", b"II*\0", b"II+\0"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_tags_of_any_type_are_damage_and_no_traceback(mode):
    """Every field of every tag of a TIFF, with values that no writer puts there."""
    buffer = io.BytesIO()
    Image.new(mode, (7, 5), "red").save(buffer, "TIFF")
    data = buffer.getvalue()
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    refused = 0
    for tag in range(at + 2, at + 2 + 12 * count, 12):
        for field, values in ((2, range(18)), (4, (0, 2, 2**32 - 1)), (8, (0, 3, 2**32 - 1))):
            size = 2 if field == 2 else 4
            for value in values:
                changed = data[: tag + field] + value.to_bytes(size, "little") + data[tag + field + size :]
                try:
                    assert decode(changed, 3, max_pixels=10**6).dtype == np.uint8
                    bytes_of_pixel(changed)
                except ImageError:
                    refused += 1
    assert refused > 20


def test_a_picture_of_400_million_pixels_is_refused_before_it_is_decoded(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = zlib.compressobj(1)
    rows = row.compress(bytes(2501 * 20_000)) + row.flush()  # of one bit a pixel
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    for channels in (1, 3):
        with pytest.raises(ImageError, match="20000 × 20000 pixels are more than max_pixels=180000000"):
            read(path, channels, at_least=(32, 32))
    with pytest.raises(ImageError, match="max_pixels"):
        read(str(Raw(str(path), 0, 20_000, 20_000)), 1)


def test_the_bound_is_the_preprocessings_own_unless_another_is_given(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("png"))
    one = {"size": [8, 8], "channels": 1, "fit": "stretch", "pad_value": 0, "interpolation": "area"}

    def count(preprocessing, most=None):
        bad = []
        rows = predicted([path], [preprocessing], lambda images: np.ones((len(images[0]), 2)), 4, bad, most)
        return len(list(rows)), len(bad)

    assert count(one) == (1, 0) and count({**one, "max_pixels": 100}) == (0, 1)
    assert count({**one, "max_pixels": 100}, 2000) == (1, 0) and count(one, 100) == (0, 1)


def test_a_file_that_is_named_like_raw_pixels_is_read_as_what_it_is(tmp_path):
    path = tmp_path / "a.png#3,4x5"
    path.write_bytes(encoded("png"))
    (tmp_path / "a.png").write_bytes(bytes(100))
    assert read(path, 3).shape == (37, 53, 3)
    path.unlink()
    assert read(path, 3).shape == (4, 5, 3)


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff\n.png"])
def test_a_name_that_is_not_utf8_is_a_bad_picture(tmp_path, name):
    path = tmp_path / name.decode("utf-8", "surrogateescape")
    path.write_bytes(encoded("png"))
    (found,) = images_below(tmp_path)
    table = records(tmp_path, [path], [0])
    for given in (found, table["path"][0]):
        with pytest.raises(ImageError, match="its name is not UTF-8") as error:
            read(given, 1)
        assert "\\x" in str(error.value) and str(error.value).encode()
    assert "\\x" in table["id"][0] and table["id"][0].encode()
