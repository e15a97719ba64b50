"""Records by list and window: classes, labels, levels and parts; stages share one split."""

import json

import numpy as np
import pandas as pd
import pytest

from common.errors import PodiumError
from competitions.aliproducts.data import AliproductsData
from tests.competitions.aliproducts.layouts import write_layout


def data(root, **arguments):
    common = {"size": [16, 16], "folder": str(root.parent / "run"), "seed": 0, "valid": 0.25, "fit": "pad",
              "views": {"image": [], "batch": {}}}  # fmt: skip
    return AliproductsData(root=str(root), **common | arguments)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_layout(tmp_path / "root")


def test_records_are_the_lists_with_val_as_the_validation_part(root):
    table, names = data(root).records()
    assert names == ["00002", "00005", "00010", "00011"]
    assert [names[label] for label in table["label"]] == [image.split("/")[1] for image in table["id"]]
    assert all(path.endswith(image) for path, image in zip(table["path"], table["id"], strict=True))
    assert (table["part"].notna() == table["id"].str.startswith("val/")).all() and set(
        table["part"].dropna()
    ) == {"valid"}
    found = data(root)
    found.setup()
    valid = found.table.iloc[found.rows("valid")]
    assert len(valid) == 8 and valid["id"].str.startswith("val/").all() and len(found.rows("train")) == 24


@pytest.mark.parametrize(
    ("window", "names"),
    [
        (None, ["00002", "00005", "00010", "00011"]),
        ([5, 6], ["00002", "00011"]),
        ([None, 5], ["00005", "00011"]),
        ([6, None], ["00002", "00010"]),
    ],
)
def test_a_window_keeps_classes_by_their_images_and_numbers_them_anew(root, window, names):
    found = data(root, window=window)
    table, classes = found.records()
    assert classes == names
    assert [classes[label] for label in table["label"]] == [image.split("/")[1] for image in table["id"]]
    assert set(table.loc[table["part"].notna(), "label"]) == set(range(len(names)))
    saved = next((root.parent / "run").glob("classes_train_*.csv"))
    assert pd.read_csv(saved, dtype={"class_id": str})["class_id"].tolist() == names


def test_levels_go_from_fine_to_coarse_without_gaps(root):
    found = data(root, window=[5, None])  # without 00005
    _, names = found.records()
    assert names == ["00002", "00010", "00011"]
    assert found.levels == {"level2": [1, 2, 0], "level1": [1, 1, 0]}


def test_the_balanced_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_layout(tmp_path / "root", {2: 120, 5: 3}, held=1)
    counts = {
        name: np.bincount(data(root, list=name).records()[0]["label"]).tolist()
        for name in ("train", "balance")
    }
    assert counts == {"train": [121, 4], "balance": [101, 4]}
    assert data(root, list="balance", window=[100, 100]).records()[1] == [
        "00002"
    ]  # counted in the chosen list
    assert np.bincount(data(root, list="balance", balance="capped").records()[0]["label"]).tolist() == [
        121,
        4,
    ]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_the_reliable_list_is_what_cleaning_has_kept(root, suffix):
    train, _ = data(root).records()
    ids = train.loc[train["part"].isna(), "id"].tolist()
    classes = [image.split("/")[1] for image in ids]
    table = pd.DataFrame(
        {"id": ids, "class": classes, "kept": [n % 3 > 0 for n in range(len(ids))], "reason": ""}
    )
    path = root.parent / f"list.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    found = data(root, list="reliable", reliable=str(path))
    found.setup()
    kept = table["id"][table["kept"]].tolist()
    assert found.table.iloc[found.rows("train")]["id"].tolist() == kept
    assert len(found.rows("valid")) == 8
    saved = pd.read_csv(root.parent / "run" / "classes_reliable_1-.csv", dtype={"class_id": str})
    assert (
        saved.set_index("class_id")["images"].to_dict()
        == table["class"][table["kept"]].value_counts().to_dict()
    )


