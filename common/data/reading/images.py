"""Reading a picture and fitting it to the model's size: the one torch-free preprocessing.

Training, `pack`, predict, the checks of export and serve all call `read` or `decode`, then `fit`.
"""

import io
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from common.build import build
from common.data.reading.formats import ORIENTATION, by_pillow, foreign, is_deep, is_transparent, orientation
from common.data.reading.image_size import HEAD, image_size, is_tiff, jpeg_size, tiff_tags
from common.data.reading.raw import Raw
from common.errors import PodiumError
from common.text import printable, utf8

Image = NDArray[np.uint8]  # (H, W, C), RGB or grey
MAX_PIXELS = 180_000_000  # of a picture, unless data.max_pixels says otherwise: 540 MB in colour
_ESCAPED = re.compile(r"[\udc80-\udcff]|\\x[89a-f][0-9a-f]")  # of a name that is not UTF-8, see `utf8`
NO_PICTURE = "cannot be decoded: cut short, damaged or not a picture"
STRIP = 64  # rows of a transparent picture that are laid on white at a time

Pillow.MAX_IMAGE_PIXELS = None  # bounded here, by max_pixels
cv2.setLogLevel(0)  # silent: an ImageError says it, once and with the path
cv2.setNumThreads(1)  # pictures are prepared side by side: threads within one would only take turns


class ImageError(PodiumError):
    """A picture that cannot be read. `path` names it, `reason` says what is wrong in a few words."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(str(path), reason)  # plain arguments, so that it travels between worker processes
        self.path, self.reason = utf8(str(path)), reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


def read(
    path: Path | str, channels: int, at_least: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read a file of any format that OpenCV knows, see `decode`, or raw pixels within a file, see raw.py.

    A missing file raises ImageError too. Of a file with too many pixels little more than its header is read.
    """
    raw = None if os.path.isfile(path) else Raw.parse(path)
    try:
        if raw is not None:
            _check_size((raw.height, raw.width), max_pixels, str(path))
            grey = raw.read()[:, :, None]
            return grey if channels == 1 else np.repeat(grey, channels, axis=2)
        # Not cv2.imread: it passes JPEGs that are cut short, and fails on some file names.
        with open(path, "rb") as file:
            data = file.read(HEAD)
            if len(data) == HEAD:
                _check_size(image_size(data), max_pixels, str(path))
                data += file.read()
    except OSError as error:
        if _ESCAPED.search(str(path)):
            raise ImageError(path, "its name is not UTF-8: rename the file") from error
        raise ImageError(path, error.strerror or type(error).__name__) from error
    except EOFError as error:
        raise ImageError(path, "the file ends before") from error
    return decode(data, channels, at_least, str(path), max_pixels)


def decode(
    data: bytes,
    channels: int,
    at_least: tuple[int, int] | None = None,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """Decode an encoded picture to uint8 (H, W, channels): RGB for 3 channels, luminance for 1.

    at_least: (H, W) that will be needed. A JPEG larger than twice that is decoded at 1/2, 1/4 or 1/8, never
        below what is needed: several times faster, and as good as shrinking by area.
    max_pixels: of which a larger picture is refused by its header, before memory is taken for it.

    What EXIF, XMP or, of AVIF, its own boxes say of the orientation is applied. Transparency is laid on white. 16 bits
    become 8 by their high byte, floats from 0 to 1 become 0 to 255. Of several frames or pages the first counts.

    Raises ImageError(name, reason) if the data are empty, cut short (a JPEG without its end marker too), not a picture
    or too large; and for floats beyond 0 to 1 and whole numbers of 32 bits, which could mean anything. Damage inside a
    complete file (flipped bits) goes unnoticed, as in every decoder.
    """
    if channels not in (1, 3):
        raise PodiumError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    if not data:
        raise ImageError(name, "the file is empty")
    size = image_size(data)
    if size is None or foreign(data):
        raise ImageError(name, foreign(data, os.path.splitext(name)[1].lower()) or NO_PICTURE)
    _check_size(size, max_pixels, name)
    try:
        image = _decoded(data, channels, at_least, name, max_pixels)
    except cv2.error as error:  # more pixels than OpenCV allows (2^30), or a broken header
        raise ImageError(name, f"cannot be decoded ({error.err or error.msg})") from error
    return image.reshape(*image.shape[:2], channels)


def _decoded(data: bytes, channels: int, at_least: tuple[int, int] | None, name: str, max_pixels: int) -> Any:
    """uint8 (H, W) or (H, W, 3), as it is to be seen."""
    tiff = is_tiff(data)
    if is_transparent(data):
        if by_pillow(data):
            image = _on_white(_bgra(data, name, max_pixels), channels)
            return image if tiff else _upright(image, orientation(data))
        image = _opencv(data, cv2.IMREAD_UNCHANGED, name)
        if data.startswith(b"BM") and not image[:, :, 3].any():  # a mask that nobody has filled
            image = image[:, :, :3]
        return _upright(_on_white(image, channels), orientation(data))
    if is_deep(data):
        image = _of_eight_bits(_opencv(data, cv2.IMREAD_UNCHANGED, name), name)
        if image.ndim == 2 and channels == 3:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        elif image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY)
    else:
        read = 3 if data.startswith(b"P7") else channels  # of PAM OpenCV's grey takes red for blue
        flags = _REDUCED[read][1 if at_least is None else _reduction(data, at_least)]
        image = _opencv(data, flags | cv2.IMREAD_IGNORE_ORIENTATION, name)
        if read == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY)
    if tiff and ORIENTATION in tiff_tags(data):  # by which OpenCV turns it, whatever it is told
        return image
    return _upright(image, orientation(data))


