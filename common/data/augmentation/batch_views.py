"""Views per batch, as tensor code on the device: each image of a batch gets its own view.

Every view is a callable (images float32 (B, C, H, W) in [0, 1], keys int64 (B,)) → images of the same shape
and range. It draws from the keys alone (see `randomness`), all parameters at once and without reading
anything back, so that an image's view is the same in any batch and on any device, and a GPU never waits.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from common.data.augmentation.randomness import derive, normal, uniform
from common.errors import PodiumError

BatchView = Callable[[Tensor, Tensor], Tensor]


class BatchViews:
    """Applies named views in order.

    Each draws from keys of its own, derived by its name: the same kind of view may stand twice, and adding
    one does not change what the others draw.
    """

    def __init__(self, views: Mapping[str, BatchView]) -> None:
        self.views = dict(views)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        for name, view in self.views.items():
            images = view(images, derive(keys, name))
        return images


class Affine:
    """Scale, shear and rotate about the centre, then shift; one bilinear interpolation.

    shift: largest shift, as a share of the side. scale: range of the magnification, drawn on a log scale.
    rotate, shear: largest angle in degrees. fill: what comes in from outside: a value in [0, 1], or "edge" to
    repeat the border. p: share of the images.
    """

    def __init__(
        self,
        shift: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        rotate: float = 0.0,
        shear: float = 0.0,
        fill: float | Literal["edge"] = 0.0,
        p: float = 1.0,
    ) -> None:
        self.shift = _at_least_zero(shift, "shift")
        self.log_scale = [math.log(bound) for bound in _positive_range(scale, "scale")]
        self.rotate, self.shear = math.radians(rotate), math.radians(shear)
        self.fill, self.p = _fill(fill), _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        drawn = uniform(keys, 6)
        applied = (drawn[:, 5] < self.p).float()
        symmetric = (2 * drawn - 1) * applied[:, None]  # 0 is the identity
        magnified = _between(drawn[:, 2], *self.log_scale) * applied
        matrix = _matrix(symmetric[:, 3] * self.rotate, symmetric[:, 4] * self.shear, magnified.exp())
        return warp(images, matrix, symmetric[:, :2] * self.shift, self.fill)


class ResizedCrop:
    """A random part of the image, enlarged to the whole: torchvision's RandomResizedCrop on a batch.

    scale: range of the part's share of the area. ratio: range of its width / height in pixels, drawn on a log
    scale. A part that would be longer than the image is cut to its side.
    """

    def __init__(self, scale: Sequence[float] = (0.5, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)) -> None:
        self.scale = _positive_range(scale, "scale", most=1.0)
        self.log_ratio = [math.log(bound) for bound in _positive_range(ratio, "ratio")]

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        drawn = uniform(keys, 4)
        height, width = images.shape[-2:]
        size = _part(drawn[:, :2], self.scale, self.log_ratio, height / width)
        # An output point x (from the centre, in sides) shows the input at size · x + offset.
        offset = (1 - size) * (drawn[:, 2:] - 0.5)
        return warp(images, torch.diag_embed(1 / size), -offset / size, "edge")


class Elastic:
    """Smooth random distortion: displacements on a coarse lattice, interpolated bicubically in between.

    amplitude: largest displacement of a lattice point, as a share of the side. cells: how many along a side.
    After Simard, Steinkraus and Platt (ICDAR 2003), who smooth per-pixel displacements instead.
    """

    def __init__(
        self, amplitude: float = 0.03, cells: int = 4, fill: float | Literal["edge"] = 0.0, p: float = 1.0
    ) -> None:
        if cells < 1:
            raise PodiumError(f"views.batch: cells must be at least 1, got {cells}")
        self.amplitude, self.cells = _at_least_zero(amplitude, "amplitude"), cells
        self.fill, self.p = _fill(fill), _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        points = self.cells + 1
        drawn = uniform(keys, 2 * points**2 + 1)
        strength = 2 * self.amplitude * (drawn[:, :1] < self.p)  # 2: grid_sample counts half sides
        lattice = ((2 * drawn[:, 1:] - 1) * strength).view(-1, 2, points, points)
        rows, columns = (_bicubic(points, side, images.device) for side in images.shape[-2:])
        moved = rows @ lattice @ columns.T  # (B, 2, H, W); F.interpolate is thirty times slower on a CPU
        identity = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
        grid = F.affine_grid(identity, list(images.shape), align_corners=False)
        return _sample(images, grid + moved.permute(0, 2, 3, 1), self.fill)


class Flip:
    """Mirror a share `p` of the images, left to right, or with `vertical` top to bottom."""

    def __init__(self, p: float = 0.5, vertical: bool = False) -> None:
        self.p, self.axis = _share(p), -2 if vertical else -1

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        return _for_share(self.p, keys, images.flip(self.axis), images)


class Invert:
    """Swap black and white in a share `p` of the images."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        return _for_share(self.p, keys, 1 - images, images)


