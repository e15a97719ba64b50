"""A list of cleaning decides what is trained on, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from common.data.edits.kept_list import read_reliable, repeats
from common.data.folder import FolderData
from common.errors import PodiumError
from tests.toys import CLASSES, write_images


def records(ids, labels, **others) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "label": labels, "group": ids, "train_only": False} | others)


def listed(path, rows, columns=("id", "class", "kept", "reason", "repeat")):
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return path


def test_times_are_those_of_the_list_and_a_class_that_nobody_judged_stays_whole(tmp_path):
    path = listed(
        tmp_path / "list.csv", [("a", "x", True, "", 3), ("b", "x", False, "", 1), ("d", "x", True, "", 1)]
    )
    table = records(["a", "b", "c", "e"], [0, 0, 0, 1])
    assert repeats(table, ["x", "y"], path).tolist() == [3, 0, 0, 1]


def test_what_is_made_from_an_image_goes_with_it(tmp_path):
    path = listed(tmp_path / "list.csv", [("a", "x", True, "", 2), ("b", "x", False, "", 0)])
    table = records(
        ["a", "b", "of a", "of b", "alone"], [0] * 5,
        group=["g", "h", "g", "h", "i"], train_only=[False, False, True, True, True],
    )  # fmt: skip
    assert repeats(table, ["x"], path).tolist() == [2, 0, 1, 0, 1]


def test_parquet_and_csv_say_the_same_and_a_list_by_hand_needs_no_repeats(tmp_path):
    rows = [("a", "x", True), ("b", "x", False)]
    path = listed(tmp_path / "list.csv", rows, ("id", "class", "kept"))
    pd.read_csv(path).to_parquet(tmp_path / "list.parquet")
    for one in (path, tmp_path / "list.parquet"):
        assert read_reliable(one)["repeat"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("a", "x")], ("id", "class"), "column kept is missing; there are id, class"),
        ([("a", "x", "yes")], ("id", "class", "kept"), "kept must hold True or False"),
        ([("a", "x", True), ("a", "x", False)], ("id", "class", "kept"), "a stands there twice"),
        ([("z", "x", True)], ("id", "class", "kept"), "none of its 1 images is among the 1 here"),
    ],
)
def test_a_list_that_does_not_fit_is_named(tmp_path, rows, columns, message):
    with pytest.raises(PodiumError, match=message):
        repeats(records(["a"], [0]), ["x"], listed(tmp_path / "list.csv", rows, columns))


def test_only_training_rows_follow_the_list(tmp_path):
    write_images(tmp_path / "images")
    views = {"image": [], "batch": {}}
    options = {"size": [16, 16], "channels": 1, "seed": 3, "views": views, "valid": 0.25, "score": 0.2}
    plain = FolderData(root=str(tmp_path / "images"), folder=str(tmp_path / "run"), **options)
    plain.setup()
    train = plain.table.iloc[plain.rows("train")]
    kept = np.arange(len(train)) % 3 > 0
    rows = zip(
        train["id"],
        [CLASSES[label] for label in train["label"]],
        kept,
        [""] * len(train),
        1 + kept,
        strict=True,
    )
    path = listed(tmp_path / "list.csv", rows)
    clean = FolderData(
        root=str(tmp_path / "images"), folder=str(tmp_path / "run"), cleaned=str(path), **options
    )
    clean.setup()
    assert clean.rows("train").tolist() == np.repeat(plain.rows("train")[kept], 2).tolist()
    for part in ("valid", "score"):
        assert clean.rows(part).tolist() == plain.rows(part).tolist()
    epochs = [epoch for batch in clean.train_dataloader().batch_sampler for epoch, _ in batch]
    assert len(set(epochs)) == 2  # an image that comes twice is seen in two views
