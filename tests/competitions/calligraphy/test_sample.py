"""Sample data: official layout, the same bytes for the same seed, and not too easy."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.data.split.folds import split
from competitions.calligraphy import sample
from competitions.calligraphy.data import CalligraphyData, read_label_list


def fingerprint(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return hashlib.sha256(
        b"".join(p.relative_to(root).as_posix().encode() + p.read_bytes() for p in files)
    ).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "sample"
    sample.write_sample(root, per_class=2, tests=5)
    return root


def test_it_has_the_official_layout(root):
    assert sorted(path.name for path in root.iterdir()) == [
        "label_list.txt",
        "test1",
        "test1_labels.csv",
        "train",
    ]
    names = read_label_list(root / "label_list.txt")
    assert len(names) >= 50 and names == sorted(path.name for path in (root / "train").iterdir())
    data = CalligraphyData(
        root=str(root),
        size=[32, 32],
        channels=1,
        folder=str(root.parent),
        seed=0,
        views={"image": [], "batch": {}},
    )
    table, found = data.records()
    assert found == names and len(table) == 2 * len(names)
    assert len(data.test_records()) == 5
    for path in table["path"][:5]:
        assert hashlib.sha1(Path(path).read_bytes()).hexdigest() in path


def test_the_same_seed_gives_the_same_bytes_in_another_process(root, tmp_path):
    script = (
        "import sys; from pathlib import Path; from competitions.calligraphy.sample import write_sample; "
        + ("write_sample(Path(sys.argv[1]), per_class=2, tests=5)")
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "again")], check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert fingerprint(tmp_path / "again") == fingerprint(root)
    sample.write_sample(tmp_path / "other", seed=1, per_class=2, tests=5)
    assert fingerprint(tmp_path / "other") != fingerprint(root)


def test_interrupted_writing_leaves_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "picture", lambda *_: 1 / 0)  # tests are drawn in this process
    with pytest.raises(ZeroDivisionError):
        sample.write_sample(tmp_path / "sample", per_class=1, tests=1)
    assert not (tmp_path / "sample").exists()


def test_pictures_vary_in_shape_and_in_which_side_is_ink():
    images = [sample.picture("林", np.random.default_rng(n)) for n in range(40)]
    assert len({image.shape for image in images}) > 20
    bright = [float(np.median(image)) > 128 for image in images]
    assert 5 < sum(bright) < 35


@pytest.mark.slow
def test_a_nearest_neighbour_on_pixels_is_right_at_most_six_times_in_ten(tmp_path):
    root = tmp_path / "sample"
    sample.write_sample(root)
    data = CalligraphyData(
        root=str(root),
        size=[32, 32],
        channels=1,
        folder=str(tmp_path),
        seed=0,
        views={"image": [], "batch": {}},
    )
    table, _ = data.records()
    files = [cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE) for path in table["path"]]
    pixels = np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in files])
    flat, labels = pixels.reshape(len(pixels), -1).astype(np.float32), table["label"].to_numpy()
    held = (split(table, 0.1, 0) == "valid").to_numpy()
    far = _distances(flat, held)
    assert (labels[~held][far.argmin(axis=1)] == labels[held]).mean() <= 0.6


def _distances(flat, held):
    one, other = flat[held], flat[~held]
    return (one**2).sum(axis=1)[:, None] - 2 * one @ other.T + (other**2).sum(axis=1)[None]
