"""The contest's layout, labels by folder, sources by name, pasted pictures, and pictures turned upright."""

import numpy as np
import pandas as pd
import pytest

from common.data import predictions
from common.data.reading.images import read
from common.errors import PodiumError
from competitions.smoking_calling.data import SmokingCallingData, read_orientation
from competitions.smoking_calling.sample import CLASSES
from tests.competitions.smoking_calling.pictures import random_picture, write


def data(root, **arguments):
    common = {"size": [32, 32], "folder": str(root.parent / "run"), "seed": 0, "valid": 0.25,
              "views": {"image": [], "batch": {}}}  # fmt: skip
    return SmokingCallingData(root=str(root), **common | arguments)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root whose very name holds «smoking» and «calling»; smoking_calling has no pictures."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "hualubei2020-callingsmoking"
    seed = 0
    for name in CLASSES[:3]:
        for number in range(8):
            seed += 1
            source = ["v1_", "v2_", ""][number % 3]
            write(root / "train" / name / f"{source}{number}.png", random_picture(40, 40, seed))
    for number in range(3):
        write(root / "test" / f"v1_{number}.png", random_picture(30, 20, 100 + number))
    return root


def test_a_pictures_class_is_its_folder_whatever_the_rest_of_its_path_says(root):
    table, names = data(root).records()
    assert names == ["calling", "normal", "smoking", "smoking_calling"]
    assert [names[label] for label in table["label"]] == [image.split("/")[1] for image in table["id"]]
    assert set(table["source"]) == {"v1", "v2", ""} and not table["train_only"].any()


def test_the_originals_deeper_folder_is_found(root):
    (root / "train").rename(root / "finalall")
    (root / "finalall").rename(root.parent / "finalall")
    (root / "train").mkdir()
    (root.parent / "finalall").rename(root / "train" / "finalall")
    table, _ = data(root, prepared=False).records()
    assert len(table) == 24 and table["id"].str.startswith("train/finalall/").all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phoning/a.png", "not among the 4 known classes, the first is «phoning»"),
        ("a.png", "a.png is in no class folder"),
    ],
)
def test_a_picture_that_belongs_to_no_class_is_refused(root, name, message):
    write(root / "train" / name, random_picture(20, 20, 7))
    with pytest.raises(PodiumError, match=message):
        data(root).records()


def test_an_absent_class_does_not_stop_the_run(root, capsys):
    found = data(root)
    found.setup()
    assert len(found.rows("train")) + len(found.rows("valid")) == 24
    assert "smoking_calling" in capsys.readouterr().out


@pytest.mark.parametrize("prepared", [True, False])
def test_pictures_pasted_by_others_are_left_out(root, prepared, capsys):
    for number in range(20):
        write(root / "train" / "calling" / f"aug_calling_{number}.png", random_picture(40, 40, 200 + number))
    table, _ = data(root, prepared=prepared).records()
    assert len(table) == 24 and "left out" in capsys.readouterr().out


def test_listed_pictures_are_turned_upright_and_others_stay(root):
    upright = random_picture(30, 20, 50)
    write(root / "test" / "v1_1.png", np.ascontiguousarray(np.rot90(upright)))  # lies on its left side
    write(root / "train" / "calling" / "v2_1.png", np.ascontiguousarray(np.rot90(upright, 2)))
    path = root.parent / "orientation.csv"
    path.write_text("id,degrees\ntest/v1_1.png,90\ntrain/calling/v2_1.png,180\n")
    found = data(root, prepared=False, orientation=str(path))
    for table in (found.test_records(), found.records()[0]):
        raw = {image: str(root / image) for image in table["id"]}
        for image, where in zip(table["id"], table["path"], strict=True):
            if image in ("test/v1_1.png", "train/calling/v2_1.png"):
                np.testing.assert_array_equal(read(where, 3), upright)
            else:
                assert where == raw[image]


