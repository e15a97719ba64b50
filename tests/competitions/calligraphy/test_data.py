"""The official layout, with and without list files, and what is wrong with a bad one."""

import pytest

from common.errors import PodiumError
from competitions.calligraphy.data import CalligraphyData, read_label_list
from tests.toys import write_images

NAMES = ["永", "和", "九", "年"]


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path / "root" / "train", per_class=4, classes=NAMES)
    write_images(tmp_path / "root" / "loose", per_class=3, classes=["x"])
    (tmp_path / "root" / "loose" / "x").rename(tmp_path / "root" / "test1")
    return tmp_path / "root"


def data(root):
    return CalligraphyData(
        root=str(root),
        size=[16, 16],
        channels=1,
        folder=str(root / "run"),
        seed=0,
        views={"image": [], "batch": {}},
    )


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_without_lists_folders_are_classes_in_sorted_order(root):
    table, names = data(root).records()
    assert names == sorted(NAMES) and len(table) == 16 and "part" not in table
    assert table["id"].str.match(r"train/.\/\d.png").all()


def test_the_label_list_fixes_the_order_of_classes(root):
    write(root / "label_list.txt", *(f"{name} {label}" for label, name in enumerate(NAMES)))
    table, names = data(root).records()
    assert names == NAMES
    assert set(table.loc[table["label"] == 0, "id"].str[6]) == {"永"}


def test_lists_fix_the_split(root):
    write(root / "label_list.txt", *(f"{name} {label}" for label, name in enumerate(NAMES)))
    for part, numbers in (("train", (0, 1, 2)), ("valid", (3,))):
        lines = [
            f"train/{name}/{number}.png {label}" for label, name in enumerate(NAMES) for number in numbers
        ]
        write(root / f"{part}.txt", *lines)
    found = data(root)
    found.setup()
    assert len(found.rows("train")) == 12
    assert {path.rsplit("/")[-1] for path in found.table["path"].iloc[found.rows("valid")]} == {"3.png"}


@pytest.mark.parametrize(("there", "missing"), [("train.txt", "valid.txt"), ("valid.txt", "train.txt")])
def test_half_a_split_is_refused(root, there, missing):
    write(root / there, "train/永/0.png 0")
    with pytest.raises(PodiumError, match=f"{there} is there without {missing}"):
        data(root).records()


def test_an_empty_test_part_does_not_hide_the_other(root):
    (root / "test2").mkdir()
    assert len(data(root).test_records()) == 3


def test_the_test_part_keeps_the_order_of_its_list(root):
    assert data(root).test_records()["id"].tolist() == ["test1/0.png", "test1/1.png", "test1/2.png"]
    write(root / "test1.txt", "test1/2.png", "test1/0.png", "test1/1.png")
    assert data(root).test_records()["id"].tolist() == ["test1/2.png", "test1/0.png", "test1/1.png"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["永 0", "和 2", "九 3", "年 4"], r"indices 0 to 3; \[1\] are missing"),
        (["永 0", "永 1"], r":2: «永» stands in the list twice"),
        (["永 zero"], r":1: expected «character index», got «永 zero»"),
        (["永 0", "和 1", "九 2"], "not among the 3 known classes, the first is «年»"),
        (["永 0", "和 1", "九 2", "年 3", "乐 4"], r"1 of 5 classes have no images \(乐\)"),
    ],
)
def test_faults_of_the_label_list_are_named(root, lines, message):
    write(root / "label_list.txt", *lines)
    with pytest.raises(PodiumError, match=message):
        data(root).records()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train/蘭/1.png 0", r"train.txt:1: «蘭» is no known character"),
        ("train/永/1.png 3", "label of 永 is 0, but"),
    ],
)
def test_faults_of_the_lists_name_file_and_line(root, line, message):
    write(root / "label_list.txt", *(f"{name} {label}" for label, name in enumerate(NAMES)))
    write(root / "train.txt", line)
    write(root / "valid.txt", "train/永/0.png 0")
    with pytest.raises(PodiumError, match=message):
        data(root).records()


def test_another_encoding_is_named(root):
    (root / "label_list.txt").write_bytes("永 0\n".encode("gbk"))
    with pytest.raises(PodiumError, match="is not UTF-8"):
        read_label_list(root / "label_list.txt")


def test_an_image_in_both_lists_is_refused(root):
    write(root / "label_list.txt", *(f"{name} {label}" for label, name in enumerate(NAMES)))
    for part in ("train", "valid"):
        write(root / f"{part}.txt", "train/永/0.png 0")
    with pytest.raises(PodiumError, match=r"train/永/0\.png stands in train\.txt and in valid\.txt"):
        data(root).records()
