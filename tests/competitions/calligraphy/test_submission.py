"""`filename,label`: five distinct known characters, best first, every image once and in order."""

import numpy as np
import pytest

from competitions.calligraphy.submission import CalligraphySubmission

NAMES = list("永和九年岁在癸丑")
IDS = [f"test1/{number}.jpg" for number in range(4)]


@pytest.fixture
def path(tmp_path):
    rows = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), len(IDS))
    written = CalligraphySubmission().write(tmp_path / "sub.csv", zip(IDS, rows, strict=True), NAMES)
    assert written == 4
    return tmp_path / "sub.csv"


def test_rows_are_the_five_best_characters_best_first(path):
    rows = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), len(IDS))
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "filename,label" and lines[-1] == ""
    for number, row in enumerate(rows):
        best = sorted(range(len(NAMES)), key=lambda k: -row[k])[:5]
        assert lines[1 + number] == f"{number}.jpg," + "".join(NAMES[k] for k in best)


def test_what_was_written_is_valid(path):
    assert CalligraphySubmission().validate(path, IDS, NAMES) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("filename", "file"), "line 1 must be «filename,label»"),
        (lambda text: text.replace("0.jpg", "9.jpg"), "1 images are missing, the first is 0.jpg"),
        (lambda text: text.replace("0.jpg", "9.jpg"), "1 images are unknown, the first is 9.jpg"),
        (lambda text: text.replace("1.jpg", "0.jpg"), "0.jpg stands in the file more than once"),
        (
            lambda text: text.replace("1.jpg", "x").replace("0.jpg", "1.jpg").replace("x", "0.jpg"),
            "line 2: wrong order",
        ),
        (lambda text: text[:-2] + "\n", "line 5: expected 5 classes, got 4"),
        (lambda text: text[:-2] + "蘭\n", "line 5: «蘭» is no known class"),
        (lambda text: text[:-2] + text[-3] + "\n", "line 5: a class stands there twice"),
        (lambda text: text + "3.jpg,永,和\n", "line 6: expected 2 columns, got 3"),
    ],
)
def test_faults_are_named_with_their_line(path, change, fault):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert any(fault in found for found in CalligraphySubmission().validate(path, IDS, NAMES))


def test_another_encoding_is_named(path):
    path.write_bytes(path.read_text(encoding="utf-8").encode("gbk"))
    assert "not UTF-8" in CalligraphySubmission().validate(path, IDS, NAMES)[0]
