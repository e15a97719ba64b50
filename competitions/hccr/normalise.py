"""From a character as it was scanned or photographed to white ink on black: the part `data.picture`.

The same function prepares training, packing, predictions of files and of single photographs, and exported models.
Pictures are grey, uint8 (H, W, 1), of any size.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from common.data.reading.images import Image
from common.errors import PodiumError

Grey = NDArray[np.uint8]  # (H, W)
Coarse = NDArray[np.float32]  # (256,), a value for each of 16 x 16 places


class Levelled:
    """Ink of full strength on even black, cut out: for records and for photographs alike.

    1. *Size.* A picture longer than `LONGEST` is shrunk to it.
    2. *Polarity and levelling*, see `levelled`: paper becomes 0, ink up to 255, whatever the light.
    3. *Contrast.* Otsu's threshold parts ink from paper (IEEE Trans. SMC, 1979). The mean of the paper and a little
       more becomes black, the mean of the ink nearly white, whatever the pen.
    4. *Crop* to the ink, without specks, and a margin. `data.fit=pad` then keeps its aspect.

    A picture without contrast comes out black.

    Args:
        margin: around the ink, as a share of its longer side, in [0, 1].
    """

    LONGEST = 512  # pixels; the strokes of a character that fills a tenth of it can still be read
    LEAST = 10  # greys between paper and ink; less is noise
    SPECK = 0.01  # of the largest piece of ink

    def __init__(self, margin: float = 0.06) -> None:
        if not 0 <= margin <= 1:
            raise PodiumError(f"data.picture.margin must be in [0, 1], got {margin}")
        self.margin = margin

    def __call__(self, image: Image) -> Image:
        ink, paper = levelled(_at_most(_only_grey(image), self.LONGEST))
        mask: Any = cv2.threshold(ink, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
        count = round(_mean(mask) * mask.size)
        white, everywhere = _mean(ink, mask), _mean(ink)
        black = (everywhere * ink.size - white * count) / max(ink.size - count, 1)
        if (white - black) * paper < self.LEAST * 255 or not count:
            return np.zeros((*ink.shape, 1), np.uint8)
        cut = _cropped(ink, _box(mask, self.SPECK), self.margin)
        whitened: Any = cv2.LUT(cut, _stretched(black + 0.15 * (white - black), 255 / (white - black)))
        return whitened[:, :, None]


class Original:
    """Inversion and the grey map of the original's gnt2gnt.cpp: for ink on white paper, as in .gnt files.

    With m the mean of all pixels above 0 (their number increased by 0.1): where m < 110, s their deviation from it, a
    Gaussian of 3 x 3 pixels, then x → min(255, a · x^p) with p = ln(185 / 225) / ln(m / (m + 2 s)) and a = 185 / m^p,
    cut to a whole number, on what is above 0 after the blur: m becomes 185, m + 2 s becomes 225. m and s are those from
    before the blur, whose halos count as ink: so it was. Where the map would divide by 0, such as for a blank picture,
    this step is left out. `data.fit=stretch` and `data.interpolation=bilinear` do the rest.

    https://github.com/HuiyanWen/GNT_OP
    """

    def __call__(self, image: Image) -> Image:
        ink: Any = cv2.bitwise_not(_only_grey(image)[:, :, 0])
        counts = np.bincount(ink.reshape(-1), minlength=256)
        counts[0] = 0
        number = counts.sum() + 0.1
        mean = float(counts @ _GREYS / number)
        if mean < 110:
            deviation = math.sqrt(counts @ (_GREYS - mean) ** 2 / number)
            table = _power(mean, deviation)
            if table is not None:
                ink = cv2.LUT(cv2.GaussianBlur(ink, (3, 3), 0), table)
        return ink[:, :, None]


class Plain:
    """Inversion alone: for ink on white paper, as in .gnt files."""

    def __call__(self, image: Image) -> Image:
        return 255 - image


def _only_grey(image: Image) -> Image:
    if image.shape[2] != 1:
        raise PodiumError(
            f"data.channels must be 1, got {image.shape[2]}: of the parts for data.picture in "
            "competitions.hccr.normalise only Plain takes coloured pictures"
        )
    return image


_GREYS = np.arange(256.0)


def _power(mean: float, deviation: float) -> Grey | None:
    """The original's map of each grey; None where it is undefined."""
    if mean <= 0 or deviation <= 0:
        return None
    ratio = math.log(mean / (mean + 2 * deviation))
    if ratio == 0:
        return None
    p = math.log(185 / 225) / ratio
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        mapped = 185 / np.power(mean, p) * np.power(_GREYS, p)
    return None if np.isnan(mapped).any() else np.minimum(255, mapped).astype(np.uint8)


