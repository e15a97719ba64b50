"""Folders as people have them: links, systems' folders, other files, names in other encodings."""

import os
import unicodedata

import pytest

from common.data.files import found
from common.data.files.found import files_below, images_below, on_disk, pictures_below
from common.data.records import class_folders
from common.errors import PodiumError
from tests.kinds import kinds
from tests.toys import write_images


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_linked_folders_are_entered_and_circles_end(tmp_path):
    inside, outside = tmp_path / "data" / "cat", tmp_path / "elsewhere"
    touch(inside, "a.jpg")
    touch(outside, "b.jpg", "deep/c.jpg")
    (inside / "more").symlink_to(outside)
    (outside / "back").symlink_to(inside.parent)  # from below the data to above it
    assert [str(path.relative_to(inside)) for path in pictures_below(inside).pictures] == [
        "a.jpg", "more/b.jpg", "more/deep/c.jpg",
    ]  # fmt: skip
    assert [str(path.relative_to(inside.parent)) for path in pictures_below(inside.parent).pictures] == [
        "cat/a.jpg", "cat/more/b.jpg", "cat/more/deep/c.jpg",
    ]  # fmt: skip


def test_links_to_folders_above_or_to_themselves_lead_nowhere(tmp_path):
    root = tmp_path / "data"
    write_images(root, per_class=2, classes=["bar", "ring"])
    (root / "bar" / "up").symlink_to(root)
    (root / "bar" / "itself").symlink_to(root / "bar" / "itself")
    table, names = class_folders(root)
    assert names == ["bar", "ring"] and len(table) == 4
    assert table["id"].str.count("/").eq(1).all()
    (root / "all").symlink_to(root)
    with pytest.raises(PodiumError, match=r"1 of 3 classes have no images \(all\)"):
        class_folders(root)


def test_a_class_folder_that_is_a_broken_link_is_named(tmp_path):
    write_images(tmp_path, per_class=2, classes=["bar", "ring"])
    (tmp_path / "far").symlink_to("/mnt/nowhere/far")
    with pytest.raises(PodiumError, match=r"far is a link to /mnt/nowhere/far, which is not there"):
        class_folders(tmp_path)


def test_what_lies_beside_class_folders_is_counted_too(tmp_path, capsys):
    write_images(tmp_path, per_class=1, classes=["bar", "ring"])
    touch(tmp_path, "@eaDir/bar/a.jpg", "@eaDir/bar/b.jpg", ".DS_Store", "bar/.c.jpg", "ring/n.txt")
    assert len(class_folders(tmp_path)[0]) == 2
    assert "1 .txt (no pictures) and 4 hidden files" in capsys.readouterr().out


def test_a_linked_class_is_a_class_whose_ids_lie_below_the_root(tmp_path):
    write_images(tmp_path / "elsewhere", per_class=2, classes=["ring"])
    write_images(tmp_path / "data", per_class=2, classes=["bar"])
    (tmp_path / "data" / "ring").symlink_to(tmp_path / "elsewhere" / "ring")
    table, names = class_folders(tmp_path / "data")
    assert names == ["bar", "ring"]
    assert table["id"].tolist() == ["bar/0.png", "bar/1.png", "ring/0.png", "ring/1.png"]


def test_what_systems_leave_behind_is_no_data_and_counted(tmp_path, capsys):
    touch(
        tmp_path,
        "a.jpg",
        ".b.jpg",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/._a.jpg",
        "x/.Trash-1/c.jpg",
    )
    touch(tmp_path, "lost+found/d.jpg", "$RECYCLE.BIN/e.jpg", "Thumbs.db", "notes.TXT", "clip.mp4", "x/n.txt")
    below = pictures_below(tmp_path)
    assert [path.name for path in below.pictures] == ["a.jpg"]
    assert below.hidden == 7 and below.others == {".txt": 2, ".mp4": 1}
    assert images_below(tmp_path) == below.pictures
    said = capsys.readouterr().out
    assert "2 .txt" in said and "1 .mp4" in said and "7 hidden" in said
    images_below(tmp_path)
    assert not capsys.readouterr().out  # once
    assert files_below(tmp_path, {".txt"}) == [tmp_path / "notes.TXT", tmp_path / "x" / "n.txt"]


def test_without_a_suffix_the_content_counts(tmp_path):
    jpeg = kinds()[0].data
    for name, data in {
        "photo": jpeg,
        "1.2.840.113": jpeg,
        "README": b"text",
        "b.0": b"",
        "c.dat": jpeg,
    }.items():
        (tmp_path / name).write_bytes(data)
    below = pictures_below(tmp_path)
    assert [path.name for path in below.pictures] == ["1.2.840.113", "photo"]
    assert below.others == {"": 2, ".dat": 1}


def test_a_broken_link_is_a_picture_that_cannot_be_read_and_a_pipe_is_none(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [path.name for path in pictures_below(tmp_path).pictures] == ["gone.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_must_not_be_read_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(PodiumError, match=r"shut cannot be read.*chmod"):
        pictures_below(tmp_path)


def test_one_name_in_two_encodings_is_one_class(tmp_path):
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write_images(tmp_path / "mac", per_class=1, classes=[other, "bar"])
    write_images(tmp_path / "both", per_class=1, classes=[one, other])
    table, names = class_folders(tmp_path / "mac")
    assert names == ["bar", one] and table["id"].tolist() == ["bar/0.png", f"{one}/0.png"]
    assert os.path.exists(table["path"][1])  # the file keeps its name
    assert class_folders(tmp_path / "mac", [one, "bar"])[0]["label"].tolist() == [1, 0]
    assert class_folders(tmp_path / "mac", [other, "bar"])[1] == [one, "bar"]
    with pytest.raises(PodiumError, match="two folders are called «café»"):
        class_folders(tmp_path / "both")


def test_a_listed_name_is_found_in_whatever_encoding(tmp_path):
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{other}/{other}.jpg", f"{other}/b.jpg")
    assert on_disk(tmp_path / one / f"{one}.jpg") == tmp_path / other / f"{other}.jpg"
    assert on_disk(tmp_path / one / "b.jpg") == tmp_path / other / "b.jpg"
    assert on_disk(tmp_path / one / "c.jpg") == tmp_path / other / "c.jpg"


@pytest.fixture(autouse=True)
def _nothing_is_told_yet():
    found._told.clear()
