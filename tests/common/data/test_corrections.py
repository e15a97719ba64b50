import pandas as pd
import pytest

from common.data.corrections import apply_corrections
from common.errors import PodiumError

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
