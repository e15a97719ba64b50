"""Folders of one's own: taken as what they are, or refused with what was seen."""

import os
import shutil
from pathlib import Path

import pytest

from common.data.folder import FolderData
from common.errors import PodiumError
from tests.toys import write_images


def lay(root, *places):
    """Folders of four pictures each; a name with a dot is a file of text, one that ends in / an empty folder."""
    for place in places:
        if place.endswith("/"):
            (root / place).mkdir(parents=True)
        elif "." in place:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text("id,label\n0,3\n1,2\n")
        else:
            write_images((root / place).parent, per_class=4, classes=[(root / place).name])


def data_of(root, **others):
    views = {"image": [], "batch": {}}
    place = {"root": str(root), "folder": str(root.parent / "run")}
    return FolderData(**place, size=[8, 8], seed=0, views=views, **others)


TAKEN = {  # places → (training, validation, score, test) folders of pictures
    ("a", "b"): ("a b", "", "", None),
    ("train/a", "train/b", "val/a", "val/b"): ("train/a train/b", "val/a val/b", "", None),
    ("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"): (
        "train/a train/b", "val/a val/b", "test/a test/b", "test/a test/b",
    ),
    ("train/a", "train/b", "test"): ("train/a train/b", "", "", "test"),
    ("training/a", "training/b", "validation/a", "validation/b"): (
        "training/a training/b", "validation/a validation/b", "", None,
    ),
    ("Train2017/a", "Train2017/b", "Test_images"): ("Train2017/a Train2017/b", "", "", "Test_images"),
    ("archive/a", "archive/b"): ("archive/a archive/b", "", "", None),
    ("archive/train/a", "archive/train/b", "archive/test/x"): (
        "archive/train/a archive/train/b", "", "", "archive/test/x",
    ),
    ("train/train/a", "train/train/b", "val/val/a", "val/val/b"): (
        "train/train/a train/train/b", "val/val/a val/val/b", "", None,
    ),
    ("images/a", "images/b", "test"): ("images/a images/b", "", "", "test"),
    ("images/a", "images/b", "parts/x.txt", "images.txt"): ("images/a images/b", "", "", None),
    ("train/a/images", "train/b/images", "val/a/images"): ("train/a/images train/b/images", "val/a/images", "", None),
    ("bus", "car", "train"): ("bus car train", "", "", None),
    ("a", "b", "@eaDir/a", ".thumbs", "__MACOSX/b", "@Recycle/b"): ("a b", "", "", None),
    ("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a", "seg_test/seg_test/b", "seg_pred/x"): (
        "seg_train/seg_train/a seg_train/seg_train/b", "", "seg_test/seg_test/a seg_test/seg_test/b",
        "seg_test/seg_test/a seg_test/seg_test/b",
    ),
    ("my_train/a", "my_train/b", "my_val/a", "my_val/b"): ("my_train/a my_train/b", "my_val/a my_val/b", "", None),
    ("训练集/a", "训练集/b", "测试集"): ("训练集/a 训练集/b", "", "", "测试集"),
    ("train_256x256/a", "train_256x256/b", "test_256x256"): (
        "train_256x256/a train_256x256/b", "", "", "test_256x256",
    ),
    ("train_station", "tea", "cup"): ("cup tea train_station", "", "", None),
    ("images/a", "images/b", "annotations/"): ("images/a images/b", "", "", None),
    ("train/a", "train/b", "val/", "test/"): ("train/a train/b", "", "", None),
    ("train/a", "train/b", "extra"): ("train/a train/b", "", "", None),
}  # fmt: skip
REFUSED = {
    ("a",): r"one class folder, «a»",
    ("train/a",): r"one class folder, «a»",
    (
        "train.csv",
        "images",
        "test",
        "sample_submission.csv",
    ): r"images/ \(4 pictures\), test/ .*train\.csv.*Tables",
    ("train.csv", "train", "test"): r"train/ \(4 pictures\).*train\.csv.*Tables",
    ("train.csv", "train_images", "test_images"): r"train_images/ .*train\.csv",
    ("training", "validation"): r"no class folders: expected",
    ("cats", "dogs", "test"): r"test stands among class folders \(cats, dogs\)",
    ("train/a", "train/b", "val/images"): r"val should hold the class folders of .*holds images",
    ("train/a", "train/b", "val"): r"val should hold .*in no class folders",
    ("train/a", "train/b", "training/a"): r"train, training could each be",
    ("a", "b", "c/"): r"1 of 3 classes have no images \(c\)",
    ("notes.txt",): r"holds no class folders",
    (
        "cats/train",
        "cats/val",
        "dogs/train",
        "dogs/val",
    ): r"each of cats, dogs holds train, val.*train/<class name>/",
    ("images", "masks"): r"images/ \(4 pictures\), masks/",
    ("fold1/a", "fold1/b", "fold2/a", "fold2/b"): r"fold1/ \(8 pictures\), fold2/",
}


