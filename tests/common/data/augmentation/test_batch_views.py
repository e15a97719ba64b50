import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from scipy import ndimage, stats

from common.data.augmentation.batch_views import (
    Affine,
    BatchViews,
    Blur,
    ColorJitter,
    Elastic,
    Erase,
    Flip,
    Invert,
    Noise,
    ResizedCrop,
    StrokeWidth,
    warp,
)
from common.data.augmentation.randomness import uniform, view_key
from common.errors import PodiumError

RECIPES = sorted((Path(__file__).parents[4] / "conf" / "views").glob("*.yaml"))
VIEWS = {
    "affine": Affine(0.1, [0.8, 1.2], 20, 10, p=0.8),
    "affine to edge": Affine(0.2, [0.5, 1.0], fill="edge"),
    "affine to white": Affine(0.2, fill=1.0),
    "crop": ResizedCrop(),
    "elastic": Elastic(p=0.7),
    "flip": Flip(),
    "flip vertical": Flip(vertical=True),
    "invert": Invert(),
    "color": ColorJitter(0.5, 0.5, 0.5, 0.1),
    "noise": Noise([0.0, 0.2], p=0.7),
    "blur": Blur(),
    "erase": Erase(),
    "stroke width": StrokeWidth(p=0.8),
}


def keys(count: int, epoch: int = 0) -> torch.Tensor:
    return view_key(0, epoch, torch.arange(count))


def pictures(count: int = 8, channels: int = 3, height: int = 20, width: int = 28) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def ramps(count: int, height: int, width: int) -> torch.Tensor:
    """(B, 3, H, W): x and y of each pixel from the centre, in sides, and 1: what is shown where."""
    x = ((torch.arange(width) + 0.5) / width - 0.5).expand(height, width)
    y = ((torch.arange(height) + 0.5) / height - 0.5)[:, None].expand(height, width)
    return torch.stack([x, y, torch.ones(height, width)]).expand(count, 3, height, width)


