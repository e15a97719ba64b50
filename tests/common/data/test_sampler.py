"""The order of training can be entered anywhere."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.data.sampler import EpochBatches

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
