"""`file,index,label`: a row a record, whatever holds the records."""

import zipfile

import cv2
import numpy as np
import pytest

from common.errors import PodiumError
from competitions.hccr.submission import HccrSubmission
from tests.competitions.hccr.records import CHARACTERS, write_writer

NAMES = list("一丁七万丈三")


@pytest.fixture
def submission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return HccrSubmission()


def test_records_of_a_file_a_folder_and_a_zip(submission, tmp_path):
    write_writer(tmp_path / "in" / "a.gnt", 0, known=False)
    write_writer(tmp_path / "in" / "sub" / "b.gnt", 1)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "in" / "a.gnt", "deep/a.gnt")
    count = len(CHARACTERS)
    of_file, paths = submission.pictures(tmp_path / "in" / "a.gnt")
    assert of_file == [f"a.gnt#{n}" for n in range(count)] and len(paths) == count
    of_folder, _ = submission.pictures(tmp_path / "in")
    assert of_folder == [*of_file, *(f"sub/b.gnt#{n}" for n in range(count))]
    assert submission.pictures(tmp_path / "all.zip")[0] == [f"deep/{name}" for name in of_file]
    with pytest.raises(PodiumError, match="no images below"):
        (tmp_path / "empty").mkdir()
        submission.pictures(tmp_path / "empty")


def test_pictures_are_taken_where_there_are_no_records(submission, tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((5, 5), np.uint8))
    assert submission.pictures(tmp_path / "one.png") == (["one.png"], [tmp_path / "one.png"])
    assert submission.pictures(tmp_path)[0] == ["one.png"]


def test_a_zip_without_records_among_photographs_is_left_alone(submission, tmp_path):
    cv2.imwrite(str(tmp_path / "my#1.png"), np.zeros((5, 5), np.uint8))
    with zipfile.ZipFile(tmp_path / "backup.zip", "w") as archive:
        archive.write(tmp_path / "my#1.png", "my#1.png")
    assert submission.pictures(tmp_path)[0] == ["my#1.png"]
    with pytest.raises(PodiumError, match=r"there is no \.gnt file"):
        submission.pictures(tmp_path / "backup.zip")


@pytest.mark.parametrize(
    ("image", "names"),
    [
        ("my#1.png", ["my#1.png", ""]),
        ("a#2/b#3.GNT#14", ["a#2/b#3.GNT", "14"]),
        ("one#7", ["one#7", ""]),
    ],
)
def test_only_records_have_a_number(submission, image, names):
    assert submission.names(image) == names


def test_faults_are_said(submission, tmp_path, capsys):
    write_writer(tmp_path / "a.gnt", 0)
    (tmp_path / "a.gnt").write_bytes((tmp_path / "a.gnt").read_bytes()[:-5])
    assert len(submission.pictures(tmp_path / "a.gnt")[0]) == len(CHARACTERS) - 1
    assert "a.gnt: byte" in capsys.readouterr().out


def test_a_row_has_file_number_and_five_characters_best_first(submission, tmp_path):
    ids = ["sub/a.gnt#0", "sub/a.gnt#1", "one.png"]
    rows = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), 3)
    submission.write(tmp_path / "sub.csv", zip(ids, rows, strict=True), NAMES)
    lines = (tmp_path / "sub.csv").read_text(encoding="utf-8").splitlines()
    best = ["".join(NAMES[k] for k in np.argsort(-row)[:5]) for row in rows]
    assert lines == [
        "file,index,label",
        f"sub/a.gnt,0,{best[0]}",
        f"sub/a.gnt,1,{best[1]}",
        f"one.png,,{best[2]}",
    ]
    assert submission.validate(tmp_path / "sub.csv", ids, NAMES) == []
    assert "wrong order" in submission.validate(tmp_path / "sub.csv", [ids[1], ids[0], ids[2]], NAMES)[0]
    assert (
        "1 images are missing" in submission.validate(tmp_path / "sub.csv", [*ids, "sub/a.gnt#2"], NAMES)[0]
    )