def shown(view, count: int, height: int = 64, width: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear map from output to input positions, in pixels, that each view is: (B, 2, 2) and (B, 2)."""
    sides = torch.tensor([width, height])
    positions = ramps(1, height, width)[0, :2] * sides[:, None, None]
    matrices, offsets = [], []
    for image in view(ramps(count, height, width), keys(count)):
        inside = ((image[2] > 1 - 1e-5) & (image[:2].abs().amax(0) < 0.48)).flatten()
        target = (image[:2] * sides[:, None, None]).flatten(1)[:, inside]
        source = torch.cat([positions.flatten(1)[:, inside], torch.ones(1, int(inside.sum()))])
        solved = torch.linalg.lstsq(source.T.double(), target.T.double()).solution
        matrices.append(solved[:2].T)
        offsets.append(solved[2])
    return torch.stack(matrices), torch.stack(offsets)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_gets_the_same_view_in_any_batch(view, channels):
    images = pictures(8, channels)
    together = view(images, keys(8))
    assert together.shape == images.shape and together.dtype == torch.float32
    assert together.min() >= -1e-6 and together.max() <= 1 + 1e-6
    alone = torch.cat([view(images[i : i + 1], keys(8)[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)
    order = torch.tensor([3, 1, 7, 0])
    torch.testing.assert_close(view(images[order], keys(8)[order]), together[order], rtol=0, atol=1e-6)
    assert not torch.equal(together, images)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_the_same_image_looks_different_under_different_keys(view):
    one = pictures(1).expand(16, -1, -1, -1)
    views = view(one, keys(16))
    flips = isinstance(view, Flip | Invert)
    distinct = {image.numpy().tobytes() for image in views}
    assert len(distinct) == 2 if flips else len(distinct) > 5


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_the_images_given_stay_as_they_are(view):
    images = pictures()
    view(images, keys(8))
    assert torch.equal(images, pictures())


@pytest.mark.parametrize(
    "view",
    [
        Affine(0.3, [0.5, 2], 90, 30, p=0.0),
        Affine(),
        ResizedCrop([1, 1], [1, 1]),
        Elastic(0.2, p=0.0),
        Elastic(0.0),
        Flip(0.0),
        Invert(0.0),
        ColorJitter(0, 0, 0, 0),
        Noise(p=0.0),
        Noise([0, 0]),
        Blur(p=0.0),
        Blur([0, 0], p=1.0),
        Erase(p=0.0),
        StrokeWidth(p=0.0),
        StrokeWidth(strength=[0, 0]),
    ],
    ids=lambda view: type(view).__name__,
)
def test_a_view_of_no_strength_or_share_changes_nothing(view):
    images = pictures(height=20, width=20)
    torch.testing.assert_close(view(images, keys(8)), images, rtol=0, atol=2e-5)


def test_two_views_of_one_kind_draw_independently_and_by_name():
    flips = BatchViews({"one": Flip(0.5), "two": Flip(0.5)})
    images = ramps(400, 2, 2)
    flipped_once = (flips(images, keys(400)) != images).flatten(1).any(1)  # unless both flipped or none did
    assert abs(flipped_once.float().mean() - 0.5) < 0.1
    alone = BatchViews({"two": Flip(0.5)})
    with_others = BatchViews({"blur": Blur([0, 0]), "two": Flip(0.5), "erase": Erase(p=0.0)})
    torch.testing.assert_close(alone(images, keys(400)), with_others(images, keys(400)))


def test_batch_views_apply_in_order():
    images = torch.full((4, 1, 8, 8), 0.2)
    erase, invert = Erase([1, 1], [1, 1], fill=0.0, p=1.0), Invert(1.0)
    assert (BatchViews({"erase": erase, "invert": invert})(images, keys(4)) == 1).all()
    assert (BatchViews({"invert": invert, "erase": erase})(images, keys(4)) == 0).all()
    assert torch.equal(BatchViews({})(images, keys(4)), images)


@pytest.mark.parametrize(
    ("fill", "mode"), [(0.0, "grid-constant"), (0.7, "grid-constant"), ("edge", "nearest")]
)
def test_warp_equals_scipy(fill, mode):
    image = pictures(1, 1, 17, 29)
    angle, scale, shift = math.radians(33), 1.3, torch.tensor([[0.1, -0.2]])
    matrix = scale * torch.tensor([[[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]])
    warped = warp(image, matrix, shift, fill)[0, 0]
    inverse = np.linalg.inv(matrix[0].double().numpy())[::-1, ::-1]  # scipy counts (y, x), from the corner
    centre = np.array([8.0, 14.0])
    moved = centre + shift[0].numpy()[::-1] * [17, 29]
    expected = ndimage.affine_transform(
        image[0, 0].numpy().astype(np.float64),
        inverse,
        centre - inverse @ moved,
        order=1,
        mode=mode,
        cval=fill if fill != "edge" else 0,
    )
    np.testing.assert_allclose(warped.numpy(), expected, atol=1e-4)


def test_warp_equals_opencv_on_what_a_rotation_matrix_means():
    image = cv2.GaussianBlur(np.random.default_rng(0).random((40, 60), np.float32), (0, 0), 3)
    degrees, scale = 20, 0.8
    matrix = cv2.getRotationMatrix2D((29.5, 19.5), -degrees, scale)  # OpenCV turns counter-clockwise
    expected = cv2.warpAffine(image, matrix, (60, 40))
    turn = math.radians(degrees)
    ours = scale * torch.tensor([[[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]])
    both = torch.stack([torch.from_numpy(image), torch.ones(40, 60)])[None]
    warped, inside = warp(both, ours, torch.zeros(1, 2), 0.0)[0].numpy()
    assert (inside == 1).mean() > 0.3
    # OpenCV counts 32nds of a pixel.
    np.testing.assert_allclose(warped[inside == 1], expected[inside == 1], atol=2e-3)


def test_affine_fills_its_ranges_evenly_and_keeps_to_them():
    scales, angles, shifts = [], [], []
    matrices, offsets = shown(Affine(0.1, [0.8, 1.25], 15), 200)
    for matrix, offset in zip(matrices, offsets, strict=True):
        forward = torch.linalg.inv(matrix)
        scales.append(torch.linalg.det(forward).sqrt())
        angles.append(torch.rad2deg(torch.atan2(forward[1, 0], forward[0, 0])))
        shifts.append(-(forward @ offset) / torch.tensor([96, 64]))
    for values, low, high in [
        (torch.stack(scales).log(), math.log(0.8), math.log(1.25)),
        (torch.stack(angles), -15, 15),
        (torch.stack(shifts)[:, 0], -0.1, 0.1),
        (torch.stack(shifts)[:, 1], -0.1, 0.1),
    ]:
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
        assert values.min() >= low - 1e-3 and values.max() <= high + 1e-3


def test_affine_turns_squares_into_squares_on_pictures_that_are_none():
    matrices, _ = shown(Affine(rotate=45), 8)
    torch.testing.assert_close(
        matrices @ matrices.mT, torch.eye(2).double().expand(8, 2, 2), rtol=0, atol=1e-3
    )


def test_shear_leans_columns_and_keeps_rows():
    matrices, _ = shown(Affine(shear=30), 100)
    angles = torch.rad2deg(torch.atan(-matrices[:, 0, 1]))
    torch.testing.assert_close(
        matrices[:, 1], torch.tensor([0.0, 1.0]).double().expand(100, 2), rtol=0, atol=1e-3
    )
    assert angles.abs().max() <= 30.1 and angles.min() < -25 and angles.max() > 25


def test_affine_reaches_its_share_of_the_images():
    images = pictures(400, 1, 8, 8)
    changed = ((Affine(0.2, p=0.3)(images, keys(400)) - images).abs() > 1e-4).flatten(1).any(1)
    assert abs(changed.float().mean() - 0.3) < 0.08


def test_resized_crops_keep_their_area_and_ratio_and_stay_inside():
    height, width = 64, 96
    matrices, offsets = shown(ResizedCrop([0.2, 0.5], [0.5, 1.5]), 200, height, width)
    w, h = matrices[:, 0, 0] * width, matrices[:, 1, 1] * height
    assert matrices[:, 0, 1].abs().max() < 1e-4 and matrices[:, 1, 0].abs().max() < 1e-4
    assert stats.kstest((w * h / (width * height)).numpy(), stats.uniform(0.2, 0.3).cdf).pvalue > 1e-3
    assert stats.kstest((w / h).log().numpy(), stats.uniform(math.log(0.5), math.log(3)).cdf).pvalue > 1e-3
    for size, offset, side in [(w, offsets[:, 0], width), (h, offsets[:, 1], height)]:
        place = ((offset - size / 2 + side / 2) / (side - size)).numpy()
        assert stats.kstest(place, stats.uniform().cdf).pvalue > 1e-3


def test_elastic_moves_points_smoothly_and_not_too_far():
    height, width = 64, 96
    moved = (
        Elastic(0.05, cells=4, fill="edge")(ramps(50, height, width), keys(50)) - ramps(50, height, width)
    )[:, :2]
    inside = moved[:, :, 8:-8, 12:-12]
    assert 0.04 < inside.abs().max() < 0.05 * 1.5  # bicubic interpolation overshoots
    for axis, side in (
        (-1, width),
        (-2, height),
    ):  # at most 2 amplitudes in a cell, and steeper in its middle
        assert inside.diff(dim=axis).abs().max() < 2 * 0.05 * 4 / side * 2
    assert abs(float(inside.mean())) < 0.003


@pytest.mark.parametrize(("view", "axis"), [(Flip(0.3), -1), (Flip(0.3, vertical=True), -2)])
def test_flip_mirrors_its_share(view, axis):
    images = pictures(500, 1, 3, 4)
    flipped = view(images, keys(500))
    mirrored = (flipped == images.flip(axis)).flatten(1).all(1)
    assert (mirrored ^ (flipped == images).flatten(1).all(1)).all()
    assert abs(mirrored.float().mean() - 0.3) < 0.08


def test_invert_is_one_minus_the_image_for_its_share():
    images = pictures(500, 1, 3, 4)
    inverted = Invert(0.3)(images, keys(500))
    swapped = (inverted == 1 - images).flatten(1).all(1)
    assert (swapped ^ (inverted == images).flatten(1).all(1)).all()
    assert abs(swapped.float().mean() - 0.3) < 0.08


def test_blur_equals_scipy():
    image = pictures(1, 3, 24, 24)
    sigma = 1.4
    expected = ndimage.gaussian_filter(image[0].numpy(), (0, sigma, sigma), mode="nearest", radius=(0, 5, 5))
    np.testing.assert_allclose(Blur([sigma, sigma], p=1.0)(image, keys(1))[0].numpy(), expected, atol=1e-5)


def test_blur_draws_its_sigma_evenly():
    """The height of a blurred line is 1 / (sigma sqrt(2 pi))."""
    line = torch.zeros(300, 1, 5, 41)
    line[:, :, :, 20] = 1
    peaks = Blur([1.0, 3.0], p=1.0)(line, keys(300))[:, 0, 2, 20]
    sigma = 1 / (peaks * math.sqrt(2 * math.pi))
    assert stats.kstest(sigma.numpy(), stats.uniform(1, 2).cdf).pvalue > 1e-3


def test_color_jitter_equals_the_steps_one_by_one():
    images = 0.3 + 0.2 * pictures(16)  # far from 0 and 1, where the order of clamping would matter
    b, c, s = (1 + 0.2 * (2 * uniform(keys(16), 4) - 1))[:, :3].T[:, :, None, None, None]
    luma = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
    expected = b * images
    mean = (expected * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    expected = mean + c * (expected - mean)
    grey = (expected * luma).sum(1, keepdim=True)
    expected = grey + s * (expected - grey)
    torch.testing.assert_close(ColorJitter(0.2, 0.2, 0.2)(images, keys(16)), expected, rtol=0, atol=1e-3)


def test_hue_turns_keep_brightness_and_grey_and_turn_colours():
    images = 0.4 + 0.1 * pictures(16)
    luma = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
    turned = ColorJitter(0, 0, 0, hue=0.5)(images, keys(16))
    torch.testing.assert_close((turned * luma).sum(1), (images * luma).sum(1), rtol=0, atol=1e-4)
    grey = images.mean(1, keepdim=True).expand_as(images)
    torch.testing.assert_close(ColorJitter(0, 0, 0, hue=0.5)(grey, keys(16)), grey, rtol=0, atol=1e-4)
    assert (turned - images).abs().amax((1, 2, 3)).max() > 0.05


def test_noise_has_the_drawn_deviation_in_each_image_and_is_white():
    noise = Noise([0.02, 0.1])(torch.full((100, 1, 40, 40), 0.5), keys(100))[:, 0] - 0.5
    sigma = noise.std((1, 2))
    assert stats.kstest(sigma.numpy(), stats.uniform(0.02, 0.08).cdf).pvalue > 1e-3
    white = noise / sigma[:, None, None]
    assert stats.kstest(white.flatten()[::7].numpy(), "norm").pvalue > 1e-3
    assert abs(float((white[:, :, 1:] * white[:, :, :-1]).mean())) < 0.01
    assert abs(float((white[1:] * white[:-1]).mean())) < 0.01


def test_erase_equals_a_loop():
    images, view = pictures(64, 3, 20, 28) * 0.9, Erase([0.1, 0.3], [0.5, 2.0], fill=1.0, p=0.6)
    area, ratio, left, top, applied = uniform(keys(64), 5).T.tolist()
    for i, (image, erased) in enumerate(zip(images, view(images, keys(64)), strict=True)):
        expected = image.clone()
        if applied[i] < 0.6:
            pixels = (0.1 + 0.2 * area[i]) * 20 * 28
            aspect = math.exp(math.log(0.5) + (math.log(2.0) - math.log(0.5)) * ratio[i])
            w, h = min(28, round(math.sqrt(pixels * aspect))), min(20, round(math.sqrt(pixels / aspect)))
            x, y = int(left[i] * (28 - w + 1)), int(top[i] * (20 - h + 1))
            for row in range(y, y + h):
                for column in range(x, x + w):
                    expected[:, row, column] = 1.0
        assert torch.equal(erased, expected)


@pytest.mark.parametrize("radius", [1, 2])
def test_stroke_width_equals_opencv(radius):
    images = pictures(2, 1, 24, 24)
    square = np.ones((2 * radius + 1,) * 2, np.uint8)
    for strength, operation in [(1.0, cv2.dilate), (-1.0, cv2.erode)]:
        changed = StrokeWidth(radius, [strength, strength])(images, keys(2))
        for image, result in zip(images, changed, strict=True):
            np.testing.assert_allclose(result[0].numpy(), operation(image[0].numpy(), square), atol=1e-6)


def test_stroke_width_blends_between_erosion_and_dilation():
    line = torch.zeros(300, 1, 9, 9)
    line[:, :, 4] = 1
    ink = (
        StrokeWidth(1, [-0.7, 0.7])(line, keys(300)).sum((1, 2, 3)) / 9
    )  # 1 + 2 s when thicker, 1 - |s| when thinner
    strength = torch.where(ink > 1, (ink - 1) / 2, ink - 1)
    assert stats.kstest(strength.numpy(), stats.uniform(-0.7, 1.4).cdf).pvalue > 1e-3


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_recipe_makes_counted_views(recipe, channels):
    parts = yaml.safe_load(recipe.read_text())["batch"]
    views = BatchViews({name: instantiate(part, _convert_="all") for name, part in parts.items()})
    images = pictures(8, channels)
    together = views(images, keys(8))
    alone = torch.cat([views(images[i : i + 1], keys(8)[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)
    assert torch.equal(together, images) == (not parts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Affine(shift=-0.1), "shift must be at least 0, got -0.1"),
        (lambda: Affine(scale=[1.2, 0.8]), r"scale must be two rising numbers, at least 0, got \[1.2, 0.8\]"),
        (lambda: Affine(scale=[0, 1]), "scale must be above 0"),
        (lambda: Affine(fill="egde"), "fill must be a value in .* or \"edge\", got 'egde'"),
        (lambda: Affine(p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: ResizedCrop([0.5, 1.5]), "scale must be above 0 and at most 1"),
        (lambda: Erase([0.0, 0.5]), "area must be above 0"),
        (lambda: Erase(fill=2), r"fill must be in \[0, 1\], got 2"),
        (lambda: StrokeWidth(0), "radius must be at least 1 pixel, got 0"),
        (lambda: StrokeWidth(strength=[-2, 0]), r"strength must be two rising numbers in \[-1, 1\]"),
        (lambda: Elastic(cells=0), "cells must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(PodiumError, match=message):
        make()
