"""Crops at fixed places and pyramids of sizes, against loops over windows, and what they cost."""

import pytest
import torch
from torch.nn import functional as F

from common.callbacks.tta import TTA, Mirrored, Pyramid, RandomCrops, Raw
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from tests import toys
from tests.toys import random_images

RESNET = {"_target_": "common.model.networks.backbones.timm_model", "name": "test_resnet"}


def classifier(model=RESNET, size: int = 32) -> ImageClassifier:
    return toys.classifier(model, size).eval()


def test_each_crop_is_a_window_of_the_picture_and_the_windows_differ():
    images = torch.arange(16 * 24).view(1, 1, 16, 24) / 384.0
    seen = set()
    for crop in RandomCrops(count=10, share=0.75)(images):
        assert crop.shape == images.shape
        windows = {
            (y, x): F.interpolate(images[..., y : y + 12, x : x + 18], size=(16, 24), mode="bilinear")
            for y in range(5)
            for x in range(7)
        }
        (place,) = [place for place, window in windows.items() if torch.equal(window, crop)]
        seen.add(place)
    assert len(seen) >= 6


def test_crops_are_the_same_each_time_for_any_batch_and_other_by_seed():
    images = random_images(3, size=20)
    first, again = list(RandomCrops(4)(images)), list(RandomCrops(4)(images[1:2]))
    assert all(torch.equal(one[1:2], other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], next(RandomCrops(4, seed=1)(images)))
    assert all(torch.equal(crop, images) for crop in RandomCrops(2, share=1.0)(images))


def test_a_pyramid_is_the_picture_at_each_size():
    images = random_images(2, size=20)
    half, whole, larger = Pyramid([0.5, 1.0, 1.5])(images)
    torch.testing.assert_close(half, F.avg_pool2d(images, 2))  # bilinear at half the size: 2 x 2 pixels each
    assert whole is images and larger.shape == (2, 1, 30, 30)


def test_prediction_is_the_mean_of_all_views_each_counting_once():
    module, images = classifier(), random_images(2, size=32)
    views = {"raw": Raw(), "crops": RandomCrops(3), "pyramid": Pyramid([1.0, 1.5])}
    with torch.no_grad():
        each = [images, *RandomCrops(3)(images), *Pyramid([1.0, 1.5])(images)]
        expected = sum(module(view).softmax(1) for view in each) / 6
        module.compose([TTA(views)])
        torch.testing.assert_close(module.predict_step({"image": images}, 0), expected)


def test_cost_is_what_the_passes_take_beside_one_plain_one():
    """A convolution's arithmetic goes with its output pixels: counted at a side that all scales divide."""
    views = {
        "raw": Raw(),
        "mirrored": Mirrored(),
        "crops": RandomCrops(10),
        "pyramid": Pyramid([0.5, 1.0, 1.5]),
    }
    images, pixels = torch.zeros(1, 1, 40, 40), 0
    for view in views.values():
        found = view(images)
        pixels += sum(one[0, 0].numel() for one in ([found] if isinstance(found, torch.Tensor) else found))
    assert TTA(views).cost == pytest.approx(pixels / 1600) == pytest.approx(2 + 10 + 0.25 + 1 + 2.25)


def test_a_size_that_the_network_does_not_take_is_named_before_training():
    module = classifier({"_target_": "tests.toys.TwoLevels"})  # a linear map of all pixels
    TTA({"crops": RandomCrops(2)}).before_predicting(module)
    with pytest.raises(
        PodiumError, match=r"callbacks.tta.views.sizes: .* images of 16x16, it was built for 32x32"
    ):
        TTA({"sizes": Pyramid([1.0, 0.5])}).setup(None, module, "fit")
    TTA({"sizes": Pyramid([1.0, 0.5])}).before_predicting(classifier())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrops(0), "count must be at least 1, got 0"),
        (lambda: RandomCrops(share=1.1), r"share must be in \(0, 1\], got 1.1"),
        (lambda: Pyramid([]), r"scales must be positive numbers, at least one, got \[\]"),
        (lambda: Pyramid([1.0, 0.0]), r"scales must be positive numbers"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(PodiumError, match=message):
        make()
