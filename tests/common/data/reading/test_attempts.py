"""Work that is handed out in chunks comes back as if it had been done one by one."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from common.data.reading import attempts
from common.data.reading.attempts import LARGEST_CHUNK, results, submit
from common.data.reading.images import ImageError


def halved(number):
    if number % 2:
        raise ImageError(str(number), "is odd")
    return number // 2


@pytest.mark.parametrize("count", [0, 1, 7, 64, 1000])
def test_each_source_has_its_result_or_its_error_in_order(count):
    with ThreadPoolExecutor(2) as pool:
        found = results(submit(pool, halved, range(count)))
    assert [one.path if isinstance(one, ImageError) else one for one in found] == [
        str(number) if number % 2 else number // 2 for number in range(count)
    ]


def test_small_work_is_handed_out_in_chunks_and_few_sources_go_to_all_threads(monkeypatch):
    monkeypatch.setattr(attempts, "THREADS", 2)
    with ThreadPoolExecutor(2) as pool:
        assert len(submit(pool, halved, range(100 * LARGEST_CHUNK))) == 100
        assert len(submit(pool, halved, range(8))) == 8


def test_other_errors_are_raised():
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        results(submit(pool, lambda number: 1 // number, [1, 0]))


def test_opencv_starts_no_threads_of_its_own():
    assert cv2.getNumThreads() == 1
