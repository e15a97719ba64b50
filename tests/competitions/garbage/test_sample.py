"""Sample data: official layout, the contest's names, the same bytes for the same seed, and not too easy."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.data.reading.images import fit, read
from common.data.records import records
from common.data.split.folds import split
from competitions.garbage import sample
from competitions.garbage.items import _PAINTERS
from competitions.garbage.labels import RULE, groups, read_labels, read_rule
from competitions.garbage.sample import CLASSES

CONTEST = Path(__file__).parents[4] / "shared" / "data" / "garbage" / "garbage_classify_rule_40.json"


def fingerprint(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    content = b"".join(path.relative_to(root).as_posix().encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "sample"
    sample.write_sample(root, most=5, tests=5)
    return root


def test_the_classes_are_the_contests():
    assert len(CLASSES) == 40 and groups(CLASSES)[1] == ["其他垃圾", "厨余垃圾", "可回收物", "有害垃圾"]
    assert Counter(groups(CLASSES)[0]) == {0: 6, 1: 8, 2: 23, 3: 3}
    assert (CLASSES[0], CLASSES[23], CLASSES[39]) == (
        "其他垃圾/一次性快餐盒",
        "可回收物/易拉罐",
        "有害垃圾/过期药物",
    )
    assert set(_PAINTERS) == {name.partition("/")[2] for name in CLASSES}


@pytest.mark.skipif(not CONTEST.exists(), reason="no rule file of the contest beside the repository")
def test_the_classes_are_those_of_the_contests_own_rule_file():
    assert read_rule(CONTEST) == CLASSES


def test_it_has_the_official_layout(root):
    assert sorted(path.name for path in root.iterdir()) == [RULE, "test", "test_labels.csv", "train_data"]
    assert read_rule(root / RULE) == CLASSES and json.loads((root / RULE).read_text())["23"] == CLASSES[23]
    labelled, faults = read_labels(root / "train_data", 40)
    counts = Counter(label for _, label in labelled)
    assert not faults and set(counts) == set(range(40)) and set(counts.values()) == {2, 3, 4, 5}
    assert {path.name for path in (root / "test").iterdir()} == {
        line.partition(",")[0] for line in (root / "test_labels.csv").read_text().splitlines()[1:]
    }
    assert len(list((root / "test").iterdir())) == 5
    assert max(path.stat().st_size for path in root.rglob("*.jpg")) < 40_000


def test_the_same_seed_gives_the_same_bytes_in_another_process(root, tmp_path):
    script = (
        "import sys; from pathlib import Path; from competitions.garbage.sample import write_sample; "
        "write_sample(Path(sys.argv[1]), most=5, tests=5)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "again")]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "7"})
    assert fingerprint(tmp_path / "again") == fingerprint(root)
    sample.write_sample(tmp_path / "other", seed=1, most=5, tests=5)
    assert fingerprint(tmp_path / "other") != fingerprint(root)


def test_interrupted_writing_leaves_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "ProcessPoolExecutor", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample.write_sample(tmp_path / "sample", most=5, tests=1)
    assert not (tmp_path / "sample").exists()


@pytest.mark.slow
def test_a_nearest_neighbour_on_pixels_is_right_at_most_two_times_in_ten(tmp_path):
    sample.write_sample(tmp_path / "sample")
    labelled, _ = read_labels(tmp_path / "sample" / "train_data", 40)
    table = records(tmp_path / "sample", *zip(*labelled, strict=True))
    pixels = np.stack([fit(read(path, 3), (32, 32)) for path in table["path"]]).astype(np.float32)
    flat, labels = pixels.reshape(len(pixels), -1), table["label"].to_numpy()
    held = (split(table, 0.2, 0) == "valid").to_numpy()
    nearest = [((flat[~held] - row) ** 2).sum(axis=1).argmin() for row in flat[held]]
    right = (labels[~held][nearest] == labels[held]).mean()
    assert right <= 0.2, right