@pytest.mark.parametrize("job", [{}, *({"folds": 5, "fold": fold, "valid": 0.0} for fold in range(5))])
def test_copies_of_what_a_job_validates_are_not_taught_to_it(root, job):
    """Every labelled picture lies among the unlabelled ones too, and there is one that nobody knows."""
    copied = sorted((root / "train").rglob("*.png"))
    new = root.parent / "new"
    for number, path in enumerate(copied):
        write(new / f"{number:02d}.png", read(path, 3))
    write(new / "other.png", random_picture(40, 40, 999))
    taught = root.parent / "taught.parquet"
    ids = [f"unlabelled/{path.name}" for path in sorted(new.iterdir())]
    predictions.write(taught, ids, np.full(len(ids), -1), np.tile(np.float32([1, 0, 0, 0]), (len(ids), 1)))
    options = {"near_duplicates": True, "paste": {}, **job}
    data(root, **options).setup()  # the run's split, before anyone is taught
    found = data(root, unlabelled=str(new), taught=str(taught), **options)
    found.setup()
    table = found.table
    pixels = {row: found.pixels[row].tobytes() for row in range(len(table))}
    held = {pixels[row] for row in found.rows("valid")}
    trained = [row for row in found.rows("train") if table["id"][row].startswith("unlabelled/")]
    assert held and len(trained) == len(ids) - len(held)
    assert not held & {pixels[row] for row in trained}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,angle\na,90\n", "line 1 must be «id,degrees», got «id,angle»"),
        ("id,degrees\na,90\nb,45\n", r":3: degrees of b must be 90, 180 or 270, got «45»"),
    ],
)
def test_faults_of_the_orientation_list_are_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(PodiumError, match=message):
        read_orientation(tmp_path / "list.csv")
    with pytest.raises(PodiumError, match="there is no file"):
        read_orientation(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paste": {"phoning": 3}}, "data.paste: «phoning» is no class"),
        ({"paste": {"calling": -3}}, "data.paste.calling must be at least 0, got -3"),
        ({"shrink": 5}, "data.shrink must be at least 64 pixels, got 5"),
    ],
)
def test_wrong_settings_are_named(root, arguments, message):
    with pytest.raises(PodiumError, match=message):
        data(root, **arguments)


def test_pasted_pictures_are_trained_on_only_with_what_they_are_made_of(root):
    """By one split and by folds: in no job has a training picture a part that is held out."""
    for name in CLASSES[:3]:
        for number in range(7):
            seed = 300 + 20 * CLASSES.index(name) + number
            write(root / "train" / name / f"v1_tall{number}.png", random_picture(90, 40, seed))
            write(root / "train" / name / f"v1_back{number}.png", random_picture(600, 20, seed + 10))
    paste = {"calling": 5, "normal": 5, "smoking": 5}
    data(root, paste=paste).prepare()
    seen = pd.Series(dtype=int)
    for job in (
        {},
        *({"folds": 5, "fold": fold, "valid": 0.0} for fold in range(5)),
        {"folds": 3, "fold": 1, "valid": 0.0},
    ):
        found = data(root, folder=str(root.parent / str(job)), paste=paste, **job)
        found.setup()
        table = found.table
        trained = set(table["id"].iloc[found.rows("train")])
        pasted = table[table["id"].isin(trained) & table["train_only"]]
        assert len(pasted) > 0 and not table["train_only"].iloc[found.rows("valid")].any()
        for sources in pasted["made_of"]:
            assert trained.issuperset(sources.split(" "))
        if job.get("folds") == 5:
            seen = seen.add(pasted["id"].value_counts(), fill_value=0)
            held = table.iloc[found.rows("valid")]
            stored = pd.read_csv(found.prepared_folder / "folds.csv").set_index("id")
            assert (stored.loc[held["id"], "fold"] == job["fold"]).all()
    assert (seen == 4).all() and len(seen) == 15  # each is made within one fold
