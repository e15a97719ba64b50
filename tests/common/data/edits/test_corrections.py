import json
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data.edits.corrections import apply_corrections
from common.data.edits.kept_list import repeats
from common.data.records import class_folders
from common.errors import PodiumError
from common.run import components
from common.train.train import train
from tests.toys import CLASSES, write_images

NAMES = ["bar", "cross", "ring"]


def table():
    return pd.DataFrame({"id": ["a", "b", "c", "d"], "label": [0, 1, 2, 0], "group": ["a", "b", "c", "d"]})


def test_labels_are_replaced_and_images_left_out(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("was,id,class\nbar,a,ring\nring,c,\n")
    found = apply_corrections(table(), NAMES, path)
    assert found["id"].tolist() == ["a", "b", "d"] and found["label"].tolist() == [2, 1, 0]
    assert found["label"].dtype == "int64" and found.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,ring\n", "column class is missing; there are id, label"),
        ("id,class\na,rong\n", r"line 2: «rong» is no class \(did you mean ring\?\)"),
        ("id,class\na,ring\nz,ring\n", "line 3: the data set has no image z"),
        ("id,class\na,ring\na,bar\n", "a stands there twice"),
    ],
)
def test_a_faulty_list_is_refused_by_line(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(PodiumError, match=message):
        apply_corrections(table(), NAMES, path)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(PodiumError, match=r"data.corrections: there is no file .*list.csv"):
        apply_corrections(table(), NAMES, tmp_path / "list.csv")


@pytest.fixture
def listed(toy, tmp_path):
    """(a function from words to the data of a job, the list): of each part of the split a third is corrected."""
    plain = components.make_data(toy("data.choose=0.1", "data.score=0.1"), tmp_path / "plain")
    plain.setup()
    others = plain.table["label"].map(lambda label: CLASSES[(label + 1) % len(CLASSES)])
    rows = pd.DataFrame({"id": plain.table["id"], "class": others})[::3]
    rows.iloc[0, 1] = ""  # left out
    path = tmp_path / "list.csv"
    rows.to_csv(path, index=False)

    def data(*words: str):
        made = components.make_data(
            toy("data.choose=0.1", "data.score=0.1", f"data.corrections={path}", *words),
            tmp_path / str(len(words)),
        )
        made.setup()
        return made

    return data, plain, rows.set_index("id")["class"]


def labels_by_id(data, part: str) -> dict[str, int]:
    rows = data.rows(part)
    return dict(zip(data.table["id"].iloc[rows], data.train_images.labels[rows].tolist(), strict=True))


def test_corrections_change_what_is_trained_on_and_nothing_that_is_measured(listed):
    make, plain, corrected = listed
    data = make()
    for part in ("valid", "choose", "score"):
        assert labels_by_id(data, part) == labels_by_id(plain, part)
        rows = data.rows(part)
        batch = data.valid_images.__getitems__([(0, int(row)) for row in rows])
        assert (
            batch["label"].tolist()
            == data.table["label"].iloc[rows].tolist()
            == [*labels_by_id(plain, part).values()]
        )
    expected = {
        image: CLASSES.index(corrected.get(image, CLASSES[label]))
        for image, label in labels_by_id(plain, "train").items()
        if corrected.get(image) != ""
    }
    assert labels_by_id(data, "train") == expected and expected != labels_by_id(plain, "train")
    assert data.class_counts.tolist() == np.bincount([*expected.values()], minlength=4).tolist()
    assert data.held_out_corrected is None


def test_a_person_may_ask_for_all_of_them_and_is_told_how_many(listed):
    make, plain, corrected = listed
    data = make("data.correct_held_out=true")
    changed = 0
    for part in ("valid", "choose", "score"):
        for image, label in labels_by_id(data, part).items():
            assert CLASSES[label] == corrected.get(
                image, CLASSES[plain.table.set_index("id")["label"][image]]
            )
            changed += image in corrected.index
    assert data.held_out_corrected == changed > 0


def test_in_folds_a_picture_is_trained_on_corrected_and_validated_as_it_came(toy, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("id,class\nbar/0.png,ring\nbar/1.png,\n")
    config = toy(f"data.corrections={path}", "data.valid=0")
    seen = {"train": set(), "valid": set()}
    for fold in range(3):
        data = components.make_data({**config, "job": {"folds": 3, "fold": fold}}, tmp_path / "run")
        data.setup()
        for part, found in seen.items():
            found |= {
                (image, label)
                for image, label in labels_by_id(data, part).items()
                if image in ("bar/0.png", "bar/1.png")
            }
    assert seen == {"train": {("bar/0.png", 2)}, "valid": {("bar/0.png", 0), ("bar/1.png", 0)}}


def test_the_report_says_how_many_held_out_labels_were_changed(toy, tmp_path):
    path = tmp_path / "list.csv"
    ids = [f"bar/{number}.png" for number in range(8)]
    path.write_text("id,class\n" + "".join(f"{image},ring\n" for image in ids))
    run = train(
        toy(
            f"data.corrections={path}",
            "data.correct_held_out=true",
            "trainer.max_epochs=1",
            f"run_dir={tmp_path / 'run'}",
        )
    )
    split = pd.read_csv(Path(run) / "folds.csv")
    count = int((split["id"].isin(ids) & (split["part"] == "valid")).sum())
    assert json.loads((Path(run) / "scores.json").read_text())["held_out_corrected"] == count > 0
    assert f"{count} labels of pictures that validate" in (Path(run) / "report.html").read_text()


def test_names_are_compared_in_whatever_form_of_unicode(tmp_path):
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write_images(tmp_path / "data", per_class=2, classes=[other, "bar"])
    table, names = class_folders(tmp_path / "data")
    path = tmp_path / "corrections.csv"
    path.write_text(f"id,class\n{other}/0.png,bar\nbar/0.png,{other}\nbar/1.png,{one}\n", encoding="utf-8")
    corrected = apply_corrections(table, names, path)
    assert dict(zip(corrected["id"], corrected["label"], strict=True)) == {
        f"{one}/0.png": 0, f"{one}/1.png": 1, "bar/0.png": 1, "bar/1.png": 1,
    }  # fmt: skip
    path.write_text(f"id,class,kept\n{other}/0.png,{other},True\nbar/0.png,bar,False\n", encoding="utf-8")
    times = repeats(table.assign(train_only=False), names, path)
    assert dict(zip(table["id"], times, strict=True)) == {
        f"{one}/0.png": 1, f"{one}/1.png": 0, "bar/0.png": 0, "bar/1.png": 0,
    }  # fmt: skip