class ColorJitter:
    """Brightness, contrast, saturation and hue in this order, as one linear map of the colours.

    brightness, contrast, saturation: 0.2 draws a factor from 0.8 to 1.2. hue: largest turn of the colour
    circle, in turns (0.5 is opposite). Contrast is about the image's mean grey. As torchvision's ColorJitter,
    except that hue is turned about the grey axis of YIQ, and values are clamped once, at the end. Grey images
    have neither saturation nor hue.
    """

    def __init__(
        self, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, hue: float = 0.0
    ) -> None:
        self.brightness = _at_least_zero(brightness, "brightness")
        self.contrast = _at_least_zero(contrast, "contrast")
        self.saturation = _at_least_zero(saturation, "saturation")
        self.hue = _at_least_zero(hue, "hue")

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        symmetric = 2 * uniform(keys, 4) - 1
        brightness = (1 + self.brightness * symmetric[:, 0]).clamp_min(0).view(-1, 1, 1, 1)
        contrast = (1 + self.contrast * symmetric[:, 1]).clamp_min(0).view(-1, 1, 1, 1)
        channels = images.shape[1]
        luma = _LUMA if channels == 3 else [1 / channels] * channels
        means = images.mean((2, 3))
        mean_grey = torch.stack([luma[i] * means[:, i] for i in range(channels)]).sum(0).view(-1, 1, 1, 1)
        images = images * (brightness * contrast) + mean_grey * (brightness * (1 - contrast))
        if channels == 3 and (self.saturation or self.hue):
            saturation = (1 + self.saturation * symmetric[:, 2]).clamp_min(0)
            angle = 2 * math.pi * self.hue * symmetric[:, 3]
            images = torch.einsum("bij,bjhw->bihw", _chroma(saturation, angle), images)
        return images.clamp(0, 1)


class Noise:
    """Gaussian noise on each value; its standard deviation is drawn from `sigma` for each image."""

    def __init__(self, sigma: Sequence[float] = (0.0, 0.05), p: float = 1.0) -> None:
        self.sigma, self.p = _range(sigma, "sigma"), _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        drawn = uniform(keys, 2)
        sigma = _between(drawn[:, 1], *self.sigma) * (drawn[:, 0] < self.p)
        noise = normal(keys, images[0].numel(), salt=1).view_as(images)
        return torch.addcmul(images, noise, sigma.view(-1, 1, 1, 1)).clamp_(0, 1)


class Blur:
    """Gaussian blur by a standard deviation, in pixels, drawn from `sigma` for each image; borders repeat."""

    def __init__(self, sigma: Sequence[float] = (0.1, 1.5), p: float = 0.5) -> None:
        self.sigma, self.p = _range(sigma, "sigma"), _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        drawn = uniform(keys, 2)
        sigma = _between(drawn[:, 1], *self.sigma) * (drawn[:, 0] < self.p)
        radius = max(1, math.ceil(3 * self.sigma[1]))
        offsets = torch.arange(-radius, radius + 1, device=images.device)
        sigma = sigma.clamp_min(1e-3)[:, None]  # of 0, which keeps the image, too
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)  # (B, taps)
        weights = weights / weights.sum(1, keepdim=True)
        return _convolve(_convolve(images, weights, -1), weights, -2)


