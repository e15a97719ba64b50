"""Which images are kept, against the rule written out over single images, and against cleanlab."""

import numpy as np
import pandas as pd
import pytest

from common.ensemble.clean_rules import by_accuracy, by_confident_learning, doubtful, only_stable
from common.errors import PodiumError


def table(labels, predicted, probability=0.9, own=0.1) -> pd.DataFrame:
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    frame = pd.DataFrame(
        {"id": [f"{i:04}" for i in range(len(labels))], "label": labels, "predicted": predicted}
    )
    frame["class"] = [f"class {label}" for label in labels]
    frame["predicted_class"] = [f"class {label}" for label in predicted]
    return frame.assign(probability=probability, own=own)


def noisy(images=600, classes=12, wrong=0.2, seed=0):
    """Labels of which some are wrong, and probabilities that mostly know the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    labels = np.where(rng.random(images) < wrong, rng.integers(0, classes, images), truth)
    logits = rng.normal(0, 1, (images, classes))
    logits[np.arange(images), truth] += rng.normal(4.5, 1.5, images)
    rows = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, truth, rows


@pytest.mark.parametrize("seed", range(4))
def test_doubts_are_those_of_cleanlab(seed):
    from cleanlab.experimental.label_issues_batched import find_label_issues_batched

    labels, _, rows = noisy(seed=seed)
    expected = find_label_issues_batched(
        labels, rows, batch_size=100, n_jobs=1, verbose=False, return_mask=True
    )
    own = rows[np.arange(len(labels)), labels]
    assert (doubtful(labels, rows.argmax(1), rows.max(1), own) == expected).all()
    assert expected.sum() > 50


def test_wrong_labels_are_found():
    labels, truth, rows = noisy()
    own = rows[np.arange(len(labels)), labels]
    found = by_confident_learning(table(labels, rows.argmax(1), rows.max(1), own))
    wrong, left_out = labels != truth, ~found["kept"].to_numpy()
    found = (wrong & left_out).sum()
    assert found / left_out.sum() > 0.9 and found / wrong.sum() > 0.7


def test_a_class_of_which_none_is_believed_keeps_its_best_image():
    labels = [0] * 6 + [1] * 3
    own = [0.9] * 6 + [0.1, 0.3, 0.2]
    found = by_confident_learning(table(labels, [0] * 9, [0.9] * 6 + [0.95] * 3, own))
    assert found["kept"].tolist() == [True] * 6 + [False, True, False]
    assert all(word in found["reason"][6] for word in ("«class 0»", "0.950", "0.100"))
    assert found["reason"][7] and found["reason"][7] != found["reason"][6]


def written_out(frame: pd.DataFrame, seed: int) -> dict[str, int]:
    """The original's rule, image by image: id → how often it is trained on."""
    times = {}
    for label in frame["label"].unique():
        rows = [row for row in frame.itertuples() if row.label == label]
        right = [row for row in rows if row.predicted == label]
        kept = rows if len(right) / len(rows) >= 0.92 else right
        if not kept:
            kept = [rows[np.random.Generator(np.random.Philox(key=[seed, int(label)])).integers(len(rows))]]
        count = {row.id: 0 for row in rows} | {row.id: 1 for row in kept}
        number = 0
        while len(kept) <= 10 and sum(count.values()) < 10:
            count[kept[number % len(kept)].id] += 1
            number += 1
        times |= count
    return times


@pytest.mark.parametrize("seed", range(5))
def test_the_original_rule_equals_itself_written_out(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(40), rng.integers(1, 40, 40))
    accuracy = rng.choice([0.0, 0.3, 0.9, 0.95, 1.0], 40)[labels]
    predicted = np.where(rng.random(len(labels)) < accuracy, labels, (labels + 1) % 40)
    order = rng.permutation(len(labels))
    frame = table(labels[order], predicted[order])
    found = by_accuracy(frame, seed)
    assert dict(zip(found["id"], found["repeat"], strict=True)) == written_out(frame, seed)
    assert (found["kept"] == (found["repeat"] > 0)).all() and (found["reason"] != "").all()


@pytest.mark.parametrize(("right", "kept"), [(23, 25), (22, 22)])
def test_92_of_100_keep_the_class_whole(right, kept):
    found = by_accuracy(table([0] * 25, [0] * right + [1] * (25 - right)), seed=0)
    assert found["kept"].sum() == kept


def test_classes_that_score_too_little_are_left_out(tmp_path):
    found = by_accuracy(table([0] * 11 + [1] * 11 + [2] * 11, [0] * 11 + [1] * 11 + [2] * 11), seed=0)
    scores = pd.DataFrame({"class": ["class 0", "class 1"], "images": 10, "score": [0.75, 0.7499]})
    scores.to_csv(tmp_path / "class_scores.csv", index=False)
    left = only_stable(found, tmp_path / "class_scores.csv", 0.75)
    assert left.groupby("class")["kept"].all().to_dict() == {
        "class 0": True,
        "class 1": False,
        "class 2": True,
    }
    assert set(left["repeat"][left["class"] == "class 1"]) == {0}
    assert set(left["reason"][left["class"] == "class 1"]) == {"its class scores 0.750, below 0.75"}
    scores.rename(columns={"score": "f1"}).to_csv(tmp_path / "class_scores.csv", index=False)
    with pytest.raises(PodiumError, match="expected columns class and score; there are class, images, f1"):
        only_stable(found, tmp_path / "class_scores.csv", 0.75)
