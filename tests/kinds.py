"""One picture in every kind of file: suffixes, depths of colour, transparency, orientations, frames.

Each kind comes with what it shows: uint8 (32, 48, 3), or upright (48, 32, 3), within a tolerance for lossy formats.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

HEIGHT, WIDTH = 32, 48
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@dataclass(frozen=True)
class Kind:
    """name: of a file, with its suffix. off: mean difference to `shows` that its compression may make."""

    name: str
    data: bytes
    shows: np.ndarray
    off: float = 0.0


def scene(seed: int = 0) -> np.ndarray:
    """Smooth colours, uint8 (32, 48, 3), so that lossy formats stay close."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def kinds(seed: int = 0) -> list[Kind]:
    """All of them, of one scene."""
    rgb = scene(seed)
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, WIDTH // 2 :] = 255
    rgba = np.dstack([rgb, alpha])
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    three = np.repeat(grey[:, :, None], 3, axis=2)
    white = np.where(alpha[:, :, None] > 0, rgb, 255).astype(np.uint8)
    white_grey = np.where(alpha[:, :, None] > 0, three, 255).astype(np.uint8)
    tone_away = np.where((grey == grey[0, 0])[:, :, None], 255, three).astype(np.uint8)
    upright = np.rot90(rgb, -1)
    few = Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    few_shown = np.asarray(few.convert("RGB"))
    unit, sixteen = rgb[:, :, ::-1] / np.float32(255), rgb[:, :, ::-1].astype(np.uint16) * 257
    turned = {"exif": _exif(6)}
    moving = {"save_all": True, "append_images": [Image.fromarray(rgb[:, ::-1])]}
    lossless = {"lossless": True, "exact": True}
    found = [Kind(f"{suffix[1:]}{suffix}", _pillow(rgb, "JPEG", quality=95), rgb, 3)
             for suffix in (".jpg", ".jpeg", ".jpe", ".jfif", ".JPG")]  # fmt: skip
    found += [
        Kind("no_suffix", _pillow(rgb, "JPEG", quality=95), rgb, 3),
        Kind("a_png_by_another_name.jpg", _pillow(rgb, "PNG"), rgb),
        Kind("grey.jpg", _pillow(grey, "JPEG", quality=95), three, 3),
        Kind("cmyk.jpg", _pillow(rgb, "JPEG", "CMYK", quality=95), rgb, 3),
        Kind("progressive.jpg", _pillow(rgb, "JPEG", progressive=True, quality=95), rgb, 3),
        Kind("preview.mpo", _pillow(rgb, "MPO", quality=95, **moving), rgb, 3),
        Kind("plain.png", _pillow(rgb, "PNG"), rgb),
        Kind("palette.png", _pillow(few, "PNG"), few_shown),
        Kind("alpha.png", _pillow(rgba, "PNG"), white),
        Kind("grey_alpha.png", _pillow(rgba, "PNG", "LA"), white_grey, 1),
        Kind("grey_tone_away.png", _pillow(grey, "PNG", transparency=int(grey[0, 0])), tone_away),
        Kind("sixteen.png", _opencv(sixteen, ".png"), rgb),
        Kind("moving.png", _pillow(rgb, "PNG", **moving), rgb),
        Kind("plain.bmp", _pillow(rgb, "BMP"), rgb),
        Kind("plain.dib", _pillow(rgb, "BMP"), rgb),
        Kind("alpha.bmp", _bmp(rgba), white),
        Kind("empty_alpha.bmp", _bmp(np.dstack([rgb, 0 * alpha])), rgb),
        Kind("plain.gif", _pillow(few, "GIF"), few_shown),
        Kind("moving.gif", _pillow(few, "GIF", **moving), few_shown, 1),
        Kind("plain.webp", _pillow(rgb, "WEBP", **lossless), rgb),
        Kind("alpha.webp", _pillow(rgba, "WEBP", **lossless), white),
        Kind("moving.webp", _pillow(rgb, "WEBP", **lossless, **moving), rgb),
        Kind("plain.tif", _pillow(rgb, "TIFF"), rgb),
        Kind("lzw.tiff", _pillow(rgb, "TIFF", compression="tiff_lzw"), rgb),
        Kind("alpha.tif", _pillow(rgba, "TIFF"), white),
        Kind("grey_alpha.tif", _pillow(rgba, "TIFF", "LA"), white_grey, 1),
        Kind("cmyk.tif", _pillow(rgb, "TIFF", "CMYK"), rgb, 1),
        Kind("sixteen.tif", _opencv(sixteen, ".tiff"), rgb),
        Kind("sixteen_alpha.tif", _opencv(np.dstack([sixteen, alpha.astype(np.uint16) * 257]), ".tiff"), white),
        Kind("float.tif", _pillow(grey / np.float32(255), "TIFF"), three),
        Kind("double.tif", _opencv(unit.astype(np.float64), ".tiff"), rgb),
        Kind("pages.tif", cv2.imencodemulti(".tiff", [rgb[:, :, ::-1], rgb[::-1]])[1].tobytes(), rgb),
        Kind("plain.avif", _pillow(rgb, "AVIF", quality=100), rgb, 3),
        Kind("alpha.avif", _pillow(rgba, "AVIF", quality=100), white, 3),
        Kind("moving.avif", _pillow(rgb, "AVIF", quality=100, **moving), rgb, 4),
        Kind("plain.jp2", _pillow(rgb, "JPEG2000"), rgb, 1),
        Kind("alpha.jp2", _pillow(rgba, "JPEG2000"), white, 1),
        Kind("bare.j2k", _pillow(rgb, "JPEG2000", no_jp2=True), rgb, 1),
        *(Kind(f"plain.{suffix}", _opencv(rgb[:, :, ::-1], f".{suffix}"), rgb)
          for suffix in ("ppm", "pnm", "pam", "ras", "sr")),
        Kind("grey.pgm", _opencv(grey, ".pgm"), three),
        Kind("sixteen.ppm", _opencv(sixteen, ".ppm"), rgb),
        Kind("float.pfm", _opencv(unit, ".pfm"), rgb),
        Kind("light.hdr", _opencv(unit, ".hdr"), rgb, 1),
        Kind("turned.jpg", _pillow(rgb, "JPEG", quality=95, **turned), upright, 3),
        Kind("turned.png", _pillow(rgb, "PNG", **turned), upright),
        Kind("turned.webp", _pillow(rgb, "WEBP", **lossless, **turned), upright),
        Kind("turned.avif", _pillow(rgb, "AVIF", quality=100, **turned), upright, 3),
        Kind("turned.tif", _pillow(rgb, "TIFF", tiffinfo=_tags({274: 6})), upright),
        Kind("turned_alpha.tif", _pillow(rgba, "TIFF", tiffinfo=_tags({274: 6})), np.rot90(white, -1)),
        Kind("turned_by_xmp.jpg", _pillow(rgb, "JPEG", quality=95, xmp=XMP), upright, 3),
        Kind("turned_by_xmp.png", _pillow(rgb, "PNG", pnginfo=_text(XMP)), upright),
        Kind("turned_by_xmp.webp", _pillow(rgb, "WEBP", **lossless, xmp=XMP), upright),
        Kind("turned_by_xmp.tif", _pillow(rgb, "TIFF", tiffinfo=_tags({700: XMP})), upright),
    ]  # fmt: skip
    return found


