"""Pictures as clients send them, and a model that says which colour one is."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.serve.served import Model, Source

COLOURS = {"红": (255, 0, 0), "绿": (0, 255, 0), "蓝": (0, 0, 255)}
PREPROCESSING = {"size": [8, 8], "channels": 3, "fit": "pad", "pad_value": 0, "interpolation": "area"}


def picture(name: str = "红", size: tuple[int, int] = (24, 16), form: str = "PNG", **options: Any) -> bytes:
    """A picture of one colour; size: width, height."""
    return encoded(Image.new("RGB", size, COLOURS[name]), form, **options)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """One of a PNG's."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that declares a size, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
COLOURFUL = Image.fromarray(PIXELS).resize((90, 60), Image.Resampling.BICUBIC)
SAMPLES = [encoded(COLOURFUL, form) for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF")]


def by_colour(images: list[np.ndarray]) -> np.ndarray:
    """float (N, 3): the share of each colour; black has all in equal parts."""
    amounts = images[0].mean(axis=(1, 2)) + 1e-3
    return (amounts / amounts.sum(axis=1, keepdims=True)).astype(np.float32)


def source(
    probabilities: Callable[[list[np.ndarray]], np.ndarray] = by_colour, service: dict[str, Any] | None = None
) -> Source:
    """A source of a model of three colours."""
    return Source(
        path=Path("toy"),
        competition="toy",
        run="run",
        sample=True,
        service=service,
        load=lambda: Model(list(COLOURS), [PREPROCESSING], probabilities, "by colour"),
    )
