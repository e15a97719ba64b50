import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from common.data.reading.images import fit
from common.data.split import alignment
from common.data.split.duplicates import _thumbnail, find_near_duplicates, joined, near_duplicate_groups
from common.data.split.hashes import hashed, near
from common.sample.scene import Deed, View
from common.sample.scene import scene as person


def all_pairs(hashes: np.ndarray, views: np.ndarray, max_distance: int) -> list[tuple[int, int, int]]:
    found = np.bitwise_count(hashes[:, None, None] ^ views.T[None]) <= max_distance  # (i, j, v)
    return [(i, j, v) for i, j, v in np.argwhere(found).tolist() if i != j]


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
@pytest.mark.parametrize("views", [1, 3])
def test_near_hashes_are_those_of_comparing_all_with_all(max_distance, views):
    hashes = clustered(300, 0)
    others = np.stack([hashes ^ np.uint64(seed) for seed in (0, 5, 1 << 60)][:views])
    found = np.stack(near(hashes, others, max_distance), axis=1).tolist()
    assert sorted(map(tuple, found)) == all_pairs(hashes, others, max_distance)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 255), max_size=30), st.integers(0, 32))
def test_near_hashes_of_any_kind_are_those_of_comparing_all_with_all(numbers, max_distance):
    hashes = np.array(numbers, np.uint64)
    found = np.stack(near(hashes, hashes[None, ::-1], max_distance), axis=1).tolist()
    assert sorted(map(tuple, found)) == all_pairs(hashes, hashes[None, ::-1], max_distance)


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
    first, second, _ = near(hashes, hashes[None], 3)
    assert sorted(first) == list(range(100_000)) and (np.abs(second - first) == 50_000).all()


def hash_of(image: np.ndarray) -> int:
    grey = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return int(hashed(fit(grey, (32, 32))[None, :, :, 0])[0])


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
    assert find_near_duplicates([], turned=True)[1].empty
    empty = np.empty(0, np.uint64)
    assert [found.tolist() for found in near(empty, empty[None], 3)] == [[], [], []]


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
        near(np.zeros(2, np.uint64), np.zeros((1, 2), np.uint64), 40)


def photographs(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    views = [
        View(96, 80, rng.uniform(20, 34), rng.uniform(30, 50), rng.uniform(28, 45)) for _ in range(count)
    ]
    return [person(Deed(phone=int(rng.integers(-1, 2))), view, rng) for view in views]


def cropped(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A window anywhere in the picture that lacks `share` of either side."""
    height, width = (round(side * (1 - share)) for side in image.shape[:2])
    top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return photographs(60)


def test_mirrored_and_turned_copies_are_found_where_asked_for(pictures):
    turns = [np.rot90(side, k) for side in (pictures[0], pictures[0][:, ::-1]) for k in range(4)][1:]
    images = [*pictures, *map(np.ascontiguousarray, turns)]
    groups, pairs = find_near_duplicates(images, turned=True)
    assert groups == list(range(60)) + [0] * 7
    kinds = pairs[pairs["first"] == 0].set_index("second")["kind"].to_dict()
    assert kinds == dict(zip(range(60, 67), ["turn"] * 3 + ["mirror"] * 4, strict=True))
    assert near_duplicate_groups(images) == list(range(67))
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    assert near_duplicate_groups([*pictures, *mirrored], turned=True) == list(range(60)) * 2


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_crops_are_found_wherever_they_lie(pictures, share):
    rng = np.random.default_rng(1)
    groups = near_duplicate_groups([*pictures, *(cropped(picture, share, rng) for picture in pictures)])
    assert groups[:60] == list(range(60))
    assert np.mean(np.array(groups[60:]) == np.arange(60)) >= 0.9


def test_which_are_grouped_does_not_depend_on_their_order(pictures):
    rng = np.random.default_rng(2)
    images = [
        *pictures[:20],
        *(cropped(each, 0.1, rng) for each in pictures[:20]),
        pictures[3][:, ::-1].copy(),
    ]

    def together(order: np.ndarray) -> set[frozenset[int]]:
        found = near_duplicate_groups((images[i] for i in order), turned=True)
        return {frozenset(order[np.array(found) == group].tolist()) for group in found}

    expected = together(np.arange(len(images)))
    assert len(expected) < 30
    assert all(together(rng.permutation(len(images))) == expected for _ in range(3))


def test_characters_are_not_their_own_mirror_images():
    """乒 and 乓 are two classes, and nearly each other's mirror images."""
    rng = np.random.default_rng(0)
    stroke = np.array([[0.2, 0.2], [0.8, 0.2], [0.8, 0.5], [0.2, 0.9]])
    ink = np.zeros((64, 64), np.uint8)
    cv2.polylines(ink, [(stroke * 64).astype(np.int32)], False, 255, 5)
    one = cv2.GaussianBlur(ink, (3, 3), 0)[:, :, None]
    other = np.ascontiguousarray(one[:, ::-1])
    assert near_duplicate_groups([one, other]) == [0, 1]
    assert near_duplicate_groups([one, other], turned=True) == [0, 0]
    assert near_duplicate_groups([one, cropped(one, 0.05, rng)]) == [0, 0]


def test_a_window_is_aligned_by_trying_them_all():
    """Brute force over all windows finds no larger correlation."""
    rng = np.random.default_rng(3)
    thumbnails = np.stack([_thumbnail(each) for each in photographs(8)])
    crops = np.stack([_thumbnail(cropped(each, 0.08, rng)) for each in photographs(8)])
    both, first = np.concatenate([thumbnails, crops]), np.arange(8, 16)
    begin = np.tile([alignment.WINDOWS.index((4, 96))] * 2, (8, 1))
    found = alignment.aligned_correlation(both, first, first - 8, begin, -1)
    read = alignment._resampling(thumbnails.shape[1])
    whole = alignment.resized(crops).astype(float)
    for picture, crop, best in zip(thumbnails, whole, found, strict=True):
        windows = (read @ picture.astype(np.float32))[:, None] @ read.swapaxes(1, 2)[None]
        windows = windows.reshape(-1, 32 * 32)  # (W · W, 32 · 32)
        windows -= windows.mean(1, keepdims=True)
        crop -= crop.mean()
        brute = windows @ crop.ravel() / np.linalg.norm(windows, axis=1) / np.linalg.norm(crop)
        assert brute.max() - 1e-3 <= best <= brute.max() + 1e-5


def test_the_pairs_say_what_they_are(pictures):
    rng = np.random.default_rng(4)
    small = fit(pictures[1], (48, 40))
    images = [*pictures[:5], pictures[0], small, cropped(pictures[2], 0.1, rng)]
    groups, pairs = find_near_duplicates(images)
    assert groups == [0, 1, 2, 3, 4, 0, 1, 2]
    assert pairs[["first", "second", "kind"]].values.tolist() == [
        [0, 5, "same"],
        [1, 6, "same"],
        [2, 7, "crop"],
    ]
    assert pairs["correlation"].iloc[0] == 1 and pairs["correlation"].between(0.95, 1.001).all()
