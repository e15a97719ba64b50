"""From the bytes of an upload to the model's input: refused by its header, or prepared as training prepares it."""

from typing import Any

import cv2
import numpy as np

from common.data.reading.formats import NAMES, bytes_of_pixel, foreign, orientation
from common.data.reading.image_size import image_size, is_known
from common.data.reading.images import ImageError, decode, fit_to, needed
from common.serve.limits import Limits
from common.serve.refused import Refused

MOST = 2**30  # pixels that OpenCV decodes at all: `check` knows the service's own bound


def prepare(data: bytes, preprocessings: list[dict[str, Any]], limits: Limits) -> list[np.ndarray]:
    """The picture as each model wants it: uint8 (H, W, C) for each of `preprocessings`.

    It is read as training reads it, see `decode`.

    Raises Refused: 400 empty, 413 too many pixels, 415 of another format, 422 damaged, or of pixels without a scale.
    """
    check(data, limits)
    try:
        return [
            fit_to(decode(data, one["channels"], needed(one), max_pixels=MOST), one) for one in preprocessings
        ]
    except ImageError as error:
        raise Refused(422, f"the picture {error.reason}") from error
    except cv2.error as error:
        raise Refused(422, "the picture cannot be brought to the size that the model needs") from error


def check(data: bytes, limits: Limits) -> None:
    """Read the header alone, and refuse what it says. Raises Refused as `prepare` does."""
    if not data:
        raise Refused(400, "the picture is empty: there are no bytes in it")
    size = image_size(data)
    if (advice := foreign(data)) is not None:
        raise Refused(415, advice)
    if size is None and is_known(data):
        raise Refused(422, "the picture is damaged: its header cannot be read")
    if size is None:
        raise Refused(415, f"this is no picture of a known format: {NAMES}")
    height, width = size
    if width * height * bytes_of_pixel(data) > limits.megapixels * 3e6:
        reason = f"{_too_large(limits, bytes_of_pixel(data))}; this one has {width} × {height}"
        raise Refused(413, reason)


def shape(data: bytes) -> tuple[int, int]:
    """(height, width) of a picture that `check` has let pass, as it is to be seen."""
    size = image_size(data)
    assert size is not None
    return size[::-1] if orientation(data) >= 5 else size


def _too_large(limits: Limits, size: int = 3) -> str:
    """size: bytes of a pixel."""
    of = {3: "", 4: " with transparency", 8: " with transparency and 16 bits"}.get(size, " of this kind")
    return f"the picture has too many pixels: at most {limits.megapixels * 3 / size:g} million{of}"
