import multiprocessing
import pickle
import zlib
from collections import Counter
from pathlib import Path

import cv2
import imgaug.augmenters as iaa
import numpy as np
import pytest
import yaml

from common.data.augmentation.image_views import ImageViews
from common.data.augmentation.randomness import view_key
from common.errors import PodiumError

RECIPES = sorted((Path(__file__).parents[4] / "conf" / "views").glob("*.yaml"))

# What the recipes of the five competitions are made of, beyond the files in conf/views.
STEPS = [
    {"Crop": {"percent": [0, 0.06]}},
    {"Affine": {"rotate": [-15, 15], "translate_percent": [-0.1, 0.1], "scale": [0.9, 1.1]}},
    {"PadToSquare": {"pad_mode": {"choice": ["wrap", "constant"]}, "position": "center"}},
    {"Fliplr": 0.5},
    {"Multiply": [0.9, 1.1]},
    {"Add": [-20, 20]},
    {"LinearContrast": [0.9, 1.1]},
    {"GammaContrast": [0.5, 1.5]},
    {"MotionBlur": {"k": 5}},
    {"MedianBlur": {"k": [3, 5]}},
    {"GaussianBlur": [0.0, 2.0]},
    {"AdditiveGaussianNoise": {"scale": [3, 7]}},
    {"ElasticTransformation": {"alpha": [0, 5], "sigma": 1}},
    {"PiecewiseAffine": {"scale": [0.01, 0.05]}},
    {"PerspectiveTransform": {"scale": [0.01, 0.1]}},
    {"Cutout": {"nb_iterations": [1, 3]}},
    {"CoarseDropout": {"p": 0.1, "size_percent": [0.1, 0.3]}},
    {
        "SomeOf": {
            "n": [1, 2],
            "children": ["Fliplr", {"Add": [5, 30]}, {"Rot90": [0, 3]}],
            "random_order": True,
        }
    },
    {"Sometimes": {"p": 0.5, "then": [{"Invert": 1.0}], "else": [{"Add": 9}]}},
    {"OneOf": {"children": [{"Rot90": 1}, {"Invert": 1.0}], "weights": [0.3, 0.7]}},
    {"ResizedCrop": {"size": 20}},
    {"BlendAlpha": {"factor": [0.2, 0.8], "foreground": [{"Rot90": 1}]}},
]
COLOR_STEPS = [
    {"AddToHueAndSaturation": [-10, 10]},
    {"Grayscale": {"alpha": [0.0, 1.0]}},
    {"WithChannels": {"channels": 0, "children": [{"Add": [10, 50]}]}},
    {"KMeansColorQuantization": {"n_colors": [2, 5]}},
    {"MultiplyAndAddToBrightness": {"mul": [0.7, 1.3], "add": [-30, 30]}},  # made of augmenters of its own
    {"RandAugment": {"n": 2, "m": 9}},
    {"Rain": {}},
]


def picture(channels: int = 1, height: int = 40, width: int = 30) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (8, 6, channels), np.uint8)
    return cv2.resize(noise, (width, height)).reshape(height, width, channels)