class Erase:
    """Overwrite a random rectangle: Random Erasing (Zhong et al., AAAI 2020), Cutout (DeVries, Taylor, 2017).

    area: range of the rectangle's share of the image. ratio: range of its width / height in pixels. The
    rectangle lies inside the image.
    """

    def __init__(
        self,
        area: Sequence[float] = (0.02, 0.2),
        ratio: Sequence[float] = (0.3, 3.3),
        fill: float = 0.0,
        p: float = 0.5,
    ) -> None:
        self.area = _positive_range(area, "area", most=1.0)
        self.log_ratio = [math.log(bound) for bound in _positive_range(ratio, "ratio")]
        self.fill, self.p = _share(fill, "fill"), _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        drawn = uniform(keys, 5)
        height, width = images.shape[-2:]
        part = _part(drawn[:, :2], self.area, self.log_ratio, height / width)
        inside = []
        for axis, side in enumerate((width, height)):
            size = (part[:, axis] * side).round()
            start = ((side - size + 1) * drawn[:, 2 + axis]).floor()
            end = start + size * (drawn[:, 4] < self.p)  # empty where nothing is erased
            at = torch.arange(side, device=images.device)
            inside.append((at >= start[:, None]) & (at < end[:, None]))
        columns, rows = inside  # (B, W), (B, H)
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], self.fill)


class StrokeWidth:
    """Thicker or thinner strokes: a blend of each image with its dilation or its erosion.

    radius: in pixels, of the square in which the brightest (or darkest) value is taken. strength: range of
    the blend; 1 is the full dilation, -1 the full erosion. Dilation thickens white ink, erosion black ink.
    """

    def __init__(self, radius: int = 1, strength: Sequence[float] = (-0.7, 0.7), p: float = 1.0) -> None:
        if radius < 1:
            raise PodiumError(f"views.batch: radius must be at least 1 pixel, got {radius}")
        low, high = strength
        if not -1 <= low <= high <= 1:
            raise PodiumError(
                f"views.batch: strength must be two rising numbers in [-1, 1], got {list(strength)}"
            )
        self.radius, self.strength, self.p = radius, (low, high), _share(p)

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        drawn = uniform(keys, 2)
        blend = (_between(drawn[:, 1], *self.strength) * (drawn[:, 0] < self.p)).view(-1, 1, 1, 1)
        sign = torch.where(blend < 0, -1.0, 1.0)  # the erosion is the dilation of the negative
        changed = sign * _dilate(sign * images, self.radius)
        return torch.lerp(images, changed, blend.abs())


def warp(images: Tensor, matrix: Tensor, shift: Tensor, fill: float | Literal["edge"]) -> Tensor:
    """Map each image's plane by x → matrix · x + shift, bilinearly.

    matrix: (B, 2, 2), for (x, y) in pixels from the centre, x to the right and y down. shift: (B, 2), as
    shares of width and height. fill: a value, or "edge".
    """
    height, width = images.shape[-2:]
    inverse = torch.linalg.inv_ex(matrix).inverse  # inv would make a GPU wait to check for singularity
    aspect = torch.ones(2, 2, device=images.device)  # grid_sample counts in sides, not in pixels
    aspect[0, 1], aspect[1, 0] = height / width, width / height
    inverse = inverse * aspect
    theta = torch.cat([inverse, -inverse @ (2 * shift)[:, :, None]], dim=2)
    return _sample(images, F.affine_grid(theta, list(images.shape), align_corners=False), fill)


def _sample(images: Tensor, grid: Tensor, fill: float | Literal["edge"]) -> Tensor:
    if isinstance(fill, str):
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if fill == 0:
        return F.grid_sample(images, grid, align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _matrix(angle: Tensor, shear: Tensor, scale: Tensor) -> Tensor:
    """Rotation · shear · scale, each (B,) → (B, 2, 2). A positive angle turns clockwise on the screen."""
    cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
    rows = [torch.stack([cos, cos * tan - sin], 1), torch.stack([sin, sin * tan + cos], 1)]
    return torch.stack(rows, 1) * scale[:, None, None]


def _part(drawn: Tensor, area: Sequence[float], log_ratio: Sequence[float], aspect: float) -> Tensor:
    """Shares of width and height (B, 2), at most 1, of a part with drawn area and ratio (of pixels)."""
    share = _between(drawn[:, 0], *area)
    ratio = _between(drawn[:, 1], *log_ratio).exp() * aspect
    return torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()], 1).clamp_max(1)


