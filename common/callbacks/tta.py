"""TTA: the prediction is the mean over several views of an image.

A view may give several batches of images, one after the other; each counts as one view. `count` is how many, `cost`
what they take beside one plain pass, which goes with the number of pixels that the network sees.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from common.build import build
from common.errors import PodiumError
from common.model.networks.backbones import output_shape
from common.model.step_hooks import StepHooks


class TTA(pl.Callback):
    """Test-time augmentation: class probabilities are averaged over fixed views.

    Args:
        views: name → part of a callable images (B, C, H, W) in [0, 1] → the same, or several of them one after the
            other, each a view, perhaps of another size; see the classes below.
    """

    def __init__(self, views: dict[str, Any]) -> None:
        self.views = {
            name: build(view, "view") if isinstance(view, dict) else view
            for name, view in views.items()
            if view is not None
        }
        if not self.views:
            raise PodiumError(
                "callbacks.tta.views is empty: name at least one view, or set callbacks.tta=null"
            )

    @property
    def names(self) -> list[str]:
        """Of all views; where a part gives several, these are numbered from 1."""
        counts = {name: getattr(view, "count", 1) for name, view in self.views.items()}
        return [
            name if count == 1 else f"{name}_{number}"
            for name, count in counts.items()
            for number in range(1, count + 1)
        ]

    @property
    def cost(self) -> float:
        """How many times as long as one plain pass a prediction takes, by the pixels that the network sees."""
        return sum(getattr(view, "cost", 1.0) for view in self.views.values())

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def predict(images: Tensor) -> Tensor:
            return torch.stack([hooks.predict(view) for _, view in self._seen(images)]).mean(dim=0)

        return replace(hooks, predict=predict)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.before_predicting(pl_module)  # a view that does not fit is said before hours of training

    def before_predicting(self, module: pl.LightningModule) -> None:
        """Raise PodiumError for a view of a size that the network does not take."""
        preprocessing: Any = module.preprocessing
        height, width = preprocessing["size"]
        for name, view in self._seen(torch.zeros(1, preprocessing["channels"], height, width)):
            if tuple(view.shape[-2:]) == (height, width):
                continue
            try:
                output_shape(module.net, view.shape)  # type: ignore[arg-type]
            except (RuntimeError, AssertionError, ValueError) as error:
                raise PodiumError(
                    f"callbacks.tta.views.{name}: the network does not take images of {view.shape[-2]}x"
                    f"{view.shape[-1]}, it was built for {height}x{width}: leave this view out ({error})"
                ) from error

    def _seen(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """(name, images as this view shows them), made one at a time."""
        for name, view in self.views.items():
            seen = view(images)
            yield from ((name, one) for one in ([seen] if isinstance(seen, Tensor) else seen))


class Raw:
    """The image as it is."""

    def __call__(self, images: Tensor) -> Tensor:
        return images


class Inverted:
    """Black for white."""

    def __call__(self, images: Tensor) -> Tensor:
        return 1 - images


class Mirrored:
    """Left for right."""

    def __call__(self, images: Tensor) -> Tensor:
        return images.flip(-1)


class Cropped:
    """Crop a margin off every side and enlarge what is left to the old size.

    Args:
        margin: share of height and of width taken off each side, in [0, 0.5).
    """

    def __init__(self, margin: float = 10 / 128) -> None:
        if not 0 <= margin < 0.5:
            raise PodiumError(f"callbacks.tta: margin must be in [0, 0.5), got {margin}")
        self.margin = margin

    def __call__(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        top, left = round(self.margin * height), round(self.margin * width)
        inner = images[..., top : height - top, left : width - left]
        return _resized(inner, (height, width))


class Moved:
    """Shift, scale and turn about the centre; what comes in at the border has the value of the nearest edge.

    Right angles stay right ones, whatever the picture's sides.

    Args:
        x, y: shift to the right and down, share of width and height.
        scale: > 1 enlarges.
        rotate: degrees, counter-clockwise.
    """

    def __init__(self, x: float = 0.0, y: float = 0.0, scale: float = 1.0, rotate: float = 0.0) -> None:
        if scale <= 0:
            raise PodiumError(f"callbacks.tta: scale must be positive, got {scale}")
        angle = torch.deg2rad(torch.tensor(float(rotate)))
        self.cos, self.sin = (angle.cos() / scale).item(), (angle.sin() / scale).item()
        self.x, self.y = 2 * x, 2 * y

    def __call__(self, images: Tensor) -> Tensor:
        # grid_sample asks where an output pixel comes from: the inverse of the movement, in units of half a side
        aspect = images.shape[-2] / images.shape[-1]
        (a, b), (c, d) = (self.cos, -self.sin * aspect), (self.sin / aspect, self.cos)
        rows = [[a, b, -a * self.x - b * self.y], [c, d, -c * self.x - d * self.y]]
        theta = torch.tensor(rows).to(images).expand(len(images), 2, 3)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


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