def _stretched(lowest: float, factor: float) -> Grey:
    """The table x → factor · (x - lowest), rounded, within 0 and 255."""
    return np.minimum(np.rint(np.maximum(np.rint(_GREYS - lowest), 0) * factor), 255).astype(np.uint8)


def _mean(grey: Grey, mask: Grey | None = None) -> float:
    """Of the pixels where the mask is not 0; 0 where it is nowhere."""
    channels: Any = cv2.mean(grey, mask)
    return float(channels[0])


def levelled(grey: Grey) -> tuple[Grey, float]:
    """Ink on black, uint8 of the shape of `grey`, 255 · (1 - grey / paper), and the mean brightness of the paper.

    White ink on black paper is inverted, see `is_light_on_dark`; each pixel is divided by the paper's brightness at its
    place, see `paper_of`. Of a picture on even white, which asks for neither, it is the negative. A picture more than
    twice as long as wide is widened by its paper to a square, as the stroke of 一 fills it when it is cut out closely.
    """
    if is_on_white(grey):
        return _negative(_less_flat(grey, paper=255)), 255.0
    means, rest = _evened(grey)
    if is_light_on_dark(grey, rest):
        grey, means, rest = _negative(grey), 255 - means, -rest
    widened = _less_flat(grey)
    if widened is not grey:
        means, rest = _evened(widened)
    paper = paper_of(widened, means, rest)
    return _negative(cv2.divide(widened, paper, scale=255)), _mean(paper)


def _negative(grey: Any) -> Grey:
    return np.invert(grey)  # faster than cv2's on small pictures


def is_on_white(grey: Grey) -> bool:
    """Whether the paper is 255 throughout, as scans that were cleaned have it: uint8 (H, W).

    Half of the pixels are, and in each ninth of the picture a sixteenth of 8 x 8 of them. White ink on black has not so
    many, nor has a photograph whose light part is blown out; and larger pictures are rather photographs.
    """
    if max(grey.shape) > LARGEST_SCAN:
        return False
    white: Any = cv2.threshold(grey, 254, 255, cv2.THRESH_BINARY)[1]
    if 2 * _mean(white) < 255:  # faster than counting
        return False
    looked_at = cv2.resize(white, (24, 24), interpolation=cv2.INTER_NEAREST)
    ninths: Any = cv2.resize(looked_at, (3, 3), interpolation=cv2.INTER_AREA)
    return int(ninths.min()) >= 16


LARGEST_SCAN = 256  # pixels a side


def _surfaces(side: int) -> NDArray[np.float32]:
    """Six quadratic surfaces on a square grid, float32 (6, side²), orthonormal where it is 16 x 16."""
    squares = []
    for count in (16, side):
        at = (np.arange(count) + 0.5) / count * 2 - 1
        x, y = (axis.reshape(-1) for axis in np.meshgrid(at, at))
        squares.append(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]))
    return np.ascontiguousarray(np.linalg.inv(np.linalg.qr(squares[0].T)[1]).T @ squares[1], np.float32)


_COARSE, _FINE = 16, 32  # sides at which surfaces are fitted, and the paper is found
_SURFACES, _FINE_SURFACES = _surfaces(_COARSE), _surfaces(_FINE)
_SURFACES_TRANSPOSED = np.ascontiguousarray(_SURFACES.T)
_FINE_SURFACES_TRANSPOSED = np.ascontiguousarray(_FINE_SURFACES.T)
_PRODUCTS = np.ascontiguousarray(_SURFACES[:, None] * _SURFACES[None]).reshape(36, -1)  # of each two surfaces
_RIDGE = 1e-4 * np.eye(6, dtype=np.float32)
_AT_BORDER = np.pad(np.zeros((_COARSE - 2, _COARSE - 2), bool), 1, constant_values=True).reshape(-1)
_INSIDE_LESS_BORDER = np.where(_AT_BORDER, -1 / _AT_BORDER.sum(), 1 / (~_AT_BORDER).sum()).astype(np.float32)


def _evened(grey: Grey) -> tuple[Coarse, Coarse]:
    """The means of a picture on 16 x 16 places, and what is left of them when uneven light is taken away.

    Light falls off as a quadratic surface does.
    """
    means = _grid(grey, _COARSE)
    return means, means - _SURFACES_TRANSPOSED @ (_SURFACES @ means)


