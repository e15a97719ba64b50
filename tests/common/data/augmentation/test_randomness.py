import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.data.augmentation.randomness import (
    _mix,
    _mix_tensor,
    derive,
    normal,
    numpy_generator,
    reseed,
    uniform,
    view_key,
)

int64 = st.integers(-(2**63), 2**63 - 1)
KEYS = view_key(0, 0, torch.arange(4096))


def test_the_hash_is_splitmix64():
    """The first numbers of the reference splitmix64 (Vigna, prng.di.unimi.it) from the state 1234567."""
    state, numbers = 1234567, []
    for _ in range(5):
        numbers.append(_mix(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert numbers == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(int64)
def test_tensors_arrays_and_ints_hash_alike(x):
    expected = _mix(x % 2**64)
    assert _mix_tensor(torch.tensor([x])).item() % 2**64 == expected
    assert _mix(np.array([x % 2**64], np.uint64))[0] == expected


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_view_keys_of_tensors_arrays_and_ints_agree(seed, epoch, indices):
    keys = [view_key(seed, epoch, index) for index in indices]
    assert all(isinstance(key, int) and 0 <= key < 2**63 for key in keys)
    assert view_key(seed, epoch, np.array(indices)).tolist() == keys
    assert view_key(seed, epoch, torch.tensor(indices)).tolist() == keys


def test_a_million_views_have_a_million_keys():
    keys = np.concatenate(
        [view_key(seed, epoch, np.arange(100_000)) for seed in (0, 1) for epoch in range(5)]
    )
    assert len(np.unique(keys)) == len(keys) == 1_000_000


def test_uniform_numbers_are_uniform():
    drawn = uniform(KEYS, 50)
    assert drawn.dtype == torch.float32 and drawn.min() >= 0 and drawn.max() < 1
    for numbers in (drawn.flatten(), drawn[:, 0], drawn[0:80].flatten()):
        counts = np.histogram(numbers.numpy(), bins=20, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3


def test_numbers_salts_keys_epochs_and_names_are_independent():
    drawn = [uniform(KEYS, 4, salt).T for salt in (0, 1, 2)]
    drawn += [uniform(KEYS.roll(1), 1).T, uniform(view_key(0, 1, torch.arange(4096)), 1).T]
    drawn += [uniform(derive(KEYS, name), 1).T for name in ("affine", "affine2")]
    drawn = torch.cat(drawn)
    correlation = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert correlation.abs().max() < 5 / 4096**0.5


def test_pairs_of_numbers_fill_the_square_evenly():
    first, second = uniform(KEYS, 2).T.numpy()
    counts = np.histogram2d(first, second, bins=8, range=[(0, 1)] * 2)[0]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_more_numbers_do_not_change_the_first_ones():
    assert torch.equal(uniform(KEYS, 3), uniform(KEYS, 7)[:, :3])


def test_normal_numbers_are_normal_and_independent():
    drawn = normal(KEYS, 5)
    assert drawn.shape == (4096, 5)
    for column in drawn.T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
    assert (torch.corrcoef(drawn.T) - torch.eye(5)).abs().max() < 5 / 4096**0.5


def test_a_reseeded_generator_continues_like_a_new_one():
    used = numpy_generator(3)
    used.integers(100, size=3, dtype=np.int32)  # leaves half a word behind
    reseed(used, 7, salt=2)
    assert (
        used.integers(2**31, size=5).tolist() == numpy_generator(7, salt=2).integers(2**31, size=5).tolist()
    )


def test_numpy_generators_of_neighbouring_keys_and_salts_differ():
    words = [int(numpy_generator(key).integers(2**31, dtype=np.int32)) for key in range(100)]
    assert len(set(words)) == 100
    drawn = np.array([numpy_generator(key, salt).random(3) for key in range(1000) for salt in (0, 1)])
    assert len(np.unique(drawn)) == drawn.size
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    first = drawn[:, 0].reshape(1000, 2)
    assert abs(np.corrcoef(first.T)[0, 1]) < 5 / 1000**0.5
