"""Sample data: official layout, the same bytes for the same seed, a tree of four levels, and not too easy."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from common.data.reading.images import fit, read
from competitions.aliproducts import sample
from competitions.aliproducts.prepare import Settings, prepare


def fingerprint(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    content = b"".join(path.relative_to(root).as_posix().encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "sample"
    sample.write_sample(root, most=10, held=1)
    return root


def test_it_has_the_official_layout_without_a_fault(root):
    names = [
        "product_tree.json",
        "test",
        "test_labels.csv",
        "train",
        "train.json",
        "val",
        "val.json",
        "wrong_labels.csv",
    ]
    assert sorted(path.name for path in root.iterdir()) == names
    out = prepare(root, root.parent / "prepared", Settings())
    assert not len(pd.read_csv(out / "report.csv"))
    classes = pd.read_parquet(out / "classes.parquet")
    assert len(classes) == 240 and classes["train"].between(3, 10).all() and (classes["val"] == 1).all()
    assert [classes[level].nunique() for level in ("level3", "level2", "level1")] == [60, 12, 3]
    assert len(list((root / "test").iterdir())) == 240


def test_wrong_labels_are_recorded_and_some_go_to_sisters():
    leaves = np.repeat(np.arange(240), 12)
    listed = sample.wrong_labels(leaves, 40, np.random.default_rng(0))
    wrong = listed != leaves
    assert wrong.sum() == round(sample.WRONG * len(leaves))
    sisters = (listed // sample.VARIANTS == leaves // sample.VARIANTS)[wrong]
    assert 0.4 < sisters.mean() < 0.6
    assert np.bincount(listed).min() >= 3 and np.bincount(listed).max() <= 40


def test_the_record_of_wrong_labels_is_true(root):
    wrong = pd.read_csv(root / "wrong_labels.csv", dtype=str)
    listed = {
        entry["image_id"]: entry["class_id"]
        for entry in json.loads((root / "train.json").read_text())["images"]
    }
    assert len(wrong) > 4 and (wrong["class_id"] != wrong["true_class_id"]).all()
    assert [listed[image] for image in wrong["image_id"]] == wrong["class_id"].tolist()
    labels = pd.read_csv(root / "test_labels.csv", dtype=str)
    assert (
        set(labels["id"]) == {path.name for path in (root / "test").iterdir()}
        and labels["class_id"].nunique() == 240
    )


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "BRANDS", 1)  # 48 products
    sample.write_sample(tmp_path / "once", most=10, held=1)
    script = (
        "import sys; from pathlib import Path; from competitions.aliproducts import sample; "
        "sample.BRANDS = 1; sample.write_sample(Path(sys.argv[1]), most=10, held=1)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "again")]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "7"})
    assert fingerprint(tmp_path / "again") == fingerprint(tmp_path / "once")


def test_another_seed_gives_other_products():
    one, other = (sample.catalogue(np.random.default_rng(seed)) for seed in (0, 1))
    assert len(one) == len(other) == 240 and one != other
    assert len({names for names, _ in one}) == len({look for _, look in one}) == 240


def test_products_of_a_brand_share_their_look_but_for_the_label():
    products = sample.catalogue(np.random.default_rng(0))
    for start in range(0, 240, sample.VARIANTS):
        looks = [look for _, look in products[start : start + sample.VARIANTS]]
        assert len({(look.shape, look.body, look.layout, look.word) for look in looks}) == 1
        assert len({look.accent for look in looks}) == len({look.emblem for look in looks}) == sample.VARIANTS


def test_interrupted_writing_leaves_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "BRANDS", 1)
    monkeypatch.setattr(sample, "_tree", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample.write_sample(tmp_path / "sample", most=3, held=0)
    assert not (tmp_path / "sample").exists()


@pytest.mark.slow
def test_a_nearest_neighbour_on_pixels_is_right_at_most_six_times_in_ten(tmp_path):
    root = tmp_path / "sample"
    sample.write_sample(root)
    out = prepare(root, tmp_path / "prepared", Settings())
    tables = {name: pd.read_parquet(out / f"{name}.parquet") for name in ("train", "val")}
    assert tables["train"]["label"].value_counts().agg(["min", "max"]).tolist() == [3, 200]
    flat = {
        name: np.stack([fit(read(root / path, 3), (32, 32), "pad") for path in table["path"]]).reshape(
            len(table), -1
        )
        for name, table in tables.items()
    }
    train, val = flat["train"].astype(np.float32), flat["val"].astype(np.float32)
    far = (train**2).sum(axis=1) - 2 * val @ train.T
    right = (
        tables["train"]["label"].to_numpy()[far.argmin(axis=1)] == tables["val"]["label"].to_numpy()
    ).mean()
    assert right <= 0.6, right
