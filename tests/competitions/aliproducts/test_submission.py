"""`id,predicted`: the contest's class of every image once, in order."""

import numpy as np
import pytest

from competitions.aliproducts.submission import AliproductsSubmission

NAMES = ["00002", "00005", "00010"]
IDS = [f"test/{number}.jpg" for number in range(4)]
ROWS = np.random.default_rng(0).dirichlet(np.ones(3), len(IDS)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    assert AliproductsSubmission().write(tmp_path / "sub.csv", zip(IDS, ROWS, strict=True), NAMES) == 4
    return tmp_path / "sub.csv"


def test_rows_are_the_file_name_and_the_contests_class(path):
    head, *rows = path.read_text().splitlines()
    assert head == "id,predicted"
    assert rows == [f"{n}.jpg,{NAMES[ROWS[n].argmax()]}" for n in range(4)]
    assert AliproductsSubmission().validate(path, IDS, NAMES) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("id,predicted", "filename,label", "line 1 must be «id,predicted», got «filename,label»"),
        ("0.jpg", "9.jpg", "1 images are missing, the first is 0.jpg"),
        ("1.jpg", "0.jpg", "0.jpg stands in the file more than once"),
        (f"2.jpg,{NAMES[int(ROWS[2].argmax())]}", "2.jpg,2", "line 4: «2» is no known class"),
    ],
)
def test_faults_are_named(path, old, new, fault):
    path.write_text(path.read_text().replace(old, new))
    assert any(fault in found for found in AliproductsSubmission().validate(path, IDS, NAMES))
