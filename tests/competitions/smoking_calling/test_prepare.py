"""Preparing: what is written, what is left out and why, and that it is whole, repeatable and leaves originals alone."""

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.data.reading.images import read
from competitions.smoking_calling import prepare as module
from competitions.smoking_calling.clean import shrunk, verdicts
from competitions.smoking_calling.data import raw_records
from competitions.smoking_calling.prepare import (
    COUNTS,
    Settings,
    is_pasted,
    prepare,
    prepared_table,
    source_of,
)
from competitions.smoking_calling.sample import CLASSES
from tests.competitions.smoking_calling.pictures import random_picture, write

SETTINGS = Settings.of(600, {"calling": 7, "normal": 2, "smoking": 500})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Large, small, equal, contradicting and unreadable files of several formats, and material to paste."""
    root = tmp_path_factory.mktemp("data") / "root"
    train = root / "train"
    for label, name in enumerate(CLASSES[:3]):
        for number in range(6):
            write(train / name / f"v1_{number}.png", random_picture(80, 60, 100 * label + number))
            write(train / name / f"v2_tall{number}.png", random_picture(300, 120, 100 * label + 10 + number))
            write(train / name / f"v2_back{number}.png", random_picture(600, 200, 100 * label + 20 + number))
    write(train / "calling" / "large.PNG", random_picture(1500, 900, 900))
    write(train / "calling" / "long.png", random_picture(1500, 300, 901))
    same = random_picture(50, 50, 902)
    write(train / "smoking" / "v1_a.png", same)
    write(train / "smoking" / "v2" / "b.bmp", same)  # the same pixels in another format
    both = random_picture(50, 50, 903)
    write(train / "smoking" / "v1_c.png", both)
    write(train / "normal" / "v1_d.png", both)
    (train / "normal" / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    write(train / "calling" / "aug_calling_0.png", random_picture(50, 50, 904))
    return root


@pytest.fixture(scope="module")
def out(root, tmp_path_factory):
    return prepare(root, tmp_path_factory.mktemp("out") / "prepared", raw_records(root), CLASSES, SETTINGS)


@pytest.fixture(scope="module")
def manifest(out):
    return pd.read_csv(out / "manifest.csv", keep_default_na=False)


def fingerprint(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha1(p.read_bytes()).hexdigest() for p in files}


def test_every_picture_stands_in_the_manifest_once_with_what_was_done(root, out, manifest):
    given = manifest[manifest["original"] != ""]
    assert sorted(given["original"]) == raw_records(root)["id"].tolist()
    done = given.set_index("original")
    assert done["action"].value_counts().to_dict() == {
        "copied": 56, "shrunk": 1, "duplicate": 1, "contradiction": 2, "unreadable": 1, "left out": 1,
    }  # fmt: skip
    assert done.loc["train/smoking/v2/b.bmp", "note"] == "of train/smoking/v1_a.png"
    assert "normal and smoking" in done.loc["train/normal/v1_d.png", "note"]
    assert done.loc["train/calling/large.PNG", "note"] == "from 900x1500 to 360x600"
    for image in done.loc[done["id"] != "", "id"]:
        assert (out / image).is_file()
    written = {path.relative_to(out).as_posix() for path in (out / "train").rglob("*.*")}
    assert written == set(manifest["id"]) - {""}


def test_what_is_not_large_is_copied_and_named_by_source_and_pixels(root, out, manifest):
    for row in manifest[manifest["action"] == "copied"].to_dict("records"):
        assert (out / row["id"]).read_bytes() == (root / row["original"]).read_bytes()
        source = source_of(row["original"])
        assert source_of(row["id"]) == source and row["id"].split("/")[1] == row["class"]


def test_a_large_picture_is_shrunk_by_area_and_only_if_both_sides_are_long(root, out, manifest):
    new = manifest.set_index("original").loc["train/calling/large.PNG", "id"]
    expected = cv2.resize(random_picture(1500, 900, 900), (360, 600), interpolation=cv2.INTER_AREA)
    assert np.abs(read(out / new, 3).astype(int) - expected).mean() < 2  # but for the JPEG
    for height, width, size in [(601, 601, (600, 600)), (600, 5000, (600, 5000)), (800, 1000, (480, 600))]:
        assert shrunk(np.zeros((height, width, 3), np.uint8), 600).shape[:2] == size


def test_folds_are_those_of_the_shared_function_and_even_by_class(out):
    folds = pd.read_csv(out / "folds.csv", keep_default_na=False)
    own = folds[~folds["train_only"]]
    assert own["fold"].between(0, 4).all()
    counts = own.groupby(["class", "fold"]).size().unstack(fill_value=0)
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_pasted_pictures_are_made_of_two_of_their_fold_and_scaled_to_the_class(out, manifest):
    folds = pd.read_csv(out / "folds.csv", keep_default_na=False).set_index("id")
    pasted = folds[folds["train_only"]]
    assert pasted["class"].value_counts().to_dict() == {"smoking": 19, "calling": 7, "normal": 2}
    noted = manifest.set_index("id")["note"]
    for image, row in pasted.iterrows():
        assert is_pasted(image) and noted[image] == row["made_of"]
        front, back = (folds.loc[source] for source in row["made_of"].split(" "))
        assert front["fold"] == back["fold"] == row["fold"]
        assert front["class"] == row["class"] and back["class"] in (row["class"], "normal")
        page, size = read(out / image, 3), read(out / row["made_of"].split(" ")[0], 3).shape
        assert page.shape == (600, 600, 3) and size == (300, 120, 3)
    assert pasted["group"].is_unique and not set(pasted["group"]) & set(
        folds.loc[~folds["train_only"], "group"]
    )


def test_a_second_call_changes_nothing_and_a_third_elsewhere_gives_the_same(root, out, tmp_path):
    before = fingerprint(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    prepare(root, out, raw_records(root), CLASSES, SETTINGS)
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert fingerprint(prepare(root, tmp_path / "again", raw_records(root), CLASSES, SETTINGS)) == before


def test_originals_are_not_touched_and_an_interrupted_call_leaves_nothing(root, tmp_path, monkeypatch):
    before = fingerprint(root)
    monkeypatch.setattr(module, "paste", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(root, tmp_path / "out", raw_records(root), CLASSES, SETTINGS)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert len(prepared_table(prepare(root, tmp_path / "out", raw_records(root), CLASSES, SETTINGS)))
    assert fingerprint(root) == before


@pytest.mark.parametrize("moment", ["before", "while", "after"])
def test_folds_outlive_a_kill_while_one_folder_takes_the_others_place(root, tmp_path, monkeypatch, moment):
    """Folds that chance would not give, so that they can only come from the folder that is replaced."""
    copy = shutil.copytree(root, tmp_path / "copy")
    few = Settings.of(600, {"calling": 0})
    out = prepare(copy, tmp_path / "out", raw_records(copy), CLASSES, few)
    stored = pd.read_csv(out / "folds.csv", keep_default_na=False)
    stored["fold"] = (stored["fold"] + 1) % 5
    stored.to_csv(out / "folds.csv", index=False)
    write(copy / "train" / "smoking_calling" / "v3_new.png", random_picture(40, 40, 999))
    rename = Path.rename

    def killed(path, target):
        if moment == "before" or (moment == "while" and path.name == "partial"):
            raise KeyboardInterrupt
        rename(path, target)
        if moment == "after" and path.name == "partial":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(copy, out, raw_records(copy), CLASSES, few)
    monkeypatch.undo()
    found = prepared_table(prepare(copy, out, raw_records(copy), CLASSES, few)).set_index("id")["fold"]
    assert len(found) == len(stored) + 1
    assert found[stored["id"]].tolist() == stored["fold"].tolist()


def test_a_root_that_has_changed_is_noticed_and_prepared_afresh(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "copy")
    few = Settings.of(600, {"calling": 0})
    out = prepare(copy, tmp_path / "out", raw_records(copy), CLASSES, few)
    write(copy / "train" / "smoking_calling" / "v3_new.png", random_picture(40, 40, 999))
    table = prepared_table(prepare(copy, out, raw_records(copy), CLASSES, few))
    assert table.loc[table["label"] == 3, "source"].tolist() == ["v3"]


def test_verdicts_by_hand():
    table = pd.DataFrame({"id": list("abcde"), "label": [0, 0, 1, 2, 1], "train_only": [False] * 4 + [True]})
    found = verdicts(table, ["x", "x", "y", "y", "x"], CLASSES)
    assert [action for action, _ in found] == [
        "kept",
        "duplicate",
        "contradiction",
        "contradiction",
        "left out",
    ]
    assert found[1][1] == "of a"


def test_the_counts_of_the_original_are_the_default():
    assert dict(Settings.of(600, None).paste) == COUNTS == {
        "calling": 500, "normal": 100, "smoking": 500, "smoking_calling": 1000,
    }  # fmt: skip