def is_light_on_dark(grey: Grey, rest: Coarse) -> bool:
    """Whether the ink is lighter than the paper: uint8 (H, W) and its `_evened`.

    Paper is what most of a picture shows, and more so at its border. So the ink is on the side to which the greys lean
    (their skewness) and where the inside of the picture differs from its border. Where that hardly tells, as for 一 cut
    out closely, pure white or pure black is paper.
    """
    variance = float(rest @ rest) / len(rest)
    if variance < 1e-6:
        return False
    spread = math.sqrt(variance)
    skewness = float((rest * rest) @ rest) / len(rest) / (variance * spread)
    lean = skewness + float(rest @ _INSIDE_LESS_BORDER) / spread
    if abs(lean) < 1:
        white, black = float((grey >= 250).mean()), float((grey <= 5).mean())
        if max(white, black) >= 0.1:
            return black > white
    return lean > 0


def paper_of(grey: Grey, means: Coarse, rest: Coarse) -> Grey:
    """The brightness of the paper at each place of a picture with dark ink, uint8 (H, W), at least 1.

    A quadratic surface, fitted twice, the second time without what is clearly darker than the first, tells how the
    light falls off. Of what differs from it, at 32 x 32, a closing removes all that is darker than its surroundings and
    narrower than a third of the picture: shadows stay.

    means, rest: `_evened` of the picture.
    """
    kept = rest * np.abs(rest) >= -float(rest @ rest) / len(rest)  # less than one deviation darker
    weights = kept.astype(np.float32)
    normal = (_PRODUCTS @ weights).reshape(6, 6) + _RIDGE
    fitted: Any = cv2.solve(normal, _SURFACES @ (weights * means), flags=cv2.DECOMP_CHOLESKY)[1]
    surface = np.maximum(_FINE_SURFACES_TRANSPOSED @ fitted, 16).reshape(_FINE, _FINE)
    fine = cv2.resize(grey, (_FINE, _FINE), interpolation=cv2.INTER_AREA)
    closed = cv2.morphologyEx(cv2.divide(fine, surface, dtype=cv2.CV_32F), cv2.MORPH_CLOSE, _THIRD)
    paper = np.clip(cv2.blur(closed, (5, 5)) * surface, 1, 255).astype(np.uint8)
    found: Any = cv2.resize(paper, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return found


_THIRD = np.ones((11, 11), np.uint8)


def _grid(grey: Grey, side: int) -> NDArray[np.float32]:
    """The means of a picture on a square grid, float32 (side²,)."""
    return cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA).reshape(-1).astype(np.float32)


def _less_flat(grey: Grey, paper: float | None = None) -> Grey:
    """A picture with dark ink, its two longer borders widened where it is more than twice as long as wide.

    paper: its brightness; None: the 95th percentile.
    """
    height, width = grey.shape
    if max(height, width) <= 2 * min(height, width):
        return grey
    rows, columns = max(0, width - height) // 2, max(0, height - width) // 2
    paper = float(np.percentile(grey, 95)) if paper is None else paper
    widened: Any = cv2.copyMakeBorder(grey, rows, rows, columns, columns, cv2.BORDER_CONSTANT, value=paper)
    return widened


def _at_most(image: Image, longest: int) -> Grey:
    """uint8 (H, W, 1), shrunk by area where its longer side is longer → uint8 (H', W')."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image[:, :, 0]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return shrunk


def _box(mask: Grey, speck: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of all connected pieces that are no specks."""
    kind = (
        cv2.CV_16U if mask.size < 2**17 else cv2.CV_32S
    )  # 16 bits are faster, and number half of so many pixels
    stats: Any = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=kind)[2]
    pieces = stats[1:].tolist()  # the first is the paper; lists, as there are few
    least = speck * max(area for *_, area in pieces)
    boxes = [
        (left, top, left + width, top + height) for left, top, width, height, area in pieces if area >= least
    ]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _cropped(ink: Grey, box: tuple[int, int, int, int], margin: float) -> Grey:
    """What the box holds, in a black frame."""
    left, top, right, bottom = box
    frame = round(margin * max(right - left, bottom - top))
    kind = cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED  # isolated: what is outside of the box stays outside
    framed: Any = cv2.copyMakeBorder(ink[top:bottom, left:right], frame, frame, frame, frame, kind, value=0)
    return framed