@pytest.mark.parametrize("folds", [None, 2])
@pytest.mark.parametrize("begun", [False, True], ids=["first", "after a stage on the balanced list"])
def test_cleaning_leaves_out_of_training_alone(tmp_path, monkeypatch, begun, folds):
    monkeypatch.chdir(tmp_path)
    root = write_layout(tmp_path / "root", {2: 120, 5: 12}, held=0)
    others = {"score": 0.2, "folds": folds, "fold": 0 if folds else None}
    judged = data(root, list="balance", folder=str(tmp_path / ("run" if begun else "judge")), **others)
    judged.setup()
    known = judged.table[judged.table["part"] == "train"]
    kept = np.arange(len(known)) % 4 > 0
    names = [judged.class_names[label] for label in known["label"]]
    pd.DataFrame({"id": known["id"], "class": names, "kept": kept}).to_csv(tmp_path / "list.csv", index=False)
    found = data(root, list="reliable", reliable=str(tmp_path / "list.csv"), window=[2, None], **others)
    found.setup()
    trained = found.table.iloc[found.rows("train")]
    assert set(trained["id"]) <= set(known["id"][kept])
    if begun:  # the split is the one that was judged by
        assert set(found.table["id"]) == set(judged.table["id"])
        for part in ("valid", "score"):
            held = [one.table["id"].iloc[one.rows(part)].tolist() for one in (found, judged)]
            assert held[0] == held[1]
        assert set(trained["id"]) == set(known["id"][kept]) & set(
            judged.table["id"].iloc[judged.rows("train")]
        )
    else:
        assert len(found.rows("score")) == pytest.approx(0.2 * 132, abs=2) and len(found.rows("valid"))


def test_the_reliable_list_of_the_run_is_the_default_and_must_be_there(root):
    with pytest.raises(PodiumError, match=r"there is no list .*run/reliable_train.parquet"):
        data(root, list="reliable").records()
    (root.parent / "wrong.csv").write_text("image\na\n")
    with pytest.raises(PodiumError, match=r"wrong.csv: column id is missing; there are image"):
        data(root, list="reliable", reliable=str(root.parent / "wrong.csv")).records()


def test_choose_and_score_are_taken_from_train_alone(root):
    found = data(root, score=0.2, choose=0.2)
    found.setup()
    for part in ("choose", "score"):
        rows = found.table.iloc[found.rows(part)]
        assert len(rows) > 2 and rows["id"].str.startswith("train/").all()
    assert len(found.rows("valid")) == 8
    again = data(root, score=0.2, choose=0.2)  # now from folds.csv
    again.setup()
    pd.testing.assert_series_equal(again.table["part"], found.table["part"])


def test_folds_divide_train_alone(root):
    found = data(root, folds=2, fold=0)
    found.setup()
    table = found.table
    assert (table.loc[table["id"].str.startswith("val/"), "fold"] == -1).all()
    assert (
        table.iloc[found.rows("valid")]["id"].str.startswith("train/").all()
        and len(found.rows("valid")) == 12
    )


def test_stages_with_other_windows_share_one_split(root):
    """Overlapping windows in one run folder: no picture changes its part, and none of val is ever trained on."""
    parts: dict[str, str] = {}
    for window in ([5, 9], [4, 6], None, [5, 9]):
        found = data(root, window=window, score=0.25)
        found.setup()
        assert found.table.iloc[found.rows("train")]["id"].str.startswith("train/").all()
        for image, part in zip(found.table["id"], found.table["part"], strict=True):
            assert parts.setdefault(image, part) == part
    saved = pd.read_csv(root.parent / "run" / "folds.csv")
    assert saved["id"].is_unique and dict(zip(saved["id"], saved["part"], strict=True)) == parts


def test_without_val_a_share_of_each_class_is_validated_and_without_tree_there_are_no_levels(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    root = write_layout(tmp_path / "root", held=0, tree=None)
    found = data(root)
    found.setup()
    assert found.levels == {} and 4 <= len(found.rows("valid")) <= 8
    assert set(found.table.iloc[found.rows("valid")]["label"]) == {0, 1, 2, 3}


def test_test_pictures_are_those_of_the_folder(root):
    table = data(root).test_records()
    assert (
        table["id"].tolist() == ["test/t0.png", "test/t1.png", "test/t2.png"] and (table["label"] == -1).all()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"list": "reliable", "reliable": "no.csv"}, "data.reliable: there is no list no.csv"),
        ({"list": "all"}, "data.list must be one of train, balance, reliable, got all"),
        ({"window": [3]}, r"data.window must be \[least, most\]"),
        ({"window": [9, 3]}, "1 <= least <= most"),
        ({"window": [0, 3]}, "1 <= least <= most"),
        ({"balance": "x"}, "data.balance must be one of"),
        ({"window": [50, 80]}, r"no class of the list «train» has so many images; they have 4 to 9"),
    ],
)
def test_mistakes_name_the_key(root, arguments, message):
    with pytest.raises(PodiumError, match=message):
        data(root, **arguments).records()


def test_classes_of_the_window_without_a_validation_image_are_named(root):
    entries = json.loads((root / "val.json").read_text())["images"]
    (root / "val.json").write_text(json.dumps({"images": [e for e in entries if e["class_id"] == "00002"]}))
    with pytest.raises(PodiumError, match=r"val.json has no image of these classes"):
        data(root, window=[9, 9]).records()
