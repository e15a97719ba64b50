"""What files of pictures are called, and what their first bytes say beside the size: transparency, depth, orientation.

OpenCV decodes all of them; what it gets wrong of a format is known here, and mended in images.py.
"""

import io
import struct

from PIL import Image as Pillow

from common.data.reading.image_size import PNG, is_tiff, tiff_tags

SUFFIXES = {
    *(
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jif",
        ".pjpeg",
        ".mpo",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
    ),
    *(
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".j2k",
        ".jpc",
        ".j2c",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pam",
        ".pfm",
    ),
    *(".hdr", ".pic", ".ras", ".sr"),
}
# Photographs that nothing here decodes: taken for pictures, so that they are counted and named with what to do.
FOREIGN = {
    *(
        ".heic",
        ".heif",
        ".hif",
        ".jxl",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".rw2",
        ".raf",
        ".pef",
    ),
    *(".srw", ".psd", ".exr", ".tga", ".qoi"),
}
NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, JPEG 2000, PNM, HDR and Sun raster"
TYPES = (  # of the same, in HTTP
    *(
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/bmp",
        "image/gif",
        "image/tiff",
        "image/avif",
        "image/jp2",
    ),
    *("image/x-portable-anymap", "image/vnd.radiance", "image/x-sun-raster"),
)
ORIENTATION = 0x0112  # the tag of EXIF and TIFF
_TURNED = (b"Exif", b"eXIf", b"EXIF", b"tiff:Orientation", b"XML:com.adobe.xmp")
_JPEG_HEAD = 2**18  # bytes: metadata stand before the pixels
_ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"  # of an AVIF's second item (MIAF, ISO/IEC 23000-22)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_CONVERT = "{} cannot be decoded here: convert it to JPEG or PNG, such as by ImageMagick's `magick mogrify -format jpg`"


def foreign(data: bytes, suffix: str = "") -> str | None:
    """What to do with a picture of a format that is not decoded; None where the format is known or nothing is.

    data: the picture, or its first bytes. suffix: of its name, lower case, with its dot.
    """
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC and b"av01" not in data[:4096]:
        return _CONVERT.format("HEIC")
    if data[:2] == b"\xff\x0a" or data[4:12] == b"JXL \r\n\x87\n":
        return _CONVERT.format("JPEG XL")
    return _CONVERT.format(suffix[1:].upper()) if suffix in FOREIGN else None


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def is_transparent(data: bytes) -> bool:
    """Whether a picture declares an alpha channel or a transparent colour."""
    if data.startswith(PNG):
        return data[25:26] in (b"\x04", b"\x06") or b"tRNS" in data[: data.find(b"IDAT")]
    if is_webp(data):
        alpha_bit = {b"VP8X": 20, b"VP8L": 24}.get(data[12:16])
        return alpha_bit is not None and len(data) > alpha_bit and bool(data[alpha_bit] & 0x10)
    if (
        data[:2] == b"BM" and len(data) > 70
    ):  # of 32 bits a mask says which are alpha, from the fourth header on
        header, bits, packing = *struct.unpack("<I", data[14:18]), *struct.unpack("<HI", data[28:34])
        return bits == 32 and packing in (3, 6) and header >= 56 and data[66:70] != b"\0\0\0\0"
    return data[:3] == b"GIF" or by_pillow(data)


def by_pillow(data: bytes) -> bool:
    """Whether it is a transparent TIFF, AVIF, JPEG 2000 or grey PNG, whose alpha OpenCV drops or mixes in."""
    if data.startswith(PNG):  # of grey, up to 8 bits, with a transparent tone
        return data[25:26] == b"\0" and data[24] <= 8 and is_transparent(data)
    if is_tiff(data):
        tags = tiff_tags(data)
        colours = {0: 1, 1: 1, 2: 3}.get(
            tags.get(262, (-1,))[0], 99
        )  # light or dark grey, RGB; others have no alpha
        return tags.get(277, (1,))[0] > colours and not _is_deep(tags)
    if data[4:12] == b"ftypavif" or data[4:12] == b"ftypavis":
        return _ALPHA in data[: 2**16]
    at = data.find(
        b"\xff\x4f\xff\x51", 0, 2**16
    )  # a codestream's size, behind which the components are counted
    is_jp2 = at == 0 or data[4:8] == b"jP  "
    return is_jp2 and at >= 0 and data[at + 40 : at + 42] in (b"\0\2", b"\0\4")


def is_deep(data: bytes) -> bool:
    """Whether its pixels are floats, or whole numbers of 32 bits."""
    if is_tiff(data):
        return _is_deep(tiff_tags(data))
    return data[:2] in (b"Pf", b"PF") or data[:2] == b"#?"


def _is_deep(tags: dict[int, tuple[int, ...]]) -> bool:
    logluv = tags.get(262) in ((32844,), (32845,))
    return max(tags.get(258, (1,))) > 16 or 3 in tags.get(339, ()) or logluv  # 3: floats


def orientation(data: bytes) -> int:
    """How a picture is to be turned, 1 to 8, by its EXIF, its XMP or, of AVIF, its own boxes; 1 where none says.

    The numbers are EXIF's. What cannot be read says nothing.
    """
    # Pillow would decode a PNG to look behind its pixels, where there is mostly nothing.
    where = data[:_JPEG_HEAD] if data[:2] == b"\xff\xd8" else data
    if not (is_tiff(data) or data[4:8] == b"ftyp" or any(name in where for name in _TURNED)):
        return 1
    try:
        with Pillow.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "TIFF", "AVIF")) as header:
            found = int(header.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata, of many kinds; the pixels have been decoded
        return 1
    return found if 1 <= found <= 8 else 1


def bytes_of_pixel(data: bytes) -> int:
    """Bytes that `decode` holds of each pixel before it is done.

    3; where there may be transparency 4, of 16 bits 8; by Pillow 12, with its copy; of floats 40.
    """
    if is_deep(data):
        return 40
    if not is_transparent(data):
        return 3
    if by_pillow(data):
        return 12
    return 8 if data.startswith(PNG) and data[24:25] == b"\x10" else 4
