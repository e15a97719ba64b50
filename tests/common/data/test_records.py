"""Folders become one table, and what is wrong with them is said."""

import pytest

from common.data.files.found import images_below
from common.data.records import class_folders, records
from common.errors import PodiumError
from tests.toys import write_images


def test_folders_become_sorted_labels_and_relative_ids(tmp_path):
    write_images(tmp_path, per_class=2)
    table, names = class_folders(tmp_path)
    assert names == ["bar", "cross", "ring", "slash"]
    assert table["id"].tolist() == sorted(table["id"])
    assert table["label"].tolist() == [names.index(image.split("/")[0]) for image in table["id"]]


def test_a_given_order_of_classes_is_kept(tmp_path):
    write_images(tmp_path, per_class=1)
    table, _ = class_folders(tmp_path, ["slash", "ring", "bar", "cross"])
    assert dict(zip(table["id"], table["label"], strict=True))["slash/0.png"] == 0


def test_hidden_files_and_other_formats_are_left_out(tmp_path):
    (tmp_path / ".thumbnails").mkdir()
    for name in ["a.jpg", ".b.jpg", "c.txt", ".thumbnails/d.png", "e.PNG"]:
        (tmp_path / name).touch()
    assert [path.name for path in images_below(tmp_path)] == ["a.jpg", "e.PNG"]


def test_faults_are_named(tmp_path):
    with pytest.raises(PodiumError, match="is not a folder"):
        class_folders(tmp_path / "missing")
    with pytest.raises(PodiumError, match="no class folders"):
        class_folders(tmp_path)
    write_images(tmp_path, per_class=1)
    with pytest.raises(PodiumError, match=r"bar holds no class folders: expected .*bar/ring/<image>\.jpg"):
        class_folders(tmp_path / "bar", ["ring"], allow_empty=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PodiumError, match=r"1 of 5 classes have no images \(empty\)"):
        class_folders(tmp_path)
    with pytest.raises(PodiumError, match="not among the 1 known classes, the first is «cross»"):
        class_folders(tmp_path, ["bar"])
    with pytest.raises(PodiumError, match="listed more than once"):
        records(tmp_path, [tmp_path / "a.png"] * 2, [0, 0])


def test_an_evaluation_may_lack_classes(tmp_path):
    write_images(tmp_path, per_class=1, classes=["bar"])
    table, names = class_folders(tmp_path, ["ring", "bar"], allow_empty=True)
    assert table["label"].tolist() == [1] and names == ["ring", "bar"]


def test_a_class_with_a_slash_in_its_name_is_a_folder_within_a_folder(tmp_path):
    write_images(tmp_path / "metal", per_class=2, classes=["can", "tin"])
    write_images(tmp_path / "glass", per_class=1, classes=["jar"])
    table, _ = class_folders(tmp_path, ["metal/tin", "glass/jar", "metal/can"])
    assert dict(zip(table["id"], table["label"], strict=True)) == {
        "glass/jar/0.png": 1, "metal/can/0.png": 2, "metal/can/1.png": 2, "metal/tin/0.png": 0, "metal/tin/1.png": 0,
    }  # fmt: skip
    with pytest.raises(PodiumError, match="not among the 2 known classes, the first is «metal/tin»"):
        class_folders(tmp_path, ["glass/jar", "metal/can"])