def _bicubic(points: int, side: int, device: torch.device) -> Tensor:
    """(side, points): the weights by which values at `points` even steps make `side` pixels, ends on ends."""
    steps = torch.eye(points, device=device)[None, None]
    return F.interpolate(steps, (side, points), mode="bicubic", align_corners=True)[0, 0]


def _dilate(images: Tensor, radius: int) -> Tensor:
    """The maximum in a square, one axis after the other: fifteen times faster than max_pool2d on a CPU."""
    padded = F.pad(images, [radius] * 4, mode="replicate")
    for axis in (-1, -2):
        side = padded.shape[axis] - 2 * radius
        padded = reduce(torch.maximum, [padded.narrow(axis, i, side) for i in range(2 * radius + 1)])
    return padded


def _convolve(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Convolve each image along an axis with its own odd kernel, weights (B, taps)."""
    batch, channels, height, width = images.shape
    taps = weights.shape[1]
    shape, margin = (1, taps), [taps // 2, taps // 2, 0, 0]
    if axis == -2:
        shape, margin = shape[::-1], margin[::-1]
    padded = F.pad(images, margin, mode="replicate")
    kernels = weights.repeat_interleave(channels, 0).view(batch * channels, 1, *shape)
    blurred = F.conv2d(padded.flatten(0, 1)[None], kernels, groups=batch * channels)
    return blurred.view(batch, channels, height, width)


def _chroma(saturation: Tensor, angle: Tensor) -> Tensor:
    """(B, 3, 3): scales and turns the colour of RGB in the I, Q plane of YIQ; grey stays."""
    to_yiq, from_yiq = _yiq(angle.device)
    cos, sin, zero = saturation * angle.cos(), saturation * angle.sin(), torch.zeros_like(angle)
    rows = [[torch.ones_like(angle), zero, zero], [zero, cos, -sin], [zero, sin, cos]]
    turn = torch.stack([torch.stack(row, 1) for row in rows], 1)
    return from_yiq @ turn @ to_yiq


_LUMA = [0.299, 0.587, 0.114]


@cache  # copying constants to a GPU makes it wait: once is enough
def _yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    to_yiq = torch.tensor([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    return to_yiq.to(device), to_yiq.inverse().to(device)


def _for_share(p: float, keys: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(uniform(keys, 1).view(-1, 1, 1, 1) < p, changed, images)


def _between(drawn: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * drawn


def _share(value: float, name: str = "p") -> float:
    if not 0 <= value <= 1:
        raise PodiumError(f"views.batch: {name} must be in [0, 1], got {value}")
    return value


def _at_least_zero(value: float, name: str) -> float:
    if not value >= 0:
        raise PodiumError(f"views.batch: {name} must be at least 0, got {value}")
    return value


def _range(bounds: Sequence[float], name: str) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1]:
        raise PodiumError(f"views.batch: {name} must be two rising numbers, at least 0, got {list(bounds)}")
    return bounds[0], bounds[1]


def _positive_range(bounds: Sequence[float], name: str, most: float = math.inf) -> tuple[float, float]:
    low, high = _range(bounds, name)
    if low == 0 or high > most:
        raise PodiumError(f"views.batch: {name} must be above 0 and at most {most}, got {list(bounds)}")
    return low, high


def _fill(fill: float | Literal["edge"]) -> float | Literal["edge"]:
    if fill != "edge" and not (isinstance(fill, int | float) and 0 <= fill <= 1):
        raise PodiumError(f'views.batch: fill must be a value in [0, 1] or "edge", got {fill!r}')
    return fill
