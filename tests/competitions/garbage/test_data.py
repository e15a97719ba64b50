"""The contest's flat layout → records, the group as a level, and bad labels that are counted or stop the run."""

import json
from pathlib import Path

import pandas as pd
import pytest

from common.errors import PodiumError
from competitions.garbage.data import GarbageData
from competitions.garbage.labels import RULE
from tests.toys import write_images

RULES = {"0": "可回收物/纸板", "1": "其他垃圾/烟蒂", "2": "可回收物/玻璃", "3": "有害垃圾/软膏"}
REAL = Path(__file__).parents[4] / "shared" / "data" / "garbage"


@pytest.fixture
def root(tmp_path):
    """48 pictures of 4 classes, shuffled into one folder, and 3 to be predicted."""
    root = tmp_path / "garbage_classify"
    (root / "train_data").mkdir(parents=True)
    write_images(tmp_path / "toys")
    for number, path in enumerate(sorted(tmp_path.glob("toys/*/*.png"), key=lambda path: path.stem)):
        label = sorted(folder.name for folder in (tmp_path / "toys").iterdir()).index(path.parent.name)
        path.rename(root / "train_data" / f"img_{number}.png")
        (root / "train_data" / f"img_{number}.txt").write_text(f"img_{number}.png, {label}")
    (root / RULE).write_text(json.dumps(RULES, ensure_ascii=False), encoding="utf-8")
    write_images(root, per_class=3, classes=["test"])
    return root


def data(root, **arguments):
    common = {"size": [16, 16], "folder": str(root.parent / "run"), "seed": 0, "views": {}, "valid": 0.25}
    return GarbageData(root=str(root), **common | arguments)


def test_the_flat_folder_becomes_records_by_its_label_files(root):
    table, names = data(root).records()
    assert names == list(RULES.values()) and len(table) == 48
    for image, label in zip(table["id"], table["label"], strict=True):
        assert (root / image).with_suffix(".txt").read_text() == f"{Path(image).name}, {label}"
    assert data(root).test_records()["id"].tolist() == [f"test/{number}.png" for number in range(3)]


def test_pictures_may_lie_beside_the_rule_file(root):
    for path in (root / "train_data").iterdir():
        path.rename(root / path.name)
    (root / "train_data").rmdir()
    table, _ = data(root).records()
    assert len(table) == 48 and table["id"].iloc[0] == "img_0.png"


def test_the_group_is_a_level_above_the_classes(root):
    found = data(root)
    found.setup()
    assert found.levels == {"group": [0, 1, 0, 2]}
    (root / RULE).write_text(json.dumps({key: f"a/{key}" for key in RULES}))
    found = data(root)
    found.records()
    assert found.levels == {}  # one group tells nothing


def test_bad_labels_are_counted_and_listed_and_the_rest_keep_theirs(root, capsys):
    (root / "train_data" / "img_3.txt").write_text("img_3.png; 2")
    found = data(root)
    found.setup()
    assert "left out: 1 of 48 labels" in capsys.readouterr().out
    listed = pd.read_csv(root.parent / "run" / "bad_labels.csv")
    assert listed.to_dict("records") == [
        {"file": "img_3.txt", "line": "img_3.png; 2", "reason": listed["reason"][0]}
    ]
    for image, label in zip(found.table["id"], found.table["label"], strict=True):
        assert (root / image).with_suffix(".txt").read_text().endswith(f", {label}")
    assert len(found.table) == 47


def test_too_many_bad_labels_stop_the_run(root):
    for number in range(5):
        (root / "train_data" / f"img_{number}.txt").write_text("?")
    with pytest.raises(
        PodiumError, match=r"(?s)5 of 48 labels .* more than data.max_bad_share=0.05.*img_0.txt: expected"
    ):
        data(root).records()
    assert len(data(root, max_bad_share=0.2).records()[0]) == 43


def test_a_folder_without_labels_says_what_was_expected(root):
    for path in (root / "train_data").iterdir():
        path.unlink()
    with pytest.raises(PodiumError, match=r"holds no labelled picture: expected img_1\.jpg"):
        data(root).records()


@pytest.mark.skipif(not (REAL / RULE).exists(), reason="no photographs beside the repository")
def test_photographs_in_the_layout_are_read(tmp_path):
    table, names = data(REAL, folder=str(tmp_path)).records()
    assert len(table) == len(list((REAL / "train_data").glob("*.jpg"))) and len(names) == 6
