"""How many pictures are read at a time."""

from common.data.reading.reader import bounded


def test_large_pictures_are_fewer_at_a_time():
    small, large = {"size": [64, 64], "channels": 3}, {"size": [4096, 4096], "channels": 3}
    assert bounded(128, [small]) == 128
    assert bounded(128, [large]) == 5
    assert bounded(128, [large, large]) == 2
    assert bounded(128, [large] * 9) == 1
