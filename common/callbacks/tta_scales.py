"""Views that are several at once: crops at fixed random places, and a pyramid of sizes.

A view of TTA may give several batches of images, one after the other; each counts as one view. `count` is how many,
`cost` what they take beside one plain pass, which goes with the number of pixels that the network sees.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import PodiumError


class RandomCrops:
    """Random parts of the picture, always the same ones, each enlarged to the whole size. Cost: `count` passes.

    As Krizhevsky et al. (2012) predicted by ten crops; there of a larger picture, here of what the network is given.

    Args:
        count: how many, ≥ 1.
        share: of height and of width that a crop shows, in (0, 1]; 0.875 is 224 of 256.
        seed: of the places.
    """

    def __init__(self, count: int = 10, share: float = 0.875, seed: int = 0) -> None:
        if count < 1:
            raise PodiumError(f"callbacks.tta: count must be at least 1, got {count}")
        if not 0 < share <= 1:
            raise PodiumError(f"callbacks.tta: share must be in (0, 1], got {share}")
        self.share, self.count, self.cost = share, count, float(count)
        generator = torch.Generator().manual_seed(seed)
        self.places: list[list[float]] = torch.rand(
            count, 2, generator=generator
        ).tolist()  # 0: top, left; 1: the end

    def __call__(self, images: Tensor) -> Iterator[Tensor]:
        height, width = images.shape[-2:]
        inner = max(1, round(self.share * height)), max(1, round(self.share * width))
        for y, x in self.places:
            top, left = round(y * (height - inner[0])), round(x * (width - inner[1]))
            crop = images[..., top : top + inner[0], left : left + inner[1]]
            yield _resized(crop, (height, width))


class Pyramid:
    """The whole picture at several sizes, for networks that take any. Cost: the sum of the squares of `scales`.

    Args:
        scales: of height and width, > 0; 1 is the picture as it is.
    """

    def __init__(self, scales: list[float] = [0.85, 1.0, 1.2]) -> None:  # noqa: B006  (never changed)
        if not scales or min(scales) <= 0:
            raise PodiumError(f"callbacks.tta: scales must be positive numbers, at least one, got {scales}")
        self.scales, self.count = list(scales), len(scales)
        self.cost = sum(scale**2 for scale in scales)

    def __call__(self, images: Tensor) -> Iterator[Tensor]:
        height, width = images.shape[-2:]
        for scale in self.scales:
            yield _resized(images, (max(1, round(scale * height)), max(1, round(scale * width))))


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=False)
