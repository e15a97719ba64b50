"""Batches of pictures for several preprocessings."""

import cv2
import numpy as np
import pytest

from common.data.reading.images import fit_to, read
from common.data.reading.reader import batches

GREY = {"size": [8, 6], "channels": 1, "fit": "stretch", "pad_value": 0, "interpolation": "area"}
COLOUR = {**GREY, "size": [5, 5], "channels": 3, "fit": "crop"}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_every_picture_comes_once_for_each_preprocessing(tmp_path, batch_size):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (12, 15, 3), dtype=np.uint8))
    paths[2].write_bytes(b"broken")
    seen, faults = [], []
    for positions, images, errors in batches(paths, [GREY, COLOUR], batch_size):
        faults += [error.path for error in errors]
        seen += positions
        for row, position in enumerate(positions):
            for one, kind in zip(images, (GREY, COLOUR), strict=True):
                expected = fit_to(read(paths[position], kind["channels"]), kind)
                np.testing.assert_array_equal(one[row], expected)
    assert seen == [0, 1, 3, 4]
    assert faults == [str(paths[2])]  # named once, not once a preprocessing
