"""Comparisons see what differs, and only that."""

import numpy as np
import pytest

from common.deliver.compare import TIE, TOLERANCE, gain, in_batches, parity, speeds


def random_probabilities(count: int = 6, classes: int = 5) -> np.ndarray:
    raw = np.random.default_rng(0).random((count, classes)).astype(np.float32)
    return raw / raw.sum(axis=1, keepdims=True)


def test_equal_probabilities_are_equal_and_a_difference_is_measured():
    rows = random_probabilities()
    assert parity(rows, rows).equal and parity(rows, rows).agreement == 1
    moved = rows.copy()
    moved[3, 1] += 2 * TOLERANCE
    found = parity(rows, moved)
    assert not found.equal and found.largest == pytest.approx(2 * TOLERANCE, rel=1e-2)


def test_a_class_that_is_best_by_mistake_is_seen_where_all_probabilities_are_tiny():
    """50,000 classes: no probability differs by TOLERANCE, and yet the answer is another."""
    rows = np.full((2, 50_000), 2e-5, np.float32)
    rows[:, 7] *= 1.5
    wrong = rows[:, ::-1].copy()
    found = parity(rows, wrong)
    assert found.largest < TOLERANCE and not found.equal and found.agreement == 0


def test_a_tie_may_be_broken_otherwise():
    rows = np.array([[0.4, 0.4 * (1 - TIE / 10), 0.2]], np.float32)
    other = rows[:, [1, 0, 2]]
    found = parity(rows, other)
    assert found.equal and found.agreement == 0


@pytest.mark.parametrize("wrong", [np.full((6, 5), np.nan, np.float32), np.zeros((6, 4), np.float32)])
def test_what_is_no_number_or_of_another_shape_is_not_equal(wrong):
    assert not parity(random_probabilities(), wrong).equal


def test_batches_are_all_pictures_in_order():
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    sizes = []

    def predict(batch):
        sizes.append(len(batch))
        return batch.reshape(-1, 1).astype(np.float32)

    assert in_batches(predict, images, 3)[:, 0].tolist() == list(range(7)) and sizes == [3, 3, 1]


def test_speeds_are_those_of_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def takes(milliseconds):
        def predict(images):
            now[0] += milliseconds * len(images) / 1000

        return predict

    images = np.zeros((2, 1, 1, 1), np.uint8)
    found = speeds({"slow": takes(2), "fast": takes(1)}, images, seconds=0.2, batch_size=4)
    slow, fast = found["slow"], found["fast"]
    assert (slow.milliseconds, slow.images_per_second) == pytest.approx((2, 500))
    assert (fast.milliseconds, fast.images_per_second) == pytest.approx((1, 1000))
    assert gain(slow.single, fast.single) == pytest.approx((2, 2, 2))


def test_other_work_does_not_turn_a_verdict():
    """Machines that are slow for some rounds, nine of them: a form 1.2 times as fast stays so, an equal one unsure."""
    rng = np.random.default_rng(0)
    surely = {1.0: 0, 1.2: 0}
    for _ in range(500):
        for times in surely:
            slow = 1 + 0.02 * rng.standard_normal(9)
            fast = (1 + 0.02 * rng.standard_normal(9)) / times
            busy = rng.integers(9)  # other work falls into one round, on either of the two
            (slow if rng.random() < 0.5 else fast)[busy] *= 5
            surely[times] += gain(slow.tolist(), fast.tolist())[1] > 1
    assert surely[1.2] == 500 and surely[1.0] < 0.06 * 500
