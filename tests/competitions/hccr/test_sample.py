"""Sample data: real .gnt files, the same bytes for the same seed, and not too easy."""

import os
import subprocess
import sys

import numpy as np
import pytest

from common.data.reading.images import fit
from common.sample.glyphs import characters
from competitions.hccr import sample, tags
from competitions.hccr.data import HccrData
from competitions.hccr.gnt import GntIndex

FEW = {"train": 1, "test": 1, "unlabelled": 1}


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.gnt"))}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "sample"
    sample.write_sample(root, writers=FEW)
    return root


def test_it_has_at_least_200_classes_and_whole_writers(root):
    data = HccrData(
        root=str(root),
        size=[32, 32],
        channels=1,
        folder=str(root.parent),
        seed=0,
        views={"image": [], "batch": {}},
    )
    table, names = data.records()
    assert len(names) >= 200 and set(names) == set(characters())
    assert table["part"].isna().sum() == len(names) and (table["part"] == "score").sum() == len(names)
    assert len(data.test_records()) == len(names)
    index = GntIndex.of(sorted(root.rglob("*.gnt")))
    assert index.faults == () and len(index) == 3 * len(names)


def test_every_character_has_a_tag_of_gb2312():
    for name in characters():
        assert 0xB0A1 <= tags.stored_tag(name) <= 0xF7FE, name


def test_pictures_are_as_scanners_give_them(root):
    index = GntIndex.of(sorted(root.rglob("*.gnt")))
    for n in range(0, len(index), 50):
        image = index[n]
        assert (image == 255).mean() > 0.4 and image.min() < 200
        assert (image < 255).any(axis=0)[[0, -1]].all() or (image < 255).any(axis=1)[
            [0, -1]
        ].all()  # cut to the ink
    assert index.width.max() < 120 and len(set(index.width.tolist())) > 30


def test_the_same_seed_gives_the_same_bytes_in_another_process(root, tmp_path):
    script = (
        "import sys; from pathlib import Path; from competitions.hccr.sample import write_sample; "
        "write_sample(Path(sys.argv[1]), writers={'train': 1})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again")], check=True, env=environment)
    assert contents(tmp_path / "again")["train/001.gnt"] == contents(root)["train/001.gnt"]
    sample.write_sample(tmp_path / "other", seed=1, writers={"train": 1})
    assert contents(tmp_path / "other")["train/001.gnt"] != contents(root)["train/001.gnt"]


def test_interrupted_writing_leaves_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "ProcessPoolExecutor", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample.write_sample(tmp_path / "sample", writers={"train": 1})
    assert not (tmp_path / "sample").exists()


@pytest.mark.slow
def test_a_nearest_neighbour_on_pixels_is_right_at_most_six_times_in_ten_across_writers(tmp_path):
    sample.write_sample(tmp_path / "sample")
    index = GntIndex.of(sorted((tmp_path / "sample").glob("t*/*.gnt")))
    pixels = np.stack([fit(index[n][:, :, None], (32, 32)).reshape(-1) for n in range(len(index))]).astype(
        np.float32
    )
    held = np.array([path.parent.name == "test" for path in index.files])[index.file]
    one, other = pixels[held], pixels[~held]
    far = -2 * one @ other.T + (other**2).sum(axis=1)[None]
    right = index.code[~held][far.argmin(axis=1)] == index.code[held]
    assert right.mean() <= 0.6