def assert_counted(views: ImageViews, image: np.ndarray) -> list[np.ndarray]:
    """The views of 20 keys: they must depend on the key alone, whatever was drawn before; the image stays."""
    before = image.copy()
    forward = [views(image, key) for key in range(20)]
    backward = [views(image, key) for key in reversed(range(20))][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.uint8 and one.ndim == 3 and one.shape[2] == image.shape[2]
    np.testing.assert_array_equal(image, before)
    return forward


@pytest.mark.parametrize("step", STEPS + COLOR_STEPS, ids=lambda step: next(iter(step)))
def test_every_augmenter_draws_from_the_key_alone(step):
    views = assert_counted(ImageViews([step]), picture(channels=3))
    if step in STEPS:
        assert_counted(ImageViews([step]), picture(channels=1))
    assert len({view.tobytes() for view in views}) > 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs_and_draws_from_the_key_alone(recipe):
    steps = yaml.safe_load(recipe.read_text())["image"]
    views = assert_counted(ImageViews(steps), picture())
    different = len({view.tobytes() for view in views})
    assert 15 <= different <= 20 if steps else different == 1  # some leave a picture in four as it is


def worker(views: ImageViews, seed: int, epoch: int, indices: list[int]) -> list[int]:
    """Checksums of the views of one picture: as fine as their random numbers."""
    return [zlib.crc32(views(picture(), view_key(seed, epoch, index)).tobytes()) for index in indices]


def test_four_workers_repeat_nothing_in_two_epochs_and_everything_in_two_runs():
    views = ImageViews([{"Affine": {"rotate": [-180, 180], "scale": [0.5, 2.0]}}])

    def run(seed: int, workers: int) -> list[int]:
        jobs = [
            (views, seed, epoch, list(range(start, 40, workers)))
            for epoch in (0, 1)
            for start in range(workers)
        ]
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            parts = pool.starmap(worker, jobs, chunksize=1)
        ordered = {}
        for (_, _, epoch, indices), views_of in zip(jobs, parts, strict=True):
            ordered.update({(epoch, index): view for index, view in zip(indices, views_of, strict=True)})
        return [ordered[key] for key in sorted(ordered)]

    first = run(seed=1, workers=4)
    assert len(set(first)) == len(first) == 80
    assert run(seed=1, workers=3) == first
    assert not set(run(seed=2, workers=4)) & set(first)


def test_a_pickled_copy_makes_the_same_views():
    views = ImageViews(STEPS[1:6])
    copy = pickle.loads(pickle.dumps(views))
    for key in range(10):
        np.testing.assert_array_equal(copy(picture(), key), views(picture(), key))


def test_imgaug_itself_given_the_same_generator_makes_the_same_view():
    """Steps are imgaug's augmenters with these arguments, not something like them."""
    views = ImageViews(
        [{"Affine": {"rotate": 17, "scale": 1.2}}, {"Invert": {"p": 1.0}}, {"GaussianBlur": {"sigma": 1.5}}]
    )
    plain = iaa.Sequential([iaa.Affine(rotate=17, scale=1.2), iaa.Invert(1.0), iaa.GaussianBlur(1.5)])
    np.testing.assert_array_equal(views(picture(), 5), plain(image=picture()))


def test_a_list_is_a_range_and_a_choice_one_of_its_values():
    flat = np.full((2, 2, 1), 100, np.uint8)
    ranged = {int(ImageViews([{"Add": [0, 9]}])(flat, key)[0, 0, 0]) - 100 for key in range(200)}
    chosen = {int(ImageViews([{"Add": {"choice": [0, 9]}}])(flat, key)[0, 0, 0]) - 100 for key in range(200)}
    assert ranged == set(range(10)) and chosen == {0, 9}


def test_probabilities_and_weights_are_kept():
    flat = np.zeros((2, 2, 1), np.uint8)
    weighted = ImageViews(
        [{"OneOf": {"children": [{"Add": 1}, {"Add": 2}, {"Add": 3}], "weights": [0.5, 0.2, 0.3]}}]
    )
    counts = Counter(int(weighted(flat, view_key(0, 0, i))[0, 0, 0]) for i in range(1000))
    assert all(abs(counts[value] - 1000 * p) < 60 for value, p in [(1, 0.5), (2, 0.2), (3, 0.3)])
    sometimes = ImageViews([{"Sometimes": {"p": 0.3, "then": [{"Add": 1}]}}])
    assert abs(sum(int(sometimes(flat, view_key(0, 0, i))[0, 0, 0]) for i in range(1000)) - 300) < 60


def test_resized_crops_keep_their_share_and_ratio():
    """Ramps along both axes: the range of values in a crop tells which part it shows."""
    height, width = 200, 240
    ramps = np.zeros((height, width, 3), np.uint8)
    ramps[:, :, 0], ramps[:, :, 1] = np.arange(width), np.arange(height)[:, None]
    views = ImageViews([{"ResizedCrop": {"size": [240, 480], "scale": [0.2, 0.6], "ratio": [0.5, 1.5]}}])
    shares, ratios, lefts = [], [], []
    for index in range(300):
        view = views(ramps, view_key(0, 0, index)).astype(int)
        assert view.shape == (240, 480, 3)
        shown_width, shown_height = np.ptp(view[:, :, 0]) + 1, np.ptp(view[:, :, 1]) + 1
        shares.append(shown_width * shown_height / (height * width))
        ratios.append(shown_width / shown_height)
        lefts.append(view[:, :, 0].min() / max(1, width - shown_width))
    assert 0.19 < min(shares) < 0.25 and 0.55 < max(shares) < 0.61
    assert 0.48 < min(ratios) < 0.6 and 1.35 < max(ratios) < 1.53
    assert min(lefts) < 0.05 and max(lefts) > 0.95


def test_a_resized_crop_of_a_narrow_picture_is_the_largest_part_in_the_middle():
    views = ImageViews([{"ResizedCrop": {"size": 10, "scale": [0.9, 1.0], "ratio": [1.0, 1.0]}}])
    narrow = np.arange(100, dtype=np.uint8).reshape(100, 1, 1).repeat(10, 1)
    np.testing.assert_array_equal(views(narrow, 3)[:, 0, 0], np.arange(45, 55))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [{"GausianBlur": {}}],
            r"image\[0\]: no augmenter is called 'GausianBlur'. Did you mean GaussianBlur",
        ),
        (["Fliplr", {"GaussianBlur": {"sigm": 1}}], r"image\[1\].GaussianBlur has no argument 'sigm'.*sigma"),
        ([{"Sometimes": {"p": 0.5, "then": ["Inverr"]}}], r"image\[0\].Sometimes.then\[0\].*Invert"),
        ([{"Fliplr": {"q": 1}}], r"Fliplr has no argument 'q'. It takes: p"),
        ([{"GaussianBlur": {"sigma": "x"}}], r"GaussianBlur refuses {'sigma': 'x'}"),
        ([{"OneOf": {"children": ["Fliplr"], "weights": [1, 2]}}], "weights must be 1 numbers"),
        ([{"Fliplr": 0.5, "Flipud": 0.5}], r"image\[0\] must be one `Name: {argument: value}`"),
        ({"Fliplr": 0.5}, "views.image must be a list of steps"),
    ],
)
def test_a_wrong_step_is_named_with_the_nearest_right_one(steps, message):
    with pytest.raises(PodiumError, match=message):
        ImageViews(steps)


def test_a_picture_that_an_augmenter_cannot_take_is_named():
    with pytest.raises(PodiumError, match=r"shape \(40, 30, 1\)"):
        ImageViews([{"AddToHueAndSaturation": [-10, 10]}])(picture(channels=1), 0)
