"""Copies on disk: balanced counts, the same bytes whatever was interrupted, and none of what a job holds out."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.callbacks.soft_labels import SoftLabels
from common.data.edits import copies as module
from common.data.edits.copies import Copies, copies_of_each
from common.data.folder import FolderData
from common.data.pixels.pack import file_keys
from common.data.reading.images import read
from common.data.records import class_folders
from common.errors import PodiumError
from tests.toys import write_images

VIEWS = [{"Affine": {"rotate": [-20, 20], "translate_percent": [-0.1, 0.1]}}]
COPIES = {"_target_": "common.data.edits.copies.Copies", "views": VIEWS}


@pytest.fixture
def root(tmp_path):
    """Classes of 20, 8, 5 and 3 pictures."""
    root = tmp_path / "images"
    for name, count, seed in (("bar", 20, 0), ("cross", 8, 1), ("ring", 5, 2), ("slash", 3, 3)):
        write_images(root, per_class=count, classes=[name], seed=seed)
    return root


def make(root, folder, seed=0, **settings):
    table = class_folders(root)[0]
    return Copies(VIEWS, **settings).make(
        table,
        file_keys(table["path"].tolist()),
        lambda row: read(table["path"][row], 1),
        folder,
        seed,
        channels=1,
    )


def data(root, run, **options):
    given = {
        "size": [16, 16],
        "channels": 1,
        "seed": 3,
        "views": {},
        "valid": 0.25,
        "copies": COPIES,
    } | options
    found = FolderData(root=str(root), folder=str(run), **given)
    found.setup()
    return found


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.mark.parametrize(
    ("per_class", "sizes"), [(None, [20, 20, 20, 20]), (7, [20, 8, 7, 7]), (1, [20, 8, 5, 3])]
)
def test_classes_come_up_to_a_number_and_each_picture_has_its_turn(root, per_class, sizes):
    table = class_folders(root)[0]
    counts = np.array(copies_of_each(table, per_class))
    labels = table["label"].to_numpy()
    assert [int((1 + counts[labels == label]).sum()) for label in range(4)] == sizes
    for label in range(4):
        assert np.ptp(counts[labels == label]) <= 1
    shuffled = table.sample(frac=1, random_state=1)
    assert dict(zip(table["id"], counts, strict=True)) == dict(
        zip(shuffled["id"], copies_of_each(shuffled, per_class), strict=True)
    )


def test_copies_are_changed_pictures_of_their_originals_and_listed(root, tmp_path):
    made = make(root, tmp_path / "copies")
    assert len(made) == 80 - 36 and made["train_only"].all() and made["id"].is_unique
    original = class_folders(root)[0].set_index("id")
    for copy in made.itertuples():
        assert copy.label == original.loc[copy.copy_of, "label"]
        one, other = read(copy.path, 1), read(original.loc[copy.copy_of, "path"], 1)
        assert one.shape == other.shape and not np.array_equal(one, other)
    assert len({Path(path).read_bytes() for path in made["path"]}) == len(made)
    listed = pd.read_csv(tmp_path / "copies" / "manifest.csv")
    assert listed["id"].tolist() == made["id"].tolist() and listed["label"].tolist() == made["label"].tolist()
    assert [str(tmp_path / "copies" / file) for file in listed["file"]] == made["path"].tolist()


def test_making_goes_on_where_it_was_killed_with_the_same_bytes(root, tmp_path, monkeypatch):
    whole = make(root, tmp_path / "whole")
    write, written = module._write_jpeg, []

    def write_some(path, image):
        if len(written) == 17:
            raise KeyboardInterrupt
        written.append(path)
        write(path, image)

    monkeypatch.setattr(module, "_write_jpeg", write_some)
    with pytest.raises(KeyboardInterrupt):
        make(root, tmp_path / "killed")
    monkeypatch.setattr(module, "_write_jpeg", lambda path, image: (written.append(path), write(path, image)))
    again = make(root, tmp_path / "killed")
    assert len(written) == len(set(written)) == len(again) == len(whole)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    make(root, tmp_path / "killed")
    assert len(written) == len(whole)  # nothing was left


def test_of_changed_and_new_pictures_alone_copies_are_made_anew(root, tmp_path):
    make(root, tmp_path / "copies")
    before = contents(tmp_path / "copies")
    (root / "slash" / "0.png").write_bytes((root / "bar" / "0.png").read_bytes())
    made = make(root, tmp_path / "copies")
    after = contents(tmp_path / "copies")
    fresh = {str(tmp_path / "copies" / path) for path in after.keys() - before.keys()}
    assert fresh == set(made.loc[made["copy_of"] == "slash/0.png", "path"])
    assert {path: after[path] for path in before} == before


def test_other_seeds_views_and_channels_have_copies_of_their_own(root, tmp_path):
    table, folder = class_folders(root)[0], tmp_path / "copies"
    keys = file_keys(table["path"].tolist())
    ways = [(VIEWS, 1, 0), (VIEWS, 1, 1), ([{"Fliplr": 1}], 1, 0), (VIEWS, 3, 0)]
    paths: list[str] = []
    for views, channels, seed in ways:
        made = Copies(views).make(
            table, keys, lambda row, c=channels: read(table["path"][row], c), folder, seed, channels
        )
        paths += made["path"].tolist()
    assert len(paths) == len(set(paths)) == len(ways) * 44


def test_a_copy_that_a_crash_left_empty_is_made_again(root, tmp_path):
    made = make(root, tmp_path / "copies")
    before = contents(tmp_path / "copies")
    Path(made["path"][3]).write_bytes(b"")
    make(root, tmp_path / "copies")
    assert contents(tmp_path / "copies") == before


def test_a_job_trains_on_copies_of_what_it_trains_on_and_of_nothing_else(root, tmp_path):
    for job in (
        {},
        {"score": 0.2, "choose": 0.1},
        *({"folds": 3, "fold": fold, "valid": 0.0} for fold in range(3)),
    ):
        found = data(root, tmp_path / str(job), copies_folder=str(tmp_path / "copies"), **job)
        table = found.table
        trained, held = table.iloc[found.rows("train")], table[~table.index.isin(found.rows("train"))]
        copies = trained[trained["copy_of"] != ""]
        originals = set(trained.loc[trained["copy_of"] == "", "id"])
        assert len(copies) and set(copies["copy_of"]) <= originals
        assert not set(held.loc[held["copy_of"] != "", "copy_of"]) & originals  # all of a picture's, or none
        for part in ("valid", "choose", "score"):
            assert (table["copy_of"].iloc[found.rows(part)] == "").all()
        counts = Counter(trained["label"])
        assert max(counts.values()) - min(counts.values()) <= 8  # of about 15: classes of 3 have few to copy
    assert len(list((tmp_path / "copies").glob("*/*.jpg"))) == 44  # shared by all


def test_the_split_is_the_same_with_and_without_copies(root, tmp_path):
    for job in ({}, {"folds": 3, "fold": 1, "valid": 0.0}):
        without = data(root, tmp_path / f"without{job}", copies=None, near_duplicates=True, **job).table
        balanced = data(root, tmp_path / f"with{job}", near_duplicates=True, **job).table
        whole = balanced[balanced["copy_of"] == ""]
        pd.testing.assert_frame_equal(whole[without.columns], without)


def test_copies_go_with_the_groups_of_their_originals(root, tmp_path):
    """Near-duplicates stay on one side with all their copies, also where the user's split parts them."""
    for number in range(6):
        (root / "bar" / f"again{number}.png").write_bytes((root / "ring" / "0.png").read_bytes())
    found = data(root, tmp_path / "run", near_duplicates=True)
    sides = found.table.assign(trained=found.table.index.isin(found.rows("train")))
    same = sides[sides["id"].str.contains("again") | (sides["id"] == "ring/0.png")]
    assert same["group"].nunique() == 1
    members = sides[sides["group"].isin(same["group"])]
    assert (members["copy_of"] != "").any() and members["trained"].nunique() == 1