@pytest.mark.parametrize("places", TAKEN, ids=" ".join)
def test_it_is_taken_as_what_it_is(places, tmp_path):
    lay(tmp_path / "root", *places)
    data = data_of(tmp_path / "root")
    table, names = data.records()
    part = table["part"].fillna("train") if "part" in table else table["id"].map(lambda _: "train")
    train, valid, score, test = TAKEN[places]
    for name, folders in {"train": train, "valid": valid, "score": score}.items():
        expected = [f"{folder}/{i}.png" for folder in folders.split() for i in range(4)]
        assert table["id"][part == name].tolist() == sorted(expected)
        if name != "train":
            assert data.shares[name] == (0 if folders else {"valid": 0.1, "score": 0}[name])
    for image, label in zip(table["id"], table["label"], strict=True):
        assert names[label] in image.split("/")
    if test is None:
        with pytest.raises(PodiumError, match="no test part"):
            data.test_records()
    else:
        expected = [f"{folder}/{i}.png" for folder in test.split() for i in range(4)]
        assert data.test_records()["id"].tolist() == sorted(expected)


@pytest.mark.parametrize("places", REFUSED, ids=" ".join)
def test_it_is_refused_with_what_was_seen(places, tmp_path):
    lay(tmp_path / "root", *places)
    with pytest.raises(PodiumError, match=REFUSED[places]):
        data_of(tmp_path / "root").records()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_that_says_otherwise_than_the_folders_is_refused(encoding, tmp_path):
    lay(tmp_path, "a", "b")
    (tmp_path / "train.csv").write_text("id,label\na/0.png,3\nb/1.png,2\na/1.png,2\n", encoding=encoding)
    with pytest.raises(PodiumError, match=r"train\.csv says .* a/1\.png,2: tables of labels are not read"):
        data_of(tmp_path).records()


@pytest.mark.parametrize(
    "text",
    [
        "id,label\na/0.png,3\nb/1.png,2\na/1.png,3\n",  # numbers for the classes
        "file,class\na/0.png,A\nb/1.png,B\n",
        "filename,width,height\na/0.png,16,16\na/1.png,17,16\n",
        "file,class\n" + "x" * 200_000,
    ],
)
def test_a_table_that_says_nothing_else_is_not_read(text, tmp_path, capsys):
    lay(tmp_path, "a", "b")
    (tmp_path / "labels.csv").write_text(text)
    assert len(data_of(tmp_path).records()[0]) == 8
    assert "labels.csv is not read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "file,class\na/0.png,a\nb/1.png,b\n",
        "file,dx,dx_type,label\na/0.png,x,raw,a\na/1.png,y,clean,a\nb/1.png,x,raw,b\n",  # one column agrees
    ],
)
def test_a_table_that_says_what_the_folders_say_does_no_harm(text, tmp_path, capsys):
    lay(tmp_path, "a", "b")
    (tmp_path / "labels.csv").write_text(text)
    assert len(data_of(tmp_path).records()[0]) == 8
    assert "labels.csv is not read" in capsys.readouterr().out


def test_a_class_folder_that_must_not_be_read_is_named(tmp_path, monkeypatch):
    lay(tmp_path, "a", "b")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(
        "common.data.files.found.os.scandir", refuse
    )  # tests may run as root, who may read all
    with pytest.raises(PodiumError, match=r"/b cannot be read .*chmod"):
        data_of(tmp_path).records()


def test_with_folds_the_pictures_of_validation_are_divided_too(tmp_path, capsys):
    lay(tmp_path, "train/a", "train/b", "val/a", "val/b", "test/a", "test/b")
    data = data_of(tmp_path, folds=2, fold=0)
    data.setup()
    table = data.table
    assert "val/ join those of training" in capsys.readouterr().out
    assert set(table[table["id"].str.startswith("val/")]["fold"]) == {0, 1}
    assert (table[table["id"].str.startswith("test/")]["part"] == "score").all()


@pytest.mark.parametrize(
    ("places", "loose"),
    [(("a", "b"), "."), (("train/a", "train/b", "val/a"), "."), (("train/a", "train/b"), "train"),
     (("ds/train/a", "ds/train/b"), "."), (("ds/train/a", "ds/train/b"), "ds")],
)  # fmt: skip
def test_pictures_beside_the_class_folders_are_counted(places, loose, tmp_path, capsys):
    lay(tmp_path / "root", *places)
    picture = next((tmp_path / "root").rglob("*.png"))
    for name in ("x.png", "y.png", "z.png"):
        shutil.copy(picture, tmp_path / "root" / loose / name)
    assert len(data_of(tmp_path / "root").records()[0]) == 4 * len(places)
    assert "3 pictures that lie in" in capsys.readouterr().out
