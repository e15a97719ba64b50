"""The order of training can be entered anywhere, and classes come as often as they should."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.sampler import AGAIN, SAMPLING, EpochBatches, drawn

ROWS = np.arange(100, 153)


def batches(epoch=0, done=0, batch_size=8, seed=1, rank=0, world_size=1):
    return list(EpochBatches(ROWS, batch_size, seed, lambda: (epoch, done), rank, world_size))


def test_an_epoch_holds_each_image_once_at_most_and_drops_the_rest_of_a_batch():
    found = [index for batch in batches() for _, index in batch]
    assert len(found) == len(set(found)) == 48
    assert set(found) <= set(ROWS.tolist())


def test_every_image_is_seen_over_the_epochs():
    assert {index for epoch in range(20) for batch in batches(epoch) for _, index in batch} == set(
        ROWS.tolist()
    )


@given(st.integers(0, 5), st.integers(0, 6))
def test_entering_an_epoch_late_gives_its_remaining_batches(epoch, done):
    assert batches(epoch, done) == batches(epoch)[done:]


def test_order_depends_on_seed_and_epoch():
    assert batches(0) != batches(1)
    assert batches(0, seed=1) != batches(0, seed=2)


def test_ranks_share_each_batch_without_overlap():
    whole = batches(batch_size=8)
    first, second = batches(batch_size=4, rank=0, world_size=2), batches(batch_size=4, rank=1, world_size=2)
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(batch) for batch in whole]


def test_fewer_images_than_a_batch_make_one_smaller_batch():
    assert [len(batch) for batch in batches(batch_size=64)] == [53]


LABELS = np.repeat([7, 2, 0, 5], [30, 15, 6, 2])  # a long tail; classes 1, 3, 4 and 6 have no image


def drawn_batches(power, epoch=0, done=0, **options):
    position = lambda: (epoch, done)  # noqa: E731
    return list(EpochBatches(ROWS, 8, 1, position, labels=LABELS, power=power, **options))


@pytest.mark.parametrize("power", SAMPLING.values())
def test_classes_and_their_images_come_as_often_as_they_should(power):
    images = Counter(LABELS.tolist())
    shares = {label: count**power for label, count in images.items()}
    for epoch in range(5):
        places = drawn(LABELS, power, np.random.default_rng(epoch))
        assert len(places) == len(LABELS)
        of_class = Counter(LABELS[places].tolist())
        times = Counter(places.tolist())
        for label in images:
            expected = shares[label] / sum(shares.values()) * len(LABELS)
            assert abs(of_class[label] - expected) < 1
            of_its_images = [times[place] for place in np.flatnonzero(label == LABELS).tolist()]
            assert max(of_its_images) - min(of_its_images) <= 1


def test_shares_come_true_on_average_and_order_is_mixed():
    of_rarest = []
    for seed in range(400):
        places = drawn(LABELS, 0.5, np.random.default_rng(seed))
        of_rarest.append(int((LABELS[places] == 5).sum()))
        assert (np.diff(LABELS[places]) != 0).sum() > 5  # not class after class
    roots = np.sqrt([30, 15, 6, 2])
    assert np.mean(of_rarest) == pytest.approx(roots[3] / roots.sum() * 53, abs=0.1)


def test_natural_power_draws_each_image_once():
    assert sorted(drawn(LABELS, 1.0, np.random.default_rng(0)).tolist()) == list(range(53))


@given(st.integers(0, 5), st.integers(0, 6))
def test_a_drawn_epoch_keeps_its_length_and_can_be_entered_late(epoch, done):
    assert drawn_batches(0.0, epoch, done) == drawn_batches(0.0, epoch)[done:]
    assert len(drawn_batches(0.0, epoch)) == len(batches(epoch))


def test_ranks_share_a_drawn_batch():
    whole = drawn_batches(0.0)
    position = lambda: (0, 0)  # noqa: E731
    halves = [list(EpochBatches(ROWS, 4, 1, position, rank, 2, LABELS, 0.0)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(batch) for batch in whole]


def test_an_image_drawn_again_comes_as_another_epoch():
    pairs = [pair for batch in drawn_batches(0.0, epoch=3) for pair in batch]
    assert len(set(pairs)) == len(pairs) == 48
    assert {epoch % AGAIN for epoch, _ in pairs} == {3} and max(epoch for epoch, _ in pairs) > AGAIN


def test_a_row_that_stands_there_twice_comes_with_another_view():
    rows = np.repeat(ROWS, np.arange(len(ROWS)) % 3 + 1)
    found = [pair for batch in EpochBatches(rows, 1, 1, lambda: (4, 0)) for pair in batch]
    assert len(set(found)) == len(found) == len(rows)
    for row, times in zip(ROWS.tolist(), np.arange(len(ROWS)) % 3 + 1, strict=True):
        assert [epoch for epoch, index in found if index == row] == [4 + n * AGAIN for n in range(times)]