def unreadable() -> dict[str, bytes]:
    """Name of a file → its bytes: pictures that are refused, as what they show is not known."""
    grey = np.asarray(Image.fromarray(scene()).convert("L"))
    return {
        "whole_numbers.tif": _pillow(grey.astype(np.int32) * 1000, "TIFF"),
        "floats_to_255.tif": _pillow(grey.astype(np.float32), "TIFF"),
        "nan.tif": _pillow(np.full_like(grey, np.nan, np.float32), "TIFF"),
        "bright.hdr": _opencv(np.full((8, 8, 3), 20, np.float32), ".hdr"),
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        "new.jxl": b"\xff\x0a" + bytes(40),
        "raw.cr2": bytes(40),
    }


def write_kinds(folder: Path, seed: int = 0) -> list[Kind]:
    """Write each to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = kinds(seed)
    for kind in found:
        (folder / kind.name).write_bytes(kind.data)
    return found


def _pillow(image: np.ndarray | Image.Image, form: str, mode: str | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    (picture if mode is None else picture.convert(mode)).save(buffer, form, **options)
    return buffer.getvalue()


def _opencv(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(image))[1].tobytes()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _tags(values: dict) -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in values.items():
        tags[tag] = value
        if tag == 700:
            tags.tagtype[tag] = 1
    return tags


def _text(xmp: bytes) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def _bmp(rgba: np.ndarray) -> bytes:
    """32 bits with a mask of alpha, as the fifth header (BITMAPV5HEADER) has it, which Pillow does not write."""
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs"
    header = header.ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + 124 + len(pixels), 0, 0, 14 + 124) + header + pixels
