"""How large a picture is, by its header alone: known before anything of its size is held."""

import re
import struct
import warnings
from contextlib import suppress
from io import BytesIO

from PIL import TiffImagePlugin

warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # what it says of damaged files, we say

PNG = b"\x89PNG\r\n\x1a\n"
HEAD = 2**20  # bytes of a file among which its size stands, as good as always


def image_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) as stored, of each format that OpenCV decodes; None where the header does not say.

    data: the picture, or its first bytes.
    """
    with suppress(IndexError, struct.error, SyntaxError, KeyError, TypeError, ValueError):
        return next((size(data) for magic, size in _FORMATS if re.match(magic, data, re.DOTALL)), None)
    return None


def is_known(data: bytes) -> bool:
    """Whether it begins as one of these formats does."""
    return any(re.match(magic, data, re.DOTALL) for magic, _ in _FORMATS)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) from the frame header; None if `data` are no JPEG."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 9 <= len(data):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame, not a table
            return struct.unpack(">HH", data[at + 5 : at + 9])
        fill = marker == 0xFF
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _bmp(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<HH", data[18:22]) if data[14] == 12 else struct.unpack("<ii", data[18:26])
    return abs(height), abs(width)


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<HH", data[6:10])
    return height, width


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return height & 0x3FFF, width & 0x3FFF


def is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The tags of a TIFF's first picture that are whole numbers, by their own. Raises ValueError of a damaged one."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])
        stream = BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        tags = {tag: value if isinstance(value, tuple) else (value,) for tag, value in directory.items()}
    except Exception as error:  # what stands there may be of any type, and anywhere
        raise ValueError("the tags cannot be read") from error
    return {
        tag: values for tag, values in tags.items() if values and all(isinstance(one, int) for one in values)
    }


def _tiff(data: bytes) -> tuple[int, int]:
    tags = tiff_tags(data)
    return tags[TiffImagePlugin.IMAGELENGTH][0], tags[TiffImagePlugin.IMAGEWIDTH][0]


def _pnm(data: bytes) -> tuple[int, int]:
    _, width, height = re.sub(rb"#[^\n]*\n", b" ", data[:4096]).split()[:3]
    return int(height), int(width)


def _pam(data: bytes) -> tuple[int, int]:
    height, width = (re.search(rb"\n%s\s+(\d+)" % name, data[:4096]) for name in (b"HEIGHT", b"WIDTH"))
    return int(height[1]), int(width[1])  # type: ignore[index]


def _hdr(data: bytes) -> tuple[int, int]:
    found = re.search(rb"\n[+-][YX]\s+(\d+)\s+[+-][XY]\s+(\d+)", data[:65536])
    return int(found[1]), int(found[2])  # type: ignore[index]


def _sun(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", data[4:12])
    return height, width


def _jp2(data: bytes) -> tuple[int, int]:
    at = (
        data.index(b"\xff\x4f\xff\x51") + 8
    )  # of the codestream, which counts for more than the box around it
    right, bottom, left, top = struct.unpack(">IIII", data[at : at + 16])
    return bottom - top, right - left


def _avif(data: bytes) -> tuple[int, int]:
    """The largest of its items: a grid's tiles, and previews, have sizes of their own."""
    sizes = [struct.unpack(">II", size) for size in re.findall(rb"ispe.{4}(.{8})", data[:HEAD], re.DOTALL)]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


_FORMATS = (
    (rb"\xff\xd8", jpeg_size),
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"RIFF.{4}WEBP", _webp),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", _bmp),  # and not the words of a text
    (rb"GIF8", _gif),
    (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"P[1-6fF]\s+(#[^\n]*\n\s*)*\d", _pnm),
    (rb"P7\s", _pam),
    (rb"#\?(RADIANCE|RGBE)", _hdr),
    (rb"\x59\xa6\x6a\x95", _sun),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jp2),
    (rb".{4}ftyp(avif|avis|mif1|msf1|miaf)", _avif),
)
