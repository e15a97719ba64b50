"""Pictures within larger files are read, prepared and predicted like any others."""

import numpy as np
import pytest

from common.data.reading.images import ImageError, fit_to, needed, read
from common.data.reading.raw import Raw
from common.data.reading.reader import batches

PREPROCESSING = {"size": [4, 4], "channels": 1, "fit": "stretch", "pad_value": 0, "interpolation": "area"}


class Threshold:
    """A picture part: 255 above `level`, else 0."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __call__(self, image):
        return np.where(image > self.level, 255, 0).astype(np.uint8)


@pytest.fixture
def held(tmp_path):
    """A file of 7 other bytes, then two pictures; their paths, and their pixels."""
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, shape, np.uint8) for shape in [(3, 5), (8, 2)]]
    path = tmp_path / "of #1 all.bin"
    path.write_bytes(bytes(7) + b"".join(image.tobytes() for image in pixels))
    return [str(Raw(str(path), 7, 3, 5)), str(Raw(str(path), 22, 8, 2))], pixels


def test_a_path_names_pixels_within_a_file(held):
    for path, image in zip(*held, strict=True):
        assert str(Raw.parse(path)) == path
        np.testing.assert_array_equal(read(path, 1)[:, :, 0], image)
        np.testing.assert_array_equal(read(path, 3), np.stack([image] * 3, axis=2))


@pytest.mark.parametrize("path", ["a.png", "a#1.png", "a#1,2", "a.gnt#1,2x3/b.png", "#1,2x3", "a.gnt#-1,2x3"])
def test_other_paths_name_files(path):
    assert Raw.parse(path) is None


def test_what_is_not_there_is_an_error_with_the_path(held):
    path = held[0][1]
    for wrong, reason in [
        (path.replace("8x2", "9x2"), "the file ends before"),
        (f"gone{path}", "No such file"),
    ]:
        with pytest.raises(ImageError, match=reason) as caught:
            read(wrong, 1)
        assert caught.value.path == wrong


def test_they_are_predicted_like_files(held):
    ((positions, (images,), bad),) = batches([*held[0], "gone.png"], [PREPROCESSING], 8)
    assert positions == [0, 1] and [error.path for error in bad] == ["gone.png"]
    for image, pixels in zip(images, held[1], strict=True):
        np.testing.assert_array_equal(image, fit_to(pixels[:, :, None], PREPROCESSING))


def test_a_picture_part_comes_before_the_fit():
    image = np.random.default_rng(0).integers(0, 256, (9, 6, 1), np.uint8)
    part = {"picture": {"_target_": "tests.common.data.reading.test_raw.Threshold", "level": 99}}
    found = fit_to(image, PREPROCESSING | part)
    np.testing.assert_array_equal(found, fit_to(Threshold(99)(image), PREPROCESSING))
    assert needed(PREPROCESSING) == (4, 4) and needed(PREPROCESSING | part) is None
