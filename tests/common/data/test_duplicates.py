import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from common.data.duplicates import _hash, _thumbnail, joined, near_duplicate_groups, pairs
from common.data.images import fit


def all_pairs(hashes: np.ndarray, max_distance: int) -> set[tuple[int, int]]:
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= max_distance
    return {(i, j) for i, j in np.argwhere(near).tolist() if i < j}


def components(count: int, edges: set[tuple[int, int]]) -> list[int]:
    """By relabelling until nothing changes."""
    label = list(range(count))
    for _ in range(count):
        for i, j in edges:
            label[i] = label[j] = min(label[i], label[j])
    seen: dict[int, int] = {}
    return [seen.setdefault(one, len(seen)) for one in label]


def clustered(count: int, seed: int) -> np.ndarray:
    """Hashes of which each second one is a few flipped bits off an earlier one."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for i in range(1, count, 2):
        hashes[i] = hashes[rng.integers(i)]
        for bit in rng.integers(0, 64, rng.integers(0, 12)).tolist():
            hashes[i] ^= np.uint64(1 << bit)
    return hashes


@pytest.mark.parametrize("max_distance", [0, 1, 3, 8, 12, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_are_those_of_comparing_all_with_all(max_distance, seed):
    hashes = clustered(400, seed)
    first, second = pairs(hashes, max_distance)
    found = list(zip(first.tolist(), second.tolist(), strict=True))
    assert set(found) == all_pairs(hashes, max_distance) and len(set(found)) == len(found)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 255), max_size=30), st.integers(0, 32))
def test_pairs_of_any_hashes_are_those_of_comparing_all_with_all(numbers, max_distance):
    hashes = np.array(numbers, np.uint64)
    found = np.stack(pairs(hashes, max_distance), axis=1).tolist()
    assert sorted(map(tuple, found)) == sorted(all_pairs(hashes, max_distance))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_joined_groups_are_those_of_relabelling_until_nothing_changes(rows):
    first, second = ([row[column] for row in rows] for column in (0, 1))
    shared = {
        (i, j) for i in range(len(rows)) for j in range(i) if first[i] == first[j] or second[i] == second[j]
    }
    assert joined(first, second) == components(len(rows), shared)


def test_a_hundred_thousand_hashes_are_paired_without_comparing_all():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes[50_000:] = hashes[:50_000]
    for _ in range(3):
        hashes[50_000:] ^= np.uint64(1) << rng.integers(0, 64, 50_000).astype(np.uint64)
    first, second = pairs(hashes, 3)
    assert (np.sort(first) == np.arange(50_000)).all() and (second - first == 50_000).all()


def hash_of(image: np.ndarray) -> int:
    return int(_hash(_thumbnail(image)[None])[0])


def scene(seed: int, height: int = 120, width: int = 90, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 7, channels), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def test_near_duplicates_share_a_group_and_others_do_not():
    pictures = [scene(seed) for seed in range(40)]
    smaller = [fit(picture, (61, 47)) for picture in pictures]
    compressed = [
        cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1) for p in pictures
    ]
    lighter = [np.clip(0.9 * picture.astype(float) + 20, 0, 255).astype(np.uint8) for picture in pictures]
    found = near_duplicate_groups([*pictures, *smaller, *compressed, *lighter])
    assert found == list(range(40)) * 4


def test_grey_pictures_are_grouped_too():
    pictures = [scene(seed, channels=1) for seed in range(10)]
    assert near_duplicate_groups(iter(pictures + pictures)) == list(range(10)) * 2


def test_candidates_that_do_not_correlate_are_not_grouped():
    """Two pictures with nearly the same hash: alike in the low frequencies, not in the others."""
    rng = np.random.default_rng(0)
    low = fit(scene(0, channels=1), (32, 32))[:, :, 0].astype(float)
    spectrum = dctn(rng.normal(size=(2, 32, 32)), axes=(1, 2), norm="ortho")
    spectrum[:, :8, :8] = 0
    fine = 25 * dctn(spectrum, axes=(1, 2), norm="ortho", type=3)
    images = [np.clip(0.5 * low + 64 + noise, 0, 255).astype(np.uint8)[:, :, None] for noise in fine]
    assert (hash_of(images[0]) ^ hash_of(images[1])).bit_count() <= 8
    assert near_duplicate_groups(images) == [0, 1]
    assert near_duplicate_groups(images, min_correlation=0.3) == [0, 0]


def test_blank_pictures_are_duplicates_of_each_other_only():
    white, black = np.full((9, 9, 1), 255, np.uint8), np.zeros((5, 5, 1), np.uint8)
    assert near_duplicate_groups([white, scene(0, channels=1), black, white]) == [0, 1, 0, 0]


def test_nothing_has_no_groups():
    assert near_duplicate_groups([]) == []
    assert [found.tolist() for found in pairs(np.empty(0, np.uint64), 3)] == [[], []]


def test_the_hash_is_that_of_imagehash():
    imagehash, pillow = pytest.importorskip("imagehash"), pytest.importorskip("PIL.Image")
    for seed in range(20):
        small = fit(scene(seed, channels=1), (32, 32))
        assert hash_of(small) == int(str(imagehash.phash(pillow.fromarray(small[:, :, 0]))), 16)
        large = scene(seed)
        other = int(
            str(imagehash.phash(pillow.fromarray(large))), 16
        )  # another way to shrink, hence a few bits
        assert (hash_of(large) ^ other).bit_count() <= 6


def test_too_large_distances_are_named():
    with pytest.raises(ValueError, match=r"max_distance must be in \[0, 32\] bits, got 40"):
        pairs(np.zeros(2, np.uint64), 40)
