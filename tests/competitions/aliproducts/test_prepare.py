"""Prepared tables: what they hold, what they leave out and say, and when they are made anew."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from common.errors import PodiumError
from competitions.aliproducts.prepare import Settings, balanced, prepare
from tests.competitions.aliproducts.layouts import COUNTS, TREE, picture, write_layout, write_list


@pytest.fixture
def root(tmp_path):
    return write_layout(tmp_path / "root")


def prepared(root, **settings):
    return prepare(root, root.parent / "out", Settings(**settings))


def entries(root, part="train"):
    return [
        (entry["image_id"], entry["class_id"])
        for entry in json.loads((root / f"{part}.json").read_text())["images"]
    ]


def findings(out, kind):
    table = pd.read_csv(out / "report.csv", dtype=str, keep_default_na=False)
    return table[table["kind"] == kind]


def test_tables_have_a_row_for_each_image_and_columns_by_name(root):
    out = prepared(root)
    train = pd.read_parquet(out / "train.parquet")
    assert list(train) == ["image_id", "class_id", "path", "label"]
    assert sorted(zip(train["image_id"], train["class_id"], strict=True)) == sorted(entries(root))
    assert all((root / path).is_file() for path in train["path"])
    order = ["00002", "00005", "00010", "00011"]
    assert [order[label] for label in train["label"]] == train["class_id"].tolist()
    for name in ("train", "val", "balance_train", "classes"):
        as_csv = pd.read_csv(out / f"{name}.csv", dtype={"class_id": str})
        pd.testing.assert_frame_equal(as_csv, pd.read_parquet(out / f"{name}.parquet"), check_dtype=False)
    assert not len(pd.read_csv(out / "report.csv"))


def test_classes_have_counts_of_every_list_and_a_node_at_every_level(root):
    classes = pd.read_parquet(prepared(root) / "classes.parquet").set_index("class_id")
    assert classes["train"].tolist() == list(COUNTS.values()) and (classes["val"] == 2).all()
    assert classes["level2"].tolist() == ["Fruit > Apple", "Fruit > Apple", "Fruit > Pear", "Drinks > Juice"]
    assert classes["level1"].tolist() == ["Fruit", "Fruit", "Fruit", "Drinks"]


def test_everything_wrong_is_left_out_and_reported_by_name(root, capsys):
    pairs = entries(root)
    (root / "train" / "00002" / "train2_0.png").unlink()  # missing
    pairs += [pairs[1], pairs[1]]  # doubled
    shutil.copy(root / "train/00005/train5_0.png", root / "train/00010/train5_0.png")
    pairs.append(("train5_0.png", "00010"))  # one picture, two classes: equal files in both
    pairs.append(("train5_1.png", "00010"))  # two classes, but it lies in 00005 only
    picture(root / "train/00010/train5_2.png", 99)
    pairs.append(("train5_2.png", "00010"))  # another picture of the same name
    shutil.copy(root / "train/00011/train11_0.png", root / "val/00011/train11_0.png")
    write_list(root / "val.json", [*entries(root, "val"), ("train11_0.png", "00011"), ("lost.png", "00002")])
    picture(root / "train/00007/only.png", 5)
    pairs.append(("only.png", "00007"))  # a class that the tree does not have
    picture(root / "train/00002/unlisted.png", 6)
    write_list(root / "train.json", pairs)
    (root / "product_tree.json").write_text(json.dumps({**TREE, "Ghosts": {"None": {"Boo": "00099"}}}))
    out = prepared(root)
    assert findings(out, "missing")[["list", "what"]].values.tolist() == [
        ["train", "train2_0.png"],
        ["val", "lost.png"],
    ]
    assert findings(out, "doubled")["what"].tolist() == ["train2_1.png"] * 2
    contradictory = findings(out, "contradictory")
    assert contradictory[["what", "class_id"]].values.tolist() == [
        ["train5_0.png", "00005"], ["train5_0.png", "00010"], ["train5_1.png", "00010"]]  # fmt: skip
    assert contradictory["note"].str.contains("00005 and 00010").all()
    assert findings(out, "in val too")["what"].tolist() == ["train11_0.png"]
    assert findings(out, "orphaned")[["list", "what"]].values.tolist() == [
        ["tree", "00099"],
        ["train", "00007"],
    ]
    assert findings(out, "unlisted")["what"].tolist() == ["00002"]
    train = pd.read_parquet(out / "train.parquet")
    assert len(train) == sum(COUNTS.values()) - 1 - 1 - 1 + 1 + 1  # gone: missing, equal files, in val
    assert set(train["path"]) >= {
        "train/00005/train5_1.png",
        "train/00010/train5_2.png",
        "train/00005/train5_2.png",
    }
    said = capsys.readouterr().out
    assert "2 missing, 2 doubled, 3 contradictory, 2 orphaned" in said and said.count("\n") == 1


def test_val_images_of_a_class_without_training_images_are_reported(root):
    picture(root / "val" / "00003" / "v.png", 1)
    write_list(root / "val.json", [*entries(root, "val"), ("v.png", "00003")])
    out = prepared(root)
    assert findings(out, "untrained")["class_id"].tolist() == ["00003"]
    assert (pd.read_parquet(out / "val.parquet")["label"] >= 0).all()


def test_the_order_of_the_list_does_not_matter(root):
    first = pd.read_parquet(prepared(root) / "balance_train.parquet")
    write_list(root / "train.json", entries(root)[::-1])
    pd.testing.assert_frame_equal(pd.read_parquet(prepared(root) / "balance_train.parquet"), first)


def test_nothing_is_done_twice_and_a_change_is_noticed(root, capsys):
    prepared(root)
    capsys.readouterr()
    before = (root.parent / "out" / "train.parquet").stat().st_mtime_ns
    assert (prepared(root) / "train.parquet").stat().st_mtime_ns == before and not capsys.readouterr().out
    (root / "train" / "00002" / "train2_3.png").unlink()
    assert len(pd.read_parquet(prepared(root) / "train.parquet")) == sum(COUNTS.values()) - 1


def test_without_tree_and_without_val(tmp_path):
    out = prepared(write_layout(tmp_path / "root", held=0, tree=None))
    assert not (out / "val.parquet").exists()
    assert list(pd.read_parquet(out / "classes.parquet")) == [
        "class_id",
        "label",
        "train",
        "val",
        "balance_train",
    ]


def test_a_data_set_that_is_not_there_is_named(root):
    shutil.rmtree(root / "train")
    with pytest.raises(
        PodiumError, match=r"none of the 24 images of .*train.json is there; expected .*/train/00000/"
    ):
        prepared(root)
    (root / "train.json").unlink()
    with pytest.raises(PodiumError, match=r"train.json cannot be read"):
        prepared(root)


def test_a_tree_of_other_classes_is_refused(root):
    (root / "product_tree.json").write_text('{"A": {"x": "00099"}}')
    with pytest.raises(PodiumError, match="holds none of the 4 classes"):
        prepared(root)


COUNTED = [1, 3, 99, 100, 150, 199, 200, 201, 399, 400, 401, 1000]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("original", [1, 3, 99, 100, 100, 100, 200, 200, 200, 400, 400, 400]),
        ("capped", [1, 3, 99, 100, 150, 199, 200, 201, 399, 400, 400, 400]),
    ],
)
def test_balancing_keeps_as_many_as_the_rule_says_by_chance(rule, expected):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTED)), COUNTED))
    rows = balanced(labels, rule, seed=0)
    assert np.bincount(labels[rows]).tolist() == expected
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, balanced(labels, rule, seed=0))
    others = balanced(labels, rule, seed=1)
    assert not np.array_equal(rows, others)
    drawn = np.mean(
        [np.isin(np.flatnonzero(labels == 11), balanced(labels, rule, seed)) for seed in range(200)], axis=0
    )
    assert drawn.min() > 0.2 and drawn.max() < 0.6  # every image has the same chance, 0.4


def test_an_unknown_rule_is_refused():
    with pytest.raises(PodiumError, match=r"data.balance must be one of original, capped, got even"):
        Settings("even")
