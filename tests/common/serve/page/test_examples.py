"""Examples: held-out pictures of many classes, wherever they are by now."""

import shutil

import cv2
import numpy as np
import yaml

from common.data.reading.images import read
from common.run.members import read_folds
from common.serve.page.examples import MOST, SIDE, examples
from tests.toys import CLASSES


def test_they_are_held_out_and_of_all_classes(drawn):
    found = examples(drawn, CLASSES)
    table = read_folds(drawn)
    held_out = table[table["part"] == "valid"]
    assert len(found) == min(MOST, len(held_out))
    assert sorted(one.name for one in found[:4]) == CLASSES
    for one in found:
        shown = cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
        paths = held_out["path"][held_out["class"] == one.name]
        nearest = min(np.abs(shown - read(path, 1)[:, :, 0]).mean() for path in paths)
        assert nearest < 3  # JPEG


def test_a_run_of_folds_alone_shows_what_each_fold_held_out(drawn, tmp_path):
    run = shutil.copytree(drawn, tmp_path / "run")
    table = read_folds(run).assign(part="train")
    held_out = np.arange(len(table)) % 3 != 0  # others, copies among them, no fold validates
    table.assign(fold=np.where(held_out, np.arange(len(table)) % 5, -1)).to_csv(
        run / "folds.csv", index=False
    )
    found = examples(run, CLASSES)
    assert len(found) == MOST and all(one.seen for one in found)
    assert not any(one.seen for one in examples(drawn, CLASSES))
    table.assign(fold=-1).to_csv(run / "folds.csv", index=False)
    assert examples(run, CLASSES) == []


def test_only_of_classes_that_the_model_knows(drawn):
    assert {one.name for one in examples(drawn, CLASSES[:2])} == set(CLASSES[:2])


def test_they_move_with_their_data(drawn, tmp_path):
    run = shutil.copytree(drawn, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    table = (run / "folds.csv").read_text()
    (run / "folds.csv").write_text(table.replace(config["data"]["root"], "/gone"))
    assert len(examples(run, CLASSES)) == len(examples(drawn, CLASSES))
    config["data"]["root"] = "/gone"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert examples(run, CLASSES) == []


def test_a_run_without_its_table_has_none(drawn, tmp_path):
    run = shutil.copytree(drawn, tmp_path / "run")
    (run / "folds.csv").unlink()
    assert examples(run, CLASSES) == []
    assert examples(tmp_path / "nothing", CLASSES) == []


def test_large_pictures_are_shown_small(drawn, tmp_path):
    run = shutil.copytree(drawn, tmp_path / "run")
    table = read_folds(run)
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), np.zeros((600, 1200, 3), np.uint8))
    table.assign(path=str(large)).to_csv(run / "folds.csv", index=False)
    shown = cv2.imdecode(np.frombuffer(examples(run, CLASSES)[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (SIDE // 2, SIDE, 3)
