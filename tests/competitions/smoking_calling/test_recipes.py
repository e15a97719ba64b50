"""The recipes: those of the original are its numbers, and its views run on photographs."""

import cv2
import numpy as np
import pytest

from common.config.check import check
from common.config.compose import compose
from common.data.augmentation.image_views import ImageViews
from common.run.components import make_callbacks
from tests.competitions.smoking_calling.pictures import random_picture


@pytest.fixture(scope="module")
def original():
    config = compose(["experiment=smoking_calling_original"])
    check(config)
    return config


def test_the_original_has_the_numbers_of_the_contest_entry(original):
    assert (original.model.name, original.model.advprop) == ("efficientnet-b4", True)
    optimizer = original.optimizer
    assert optimizer._target_ == "pytorch_optimizer.Ranger" and optimizer.use_gc
    assert (optimizer.lr, list(optimizer.betas), optimizer.eps) == (2e-4, [0.95, 0.999], 1e-5)
    assert (optimizer.k, optimizer.alpha, optimizer.weight_decay) == (6, 0.5, 0)
    assert (original.schedule.first, original.schedule.multiply) == (10, 2)
    trainer = original.trainer
    assert (trainer.max_epochs, trainer.gradient_clip_val, trainer.gradient_clip_algorithm) == (
        35,
        1,
        "value",
    )
    assert (original.data.batch_size, list(original.data.size)) == (3, [600, 600])
    teacher, student = original.stages.teacher, original.stages.student
    assert teacher.folds == student.folds == 5 and student.soft_labels_from == "teacher"
    assert not teacher.recipe["data"]["pasted"] and original.data.pasted and "data" not in student.recipe
    soft = student.recipe["callbacks"]["soft_labels"]
    assert (soft["hard_weight"], soft["smoothing"]) == (0.6, 0.1)
    stopping = original.callbacks.early_stopping
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("valid_map", "max", 26)


@pytest.mark.parametrize("size", [(40, 30), (300, 900)])
def test_the_originals_views_are_square_and_draw_from_the_key_alone(original, size):
    views = ImageViews(list(original.views.image))
    picture = random_picture(*size, 0)
    forward = [views(picture, key) for key in range(8)]
    backward = [views(picture, key) for key in reversed(range(8))][::-1]
    assert all(view.shape == (600, 600, 3) for view in forward)
    np.testing.assert_array_equal(forward, backward)
    assert len({view.tobytes() for view in forward}) == 8


def test_the_recipe_for_few_cores_fits_the_code_and_freezes_what_the_network_has():
    import timm

    config = compose(["experiment=smoking_calling_cpu"])
    check(config)
    make_callbacks({"callbacks": {name: part for name, part in config.callbacks.items() if part}})
    parts = dict(timm.create_model(config.model.name).named_modules())
    assert set(config.callbacks.freeze.modules) <= set(parts) and config.model.pretrained == "pip"


def test_the_originals_colours_are_shifted_as_far_as_albumentations_shifts_them(original):
    """HueSaturationValue(10, 10, 10): of OpenCV's hue in 0..179, and of saturation and value in 0..255."""
    (among,) = (step["Sometimes"]["then"][0]["OneOf"]["children"] for step in original.views.image[3:4])
    view = ImageViews([step for step in among if "Sequential" in step])
    plain = np.full((32, 32, 3), (90, 110, 150), np.uint8)
    before = cv2.cvtColor(plain, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    shifts = np.array(
        [cv2.cvtColor(view(plain, key), cv2.COLOR_RGB2HSV)[0, 0] - before for key in range(600)]
    )
    rounding = np.array([1, 3, 1])  # of colours in whole numbers, twice
    assert (np.abs(shifts.max(axis=0) - 10) <= rounding).all(), shifts.max(axis=0)
    assert (np.abs(shifts.min(axis=0) + 10) <= rounding).all(), shifts.min(axis=0)
    assert (np.abs(np.corrcoef(shifts.T)[np.triu_indices(3, 1)]) < 0.2).all()  # drawn each by itself