def _opencv(data: bytes, flags: int, name: str) -> Any:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ImageError(name, NO_PICTURE)
    return image


def _bgra(data: bytes, name: str, max_pixels: int) -> Any:
    """uint8 (H, W, 4), by Pillow, which turns TIFFs."""
    try:
        with Pillow.open(io.BytesIO(data), formats=("TIFF", "AVIF", "JPEG2000", "PNG")) as picture:
            _check_size(picture.size[::-1], max_pixels, name)
            image = np.asarray(picture.convert("RGBA"))
    except PodiumError:
        raise
    except Exception as error:  # each format's reader has its own
        raise ImageError(name, NO_PICTURE) from error
    return cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA)


def _of_eight_bits(image: Any, name: str) -> Any:
    """Floats from 0 to 1 as uint8, 0 to 255. Others could be anything: depths, heights, light without bounds."""
    if image.dtype.kind != "f":
        raise ImageError(
            name, f"its pixels are whole numbers of {8 * image.itemsize} bits: save it with 8 or 16"
        )
    if image.ndim == 3 and image.shape[2] != 3:
        raise ImageError(name, f"its pixels are {image.shape[2]} floats each: save it with 8 or 16 bits")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1.001):  # NaN, too
        raise ImageError(
            name,
            f"its pixels are floats from {low:g} to {high:g}: scale them to 0 to 1, or save it with 8 bits",
        )
    return (image * 255).round().clip(0, 255).astype(np.uint8)


def _check_size(size: tuple[int, int] | None, max_pixels: int, name: str) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        raise ImageError(name, f"{size[1]} × {size[0]} pixels are more than max_pixels={max_pixels}")


def fit(
    image: Image,
    size: tuple[int, int],
    mode: Literal["stretch", "pad", "crop"] = "stretch",
    pad_value: int = 0,
    interpolation: Literal["area", "bilinear", "bicubic"] = "area",
) -> Image:
    """Fit uint8 (H, W, C) to `size` = (height, width), same C.

    mode: "stretch" ignores the aspect ratio; "pad" keeps it and fills two opposite margins with `pad_value`;
        "crop" keeps it and cuts two opposite margins off. Both are centred.
    interpolation: "area" averages where a side shrinks and is bilinear where it grows. "bilinear" and
        "bicubic" sample 2 × 2 and 4 × 4 pixels, when shrinking too (as cv2 does, without antialiasing).
    """
    height, width = size
    if height < 1 or width < 1:
        raise PodiumError(f"size must be two positive ints (height, width), got {size}")
    if mode == "stretch":
        return _resize(image, height, width, interpolation)
    old_height, old_width = image.shape[:2]
    if mode == "pad":
        scale = min(height / old_height, width / old_width)
        inner = _resize(image, *_scaled(image, scale), interpolation)
        fitted = np.full((height, width, image.shape[2]), pad_value, np.uint8)
        top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
        fitted[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return fitted
    if mode == "crop":
        # Cut first, then resize: the margins need not be computed.
        scale = max(height / old_height, width / old_width)
        inner_height, inner_width = max(1, round(height / scale)), max(1, round(width / scale))
        top, left = (old_height - inner_height) // 2, (old_width - inner_width) // 2
        return _resize(
            image[top : top + inner_height, left : left + inner_width], height, width, interpolation
        )
    raise PodiumError(f"fit must be stretch, pad or crop, got {mode!r}")


def fit_to(image: Image, preprocessing: dict[str, Any]) -> Image:
    """From a picture as it was read to the model's input, by the preprocessing that a checkpoint carries.

    `picture`, a part that a competition may name, makes another picture of it first, by what only it knows; then `fit`.
    uint8 (H, W, C) → uint8 (H', W', C).
    """
    if preprocessing.get("picture"):
        image = _other(image, preprocessing["picture"])
    return fit(
        image,
        tuple(preprocessing["size"]),
        preprocessing["fit"],
        preprocessing["pad_value"],
        preprocessing["interpolation"],
    )


def check_picture(preprocessing: dict[str, Any]) -> None:
    """Raise PodiumError where the part `picture` makes no picture of a small blank one."""
    if preprocessing.get("picture"):
        _other(np.zeros((8, 8, preprocessing["channels"]), np.uint8), preprocessing["picture"])


def _other(image: Image, picture: dict[str, Any]) -> Image:
    what = f"preprocessing.picture {picture['_target_']}"
    try:
        made = _part(json.dumps(picture))(image)
    except PodiumError:
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:300]
        raise PodiumError(f"{what} failed: {type(error).__name__}: {said}") from error
    if (
        not isinstance(made, np.ndarray)
        or (made.dtype, made.ndim, made.shape[2:]) != (np.uint8, 3, image.shape[2:])
        or not made.size
    ):
        got = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
        raise PodiumError(f"{what} must make uint8 (H, W, {image.shape[2]}) of a picture, got {got}")
    return made


