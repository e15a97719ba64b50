"""One JSON object: every picture once, with the number of its best class."""

import json

import numpy as np
import pytest

from competitions.garbage.submission import GarbageSubmission

NAMES = [f"a/{label}" for label in range(40)]
IDS = [f"test/img_{number}.jpg" for number in range(6)]
ROWS = np.random.default_rng(0).dirichlet(np.ones(40), len(IDS)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    assert GarbageSubmission().write(tmp_path / "sub.json", zip(IDS, ROWS, strict=True), NAMES) == 6
    return tmp_path / "sub.json"


def test_each_picture_has_the_number_of_its_best_class(path):
    best = {f"img_{n}.jpg": max(range(40), key=lambda label: ROWS[n][label]) for n in range(6)}
    assert json.loads(path.read_text()) == best


def test_equal_names_of_two_folders_are_two_pictures(tmp_path):
    ids = ["a/img_1.jpg", "b/img_1.jpg"]
    GarbageSubmission().write(tmp_path / "sub.json", zip(ids, ROWS, strict=False), NAMES)
    assert list(json.loads((tmp_path / "sub.json").read_text())) == ids
    assert GarbageSubmission().validate(tmp_path / "sub.json", ids, NAMES) == []


def test_what_was_written_is_valid_and_so_is_an_empty_object(path, tmp_path):
    assert GarbageSubmission().validate(path, IDS, NAMES) == []
    GarbageSubmission().write(tmp_path / "empty.json", iter([]), NAMES)
    assert GarbageSubmission().validate(tmp_path / "empty.json", [], NAMES) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"img_0.jpg": 1}]', "must be one JSON object, got list"),
        ('{"img_0.jpg": 1', "is no JSON"),
        ('{"img_0.jpg": 1}', "5 images are missing, the first is img_1.jpg"),
        ('{"img_0.jpg": 1, "img_9.jpg": 2}', "1 images are unknown, the first is img_9.jpg"),
        ('{"img_0.jpg": 1, "img_0.jpg": 2}', "img_0.jpg stands in the file more than once"),
        ('{"img_0.jpg": 40}', "img_0.jpg: the class must be a whole number from 0 to 39, got 40"),
        ('{"img_0.jpg": "3"}', "img_0.jpg: the class must be a whole number from 0 to 39, got '3'"),
        ('{"img_0.jpg": true}', "img_0.jpg: the class must be a whole number from 0 to 39, got True"),
        ('{"img_0.jpg": {"a": 1}}', "img_0.jpg: the class must be a whole number"),
    ],
)
def test_faults_are_named(path, text, fault):
    path.write_text(text)
    assert any(fault in found for found in GarbageSubmission().validate(path, IDS, NAMES))
