"""From the bytes of an upload to the model's input: refused by its header, or prepared as training prepares it."""

import io
import warnings
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from common.data.images import ImageError, bytes_of_pixel, decode, fit_to, needed, orientation
from common.deliver.serve.limits import Limits
from common.deliver.serve.refused import Refused

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif")  # of the same, in HTTP

warnings.filterwarnings(
    "ignore", module=r"PIL\."
)  # a client has no business with the log; `check` is stricter


def prepare(data: bytes, preprocessings: list[dict[str, Any]], limits: Limits) -> list[np.ndarray]:
    """The picture as each model wants it: uint8 (H, W, C) for each of `preprocessings`.

    Rotated pictures come upright, 16 bits become 8, CMYK becomes RGB and transparency white, as in training.

    Raises Refused: 400 empty, 413 too many pixels, 415 of another format or animated, 422 damaged.
    """
    check(data, limits)
    try:
        return [fit_to(decode(data, one["channels"], needed(one)), one) for one in preprocessings]
    except ImageError as error:
        raise Refused(422, f"the picture {error.reason}") from error
    except cv2.error as error:
        raise Refused(422, "the picture cannot be brought to the size that the model needs") from error


def check(data: bytes, limits: Limits) -> None:
    """Read the header alone, and refuse what it says. Raises Refused as `prepare` does."""
    if not data:
        raise Refused(400, "the picture is empty: there are no bytes in it")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            width, height = header.size
            animated = header.format != "MPO" and getattr(header, "is_animated", False)
    except UnidentifiedImageError as error:
        raise Refused(415, f"this is no picture of a known format: {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise Refused(413, _too_large(limits)) from error
    except Exception as error:  # ValueError, struct.error, …: each format's reader has its own
        raise Refused(422, "the picture is damaged: its header cannot be read") from error
    if width * height * bytes_of_pixel(data) > limits.megapixels * 3e6:
        reason = f"{_too_large(limits, bytes_of_pixel(data))}; this one has {width} × {height}"
        raise Refused(413, reason)
    if animated:
        raise Refused(415, "the picture is animated: send one frame of it")


def shape(data: bytes) -> tuple[int, int]:
    """(height, width) of a picture that `check` has let pass, as it is to be seen."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as header:
        width, height = header.size
    return (width, height) if orientation(data) >= 5 else (height, width)


def _too_large(limits: Limits, size: int = 3) -> str:
    """size: bytes of a pixel."""
    of = {3: "", 4: " with transparency", 8: " with transparency and 16 bits"}[size]
    return f"the picture has too many pixels: at most {limits.megapixels * 3 / size:g} million{of}"
