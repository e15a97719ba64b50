"""The list of near-duplicates, and the sheet that shows them."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from common.data.folder import FolderData
from common.data.split.duplicate_list import pair_list, read_near_duplicates
from common.report.gallery import draw_near_duplicates


@pytest.fixture
def root(tmp_path):
    """Two classes of six pictures; one has a resized copy in the other class, one a mirrored copy in its own."""
    rng = np.random.default_rng(0)
    for name in ("cat", "=dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            coarse = rng.integers(0, 256, (7, 7, 3), np.uint8)
            picture = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(tmp_path / "images" / name / f"{number}.png"), picture)
    cv2.imwrite(str(tmp_path / "images" / "cat" / "small.png"), cv2.resize(picture, (48, 40)))
    cv2.imwrite(str(tmp_path / "images" / "=dog" / "mirrored.png"), picture[:, ::-1])
    return tmp_path / "images"


def data(root, folder, **options) -> FolderData:
    given = {"size": [32, 32], "seed": 0, "views": {}, "valid": 0.3, "near_duplicates": True}
    found = FolderData(root=str(root), folder=str(folder), **given, **options)
    found.setup()
    return found


def test_pairs_are_listed_and_those_of_two_classes_come_first(root, tmp_path, capsys):
    found = data(root, tmp_path / "run", turned_duplicates=True)
    path = tmp_path / "run" / "near_duplicates.csv"
    said = f"near-duplicates: 1 groups of 3 pictures, 1 of them with more than one class; see {path}\n"
    assert said in capsys.readouterr().out
    rows = read_near_duplicates(path)
    assert rows["kind"].tolist()[-1] == "mirror" and rows["similarity"].between(0.95, 1).all()
    assert set(rows.iloc[0][["id", "other"]]) == {"=dog/5.png", "cat/small.png"}
    assert rows.iloc[0]["class"] != rows.iloc[0]["other_class"]
    together = found.table[found.table["id"].isin(["=dog/5.png", "=dog/mirrored.png", "cat/small.png"])]
    assert together["part"].nunique() == 1


def test_mirrored_ones_count_where_asked_for(root, tmp_path):
    data(root, tmp_path / "run")
    assert read_near_duplicates(tmp_path / "run" / "near_duplicates.csv")["kind"].tolist() == ["same"]


def test_a_sheet_shows_the_pairs(root, tmp_path):
    found = data(root, tmp_path / "run", turned_duplicates=True)
    draw_near_duplicates(found)
    with Pillow.open(tmp_path / "run" / "pictures" / "near_duplicates.png") as sheet:
        assert sheet.width > 300
    (tmp_path / "run" / "near_duplicates.csv").unlink()
    (tmp_path / "run" / "pictures" / "near_duplicates.png").unlink()
    draw_near_duplicates(found)
    assert not (tmp_path / "run" / "pictures" / "near_duplicates.png").exists()


def test_of_many_alike_each_is_listed_by_its_most_similar():
    rng = np.random.default_rng(0)
    first, second = np.triu_indices(30, 1)
    pairs = pd.DataFrame({"first": first, "second": second, "correlation": rng.uniform(0.95, 1, len(first))})
    rows = pair_list(pairs.assign(kind="same"), [0] * 30, [f"{i:02d}" for i in range(30)], ["a"] * 30)
    assert len(rows) < 30 and {*rows["id"], *rows["other"]} == {f"{i:02d}" for i in range(30)}
    for i in range(30):
        mine = pairs[(pairs["first"] == i) | (pairs["second"] == i)]["correlation"].max()
        listed = rows[(rows["id"] == f"{i:02d}") | (rows["other"] == f"{i:02d}")]["similarity"].max()
        assert listed == pytest.approx(mine, abs=1e-4)
    mixed = pair_list(pairs.assign(kind="same"), [0] * 30, [str(i) for i in range(30)], ["a", "b"] * 15)
    assert (mixed["class"] != mixed["other_class"]).sum() == 15 * 15
