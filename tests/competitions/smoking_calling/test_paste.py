"""Pasting: what may be in front and behind, where it is laid, and what is left of both."""

import numpy as np
import pandas as pd
import pytest

from competitions.smoking_calling.paste import backgrounds, foregrounds, paste
from tests.competitions.smoking_calling.pictures import random_picture


def test_sizes_decide_who_is_in_front_and_who_behind():
    sizes = {"tall": (549, 200), "too high": (550, 200), "twice": (400, 200), "just": (401, 200), "exact": (600, 600),
             "narrow": (600, 100), "wide": (600, 601), "lower": (599, 400)}  # fmt: skip
    table = pd.DataFrame([(name, *size) for name, size in sizes.items()], columns=["id", "height", "width"])
    assert foregrounds(table).tolist() == ["tall", "just"]
    assert backgrounds(table).tolist() == ["exact", "narrow"]


@pytest.mark.parametrize(("back_width", "front_size"), [(600, (300, 120)), (301, (549, 270)), (120, (5, 2))])
def test_the_front_is_whole_and_opaque_near_the_middle_and_the_rest_repeats_the_back(back_width, front_size):
    front, back = np.full((*front_size, 3), 255, np.uint8), random_picture(600, back_width, 0) // 2
    places = set()
    for seed in range(12):
        page = paste(front, back, np.random.default_rng(seed))
        assert page.shape == (600, 600, 3)
        rows, columns = np.nonzero((page == 255).all(axis=2))
        top, left = rows.min(), columns.min()
        assert len(rows) == front_size[0] * front_size[1] == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert abs(top - (600 - front_size[0]) // 2) <= 20 and abs(left - (600 - front_size[1]) // 2) <= 20
        places.add((top, left))
        columns = (np.arange(600) - (600 - back_width) // 2) % back_width
        expected = back[:, columns]
        expected[top : top + front_size[0], left : left + front_size[1]] = 255
        np.testing.assert_array_equal(page, expected)
    assert len(places) > 10
