"""Wrong labels are planted as they are said to be, and what is found of them is counted."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.cleaning import confused, found_of, main, plant
from common.data import predictions
from tests.toys import write_images

SPLIT = pd.DataFrame(
    {
        "id": [f"{number:03}" for number in range(120)],
        "label": np.arange(120) % 4,
        "part": ["train"] * 80 + ["valid"] * 20 + ["score"] * 20,
    }
)


@pytest.mark.parametrize("choices", [None, np.array([[1, 2], [2, 3], [3, 0], [0, 1]])])
def test_a_share_of_each_classs_training_images_gets_another_label(choices):
    wrong = plant(SPLIT, 4, 0.25, 0, choices)
    told = wrong.merge(SPLIT, on="id", suffixes=("", "_true"))
    assert len(told) == len(wrong) == 20 and set(told["part"]) == {"train"}
    assert told["label_true"].value_counts().tolist() == [5] * 4
    assert (told["label"] != told["label_true"]).all()
    allowed = (
        choices if choices is not None else [[other for other in range(4) if other != k] for k in range(4)]
    )
    assert all(label in allowed[true] for label, true in zip(told["label"], told["label_true"], strict=True))
    pd.testing.assert_frame_equal(wrong, plant(SPLIT.sample(frac=1), 4, 0.25, 0, choices))


def test_lookalikes_are_what_models_take_a_class_for(tmp_path):
    rows = np.array([[0.5, 0.1, 0.4], [0.9, 0.1, 0], [0.2, 0.3, 0.5], [0.3, 0, 0.7]], np.float32)
    predictions.write(tmp_path / "p.parquet", list("abcd"), np.array([0, 0, 1, 2]), rows)
    assert confused(tmp_path / "p.parquet", 3).tolist() == [[2, 1], [2, 0], [0, 1]]


def test_precision_and_recall_are_shares_of_what_is_left_out_and_of_what_is_wrong(tmp_path):
    listed = pd.DataFrame({"id": list("abcde"), "kept": [False, False, True, True, False]})
    listed.to_parquet(tmp_path / "list.parquet")
    assert found_of(tmp_path / "list.parquet", {"a", "b", "c", "d"}) == (2 / 3, 0.5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_table_has_a_row_for_every_kind_and_every_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images" / "train", classes=list("abcdef"))
    words = f"""competition=calligraphy data.root={tmp_path}/images data.size=[16,16]
        model=timm model.name=test_resnet callbacks.tta=null folds=2
        data.near_duplicates=false trainer.max_epochs=1 trainer.accelerator=cpu trial.enabled=false data.score=0.2
        launcher._target_=tests.common.train.test_stages.InThisProcess"""
    main(words.split())
    found = pd.read_csv(next(tmp_path.glob("runs/bench/*/cleaning.csv")), keep_default_na=False)
    assert found["wrong labels"].tolist() == ["none"] + ["symmetric"] * 3 + ["look-alike"] * 3
    assert found["cleaning"].tolist()[1:] == ["no cleaning", "out of fold", "original"] * 2
    assert (found["recall %"] == "").tolist() == [True, True, False, False, True, False, False]
