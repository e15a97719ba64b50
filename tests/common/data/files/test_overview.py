"""What is said of a data set before it is trained on."""

import shutil

from common.data.files.overview import classes, equal_in_classes, list_equal
from common.data.records import class_folders
from common.data.spreadsheet import read_csv
from tests.toys import write_images


def test_classes_are_counted_and_small_ones_named(tmp_path):
    for name, count in {"a": 5, "b": 3, "c": 1}.items():
        write_images(tmp_path, per_class=count, classes=[name])
    first, second = classes(*class_folders(tmp_path))
    assert "3 classes (a, b, c) of 1 to 5 pictures, median 3; 9 in all" in first
    assert "1 classes have one picture (c)" in second


def test_equal_files_in_two_classes_are_named_and_no_others(tmp_path):
    write_images(tmp_path / "data", per_class=4, classes=["a", "b"])
    data = tmp_path / "data"
    shutil.copy(data / "a" / "0.png", data / "b" / "copy.png")
    shutil.copy(data / "a" / "1.png", data / "a" / "copy.png")  # within a class: no contradiction
    end = (data / "a" / "2.png").read_bytes()[-4096:]
    (data / "b" / "longer.png").write_bytes(b"one" + end)
    (data / "a" / "longer.png").write_bytes(b"two" + end)  # of equal size and end
    table, names = class_folders(data)
    assert sorted(equal_in_classes(table)["id"]) == ["a/0.png", "b/copy.png"]
    assert "1 pictures" in list_equal(table, names, tmp_path / "equal.csv")
    listed = read_csv(tmp_path / "equal.csv", dtype=str)
    assert listed.to_dict("list") == {
        "id": ["a/0.png", "b/copy.png"],
        "class": ["a", "b"],
        "equal": ["0", "0"],
    }
    assert list_equal(table[table["id"] != "a/0.png"], names, tmp_path / "none.csv") is None
    assert not (tmp_path / "none.csv").exists()
    made = table.assign(
        train_only=table["id"] == "a/0.png"
    )  # such as a copy of ours, which no list can correct
    assert not len(equal_in_classes(made))
