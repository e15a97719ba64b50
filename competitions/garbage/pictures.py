"""The contest entry's picture: stretched to a square, of which the centre is cut out."""

from common.data.reading.images import Image, fit
from common.errors import PodiumError

LARGEST = 4096  # pixels a side: a configuration may be anybody's


class StretchedCentre:
    """uint8 (H, W, C) → (centre, centre, C): `size` x `size` whatever the aspect, then its centre.

    Args:
        size, centre: pixels a side, 0 < centre ≤ size ≤ 4096.
    """

    def __init__(self, size: int = 256, centre: int = 224) -> None:
        if size > LARGEST:
            raise PodiumError(f"data.picture.size must be at most {LARGEST}, got {size}")
        if not 0 < centre <= size:
            raise PodiumError(f"data.picture.centre must be in 1..{size}, data.picture.size, got {centre}")
        self.size, self.centre = size, centre

    def __call__(self, image: Image) -> Image:
        square = fit(image, (self.size, self.size), "stretch", interpolation="bilinear")
        margin = (self.size - self.centre) // 2
        return square[margin : margin + self.centre, margin : margin + self.centre]
