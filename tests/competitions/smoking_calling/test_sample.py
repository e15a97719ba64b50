"""Sample data: official layout, the same bytes for the same seed, material to paste, and not too easy."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.data.reading.images import fit, read
from common.data.split.folds import split
from competitions.smoking_calling import sample
from competitions.smoking_calling.data import raw_records
from competitions.smoking_calling.sample import picture


def fingerprint(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    content = b"".join(path.relative_to(root).as_posix().encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "sample"
    sample.write_sample(root, per_class=3, tests=5)
    return root


def test_it_has_the_official_layout(root):
    assert sorted(path.name for path in root.iterdir()) == ["test", "test_labels.csv", "train"]
    table = raw_records(root)
    assert Counter(table["label"]) == dict.fromkeys(range(4), 3) and set(table["source"]) <= {"v1", "v2"}
    assert len(list((root / "test").glob("v?_*.jpg"))) == 5
    for path in map(Path, table["path"]):
        assert hashlib.sha1(path.read_bytes()).hexdigest().startswith(path.stem.partition("_")[2])
    assert max(path.stat().st_size for path in root.rglob("*.jpg")) < 80_000


def test_the_same_seed_gives_the_same_bytes_in_another_process(root, tmp_path):
    script = (
        "import sys; from pathlib import Path; from competitions.smoking_calling.sample import write_sample; "
        "write_sample(Path(sys.argv[1]), per_class=3, tests=5)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "again")]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "7"})
    assert fingerprint(tmp_path / "again") == fingerprint(root)
    sample.write_sample(tmp_path / "other", seed=1, per_class=3, tests=5)
    assert fingerprint(tmp_path / "other") != fingerprint(root)


def test_interrupted_writing_leaves_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "picture", lambda *_: 1 / 0)  # tests are drawn in this process
    with pytest.raises(ZeroDivisionError):
        sample.write_sample(tmp_path / "sample", per_class=1, tests=1)
    assert not (tmp_path / "sample").exists()


def test_each_class_has_what_pasting_needs_and_pictures_of_many_shapes():
    for label in range(4):
        sizes = [picture(label, n, np.random.default_rng((0, 0, label, n))).shape[:2] for n in range(24)]
        assert sum(height > 2 * width and height < 550 for height, width in sizes) == 2
        assert sum(height == 600 and width <= 600 for height, width in sizes) == 2
        assert len(set(sizes)) > 15


@pytest.mark.slow
def test_a_nearest_neighbour_on_pixels_is_right_at_most_six_times_in_ten(tmp_path):
    sample.write_sample(tmp_path / "sample")
    table = raw_records(tmp_path / "sample")
    pixels = np.stack([fit(read(path, 3), (32, 32)) for path in table["path"]]).astype(np.float32)
    flat, labels = pixels.reshape(len(pixels), -1), table["label"].to_numpy()
    held = (split(table, 0.2, 0) == "valid").to_numpy()
    nearest = [((flat[~held] - row) ** 2).sum(axis=1).argmin() for row in flat[held]]
    right = (labels[~held][nearest] == labels[held]).mean()
    assert right <= 0.6, right
