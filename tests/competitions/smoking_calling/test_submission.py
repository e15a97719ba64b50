"""One JSON list: the best class of every image once, with a score of five decimals."""

import json

import numpy as np
import pytest

from competitions.smoking_calling.submission import SmokingCallingSubmission

NAMES = ["calling", "normal", "smoking", "smoking_calling"]
IDS = [f"test/{number}.jpg" for number in range(4)]
ROWS = np.random.default_rng(0).dirichlet(np.ones(4), len(IDS)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    assert SmokingCallingSubmission().write(tmp_path / "sub.json", zip(IDS, ROWS, strict=True), NAMES) == 4
    return tmp_path / "sub.json"


def test_entries_are_the_best_class_and_its_probability(path):
    for number, entry in enumerate(json.loads(path.read_text())):
        best = max(range(4), key=lambda label: ROWS[number][label])
        assert entry["image_name"] == f"{number}.jpg" and entry["category"] == NAMES[best]
        assert entry["score"] == pytest.approx(ROWS[number][best], abs=5.1e-6)
        assert len(str(entry["score"]).partition(".")[2]) <= 5


def test_what_was_written_is_valid_and_so_is_an_empty_list(path, tmp_path):
    assert SmokingCallingSubmission().validate(path, IDS, NAMES) == []
    SmokingCallingSubmission().write(tmp_path / "empty.json", iter([]), NAMES)
    assert SmokingCallingSubmission().validate(tmp_path / "empty.json", [], NAMES) == []


def changed(**values):
    return lambda entries: [{**entries[0], **values}, *entries[1:]]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda entries: {"a": entries}, "must be one JSON list, got dict"),
        (lambda entries: entries[1:], "1 images are missing, the first is 0.jpg"),
        (changed(image_name="9.jpg"), "1 images are unknown, the first is 9.jpg"),
        (lambda entries: [*entries, entries[1]], "1.jpg stands in the file more than once"),
        (changed(category="phoning"), "entry 1: «phoning» is no known class"),
        (changed(score=1.5), "entry 1: score must be a number in [0, 1], got 1.5"),
        (changed(score="0.5"), "entry 1: score must be a number in [0, 1], got '0.5'"),
        (changed(score=0.1234567), "entry 1: score must have at most 5 decimals, got 0.1234567"),
        (changed(extra=1), "entry 1: expected an object of image_name, category, score"),
        (lambda entries: ["x", *entries[1:]], "entry 1: expected an object of"),
    ],
)
def test_faults_are_named(path, change, fault):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert any(fault in found for found in SmokingCallingSubmission().validate(path, IDS, NAMES))


def test_what_is_no_json_is_named(path):
    path.write_text(path.read_text()[:-3])
    assert "is no JSON" in SmokingCallingSubmission().validate(path, IDS, NAMES)[0]
    path.write_bytes(b"\xff")
    assert "is no JSON" in SmokingCallingSubmission().validate(path, IDS, NAMES)[0]