def max_pixels(preprocessing: dict[str, Any]) -> int:
    """The largest picture that this preprocessing takes; it is carried where it is not the default."""
    return preprocessing.get("max_pixels", MAX_PIXELS)


def needed(preprocessing: dict[str, Any]) -> tuple[int, int] | None:
    """(H, W) that `decode` may reduce a picture to; None where a part `picture` needs it as it is."""
    if preprocessing.get("picture"):
        return None
    height, width = preprocessing["size"]
    return height, width


@lru_cache(16)
def _part(text: str) -> Any:
    return build(json.loads(text), "picture")


def _resize(image: Any, height: int, width: int, interpolation: str) -> Any:
    if interpolation not in _INTERPOLATIONS:
        raise PodiumError(f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}")
    channels = image.shape[2]
    if interpolation == "area":  # in two steps, as cv2's INTER_AREA averages only where both sides shrink
        shrunk = min(height, image.shape[0]), min(width, image.shape[1])
        if shrunk != image.shape[:2]:
            image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[interpolation])
    return image.reshape(height, width, channels)  # cv2 drops a single channel


_INTERPOLATIONS = {"area": cv2.INTER_LINEAR, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def _scaled(image: Image, scale: float) -> tuple[int, int]:
    return max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))


_REDUCED = {
    1: {
        1: cv2.IMREAD_GRAYSCALE,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    },
    3: {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    },
}


def _reduction(data: bytes, at_least: tuple[int, int]) -> int:
    """The largest of 1, 2, 4, 8 by which a JPEG may be divided, however its EXIF orientation turns it."""
    size = jpeg_size(data)
    if size is None:
        return 1
    return next((factor for factor in (8, 4, 2) if min(size) >= factor * max(at_least)), 1)


def _upright(image: Any, how: int) -> Any:
    """A picture as its EXIF orientation says that it is to be seen: of the transpose from 5 on, then mirrored."""
    if how in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if how in (3, 4, 7, 8):
        image = image[::-1]
    if how in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _on_white(image: Any, channels: int) -> Any:
    """(H, W), (H, W, 3) or (H, W, 4), BGR, uint8 or uint16 → uint8 RGB or grey without alpha."""
    to = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY
    shown = np.empty(image.shape[:2] + (3,) * (channels == 3), np.uint8)
    # not whole: each step would take the picture's memory once more, the floats many times
    for top in range(0, len(image), STRIP):
        rows = image[top : top + STRIP]
        if rows.dtype == np.uint16:
            rows = (rows >> 8).astype(np.uint8)
        if rows.ndim == 2:
            rows = cv2.cvtColor(rows, cv2.COLOR_GRAY2BGR)
        if rows.shape[2] == 4:
            alpha = rows[:, :, 3:].astype(np.float32) / 255
            rows = (rows[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
        shown[top : top + STRIP] = cv2.cvtColor(rows, to)
    return shown