def test_pixels_and_labels_of_copies_are_theirs_in_memory_and_from_a_pack(root, tmp_path):
    place = {"copies_folder": str(tmp_path / "copies")}
    plain = data(root, tmp_path / "a", **place)
    packed = data(root, tmp_path / "b", packs=str(tmp_path / "pack"), in_memory_bytes=0, **place)
    for row in np.flatnonzero(plain.table["copy_of"] != "")[::7]:
        expected = read(plain.table["path"][row], 1)
        np.testing.assert_array_equal(plain.pixels[row], expected)
        np.testing.assert_array_equal(packed.pixels[row], expected)
    assert plain.train_images.labels.tolist() == plain.table["label"].tolist()


def test_a_picture_that_cannot_be_read_has_no_copies_and_is_named_once(root, tmp_path):
    (root / "slash" / "1.png").write_bytes(b"no picture")
    found = data(root, tmp_path / "run", max_bad_share=0.2)
    bad = pd.read_csv(tmp_path / "run" / "bad_images.csv")
    assert len(bad) == 1 and bad["path"][0].endswith("slash/1.png")
    assert not found.table["copy_of"].eq("slash/1.png").any()


def test_a_picture_that_can_be_read_no_more_takes_its_copies_along(root, tmp_path):
    place = {"copies_folder": str(tmp_path / "copies"), "max_bad_share": 0.2}
    whole = data(root, tmp_path / "whole", **place)
    assert whole.table["copy_of"].eq("slash/1.png").any()
    path = root / "slash" / "1.png"
    size, times = path.stat().st_size, (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(bytes(size))
    os.utime(path, ns=times)  # as on a failing disk, where copies made from it are found again
    found = data(root, tmp_path / "run", **place)
    rest = whole.table[~whole.table["copy_of"].eq("slash/1.png") & (whole.table["id"] != "slash/1.png")]
    assert sorted(found.table["id"]) == sorted(rest["id"])


def test_what_cleaning_leaves_out_takes_its_copies_along(root, tmp_path):
    names = ["bar", "cross", "ring", "slash"]
    kept = pd.DataFrame(
        {"id": [f"ring/{n}.png" for n in range(5)], "class": names[2], "kept": [True] * 4 + [False]}
    )
    kept.to_csv(tmp_path / "list.csv", index=False)
    found = data(root, tmp_path / "run", cleaned=str(tmp_path / "list.csv"))
    trained = found.table.iloc[found.rows("train")]
    assert not trained["copy_of"].eq("ring/4.png").any() and not trained["id"].eq("ring/4.png").any()


def test_a_copy_is_taught_what_its_original_is(tmp_path):
    rows = pd.DataFrame({"id": ["a", "b"], "probabilities": [[0.9, 0.1], [0.2, 0.8]]})
    rows.to_parquet(tmp_path / "teacher.parquet")
    callback = SoftLabels(str(tmp_path / "teacher.parquet"))
    callback.read(["b", "c", "a", "b", "b"], 2)
    taught = callback.teacher(torch.tensor([0, 2, 3, 4]))
    np.testing.assert_allclose(taught[:, 1], [0.8, 0.1, 0.8, 0.8], rtol=1e-6)
    assert callback.known.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": []}, "data.copies.views is empty"),
        ({"views": VIEWS, "per_class": 0}, "data.copies.per_class must be at least 1 or null, got 0"),
        ({"views": [{"Afine": {}}]}, "Did you mean Affine"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(PodiumError, match=message):
        Copies(**settings)
