"""Cells that no spreadsheet runs, and that come back as they were."""

import io
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.edits.corrections import apply_corrections, read_corrections
from common.data.edits.kept_list import repeats
from common.data.split.stored_split import StoredSplit
from common.data.spreadsheet import escape, read_csv, to_csv, unescape
from common.deliver.submission import Labels, TopK
from common.ensemble.clean_rules import only_stable
from common.errors import PodiumError

RUN = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "'=1", '"=1', " ' \" -2", "＝1", "'-1", "''=1",
]  # fmt: skip
STAY = ["a", "'abc", "''", "1", "a=1", "", " ", "${x}", "字", "[red]", "'a=1"]


@pytest.mark.parametrize("text", RUN)
def test_a_formula_becomes_text(text):
    assert escape(text) == f"'{text}"


@pytest.mark.parametrize("text", STAY)
def test_other_text_stays(text):
    assert escape(text) == text and unescape(text) == text


@given(st.text("'\"=+-@ \t\r\na1") | st.text())
def test_every_text_comes_back(text):
    assert unescape(escape(text)) == text


def test_numbers_stay_numbers_and_text_of_digits_stays_text(tmp_path):
    table = pd.DataFrame(
        {"class": ["-1", "=x", "'=y", "'z", "a\n-b"], "score": [-1.5, np.nan, -2.0, 3.0, 4.0]}
    )
    to_csv(table, tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    assert text.splitlines()[1:3] == ["'-1,-1.5", "'=x,"]
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv", dtype={"class": str}), table)


def test_a_list_is_read_whether_a_spreadsheet_or_a_person_wrote_it(tmp_path):
    names = ["-1", "'q", "=x"]
    table = pd.DataFrame({"id": ["-1/=a.png", "'q/b.png"], "label": [0, 1]})
    wanted = pd.DataFrame({"id": table["id"], "class": ["=x", "-1"]})
    to_csv(wanted, tmp_path / "escaped.csv")
    wanted.to_csv(tmp_path / "plain.csv", index=False)
    assert (tmp_path / "escaped.csv").read_text() != (tmp_path / "plain.csv").read_text()
    for name in ("escaped", "plain"):
        assert apply_corrections(table, names, tmp_path / f"{name}.csv")["label"].tolist() == [2, 0]


def test_submissions_are_raw_and_predictions_for_people_are_not(tmp_path):
    names, ids = ["-1", "'-1", "b c"], ["=1.png", "'b.png"]
    rows = [(ids[0], np.array([0.7, 0.2, 0.1])), (ids[1], np.array([0.1, 0.7, 0.2]))]
    found = {}
    for kind in (TopK, Labels):
        file = tmp_path / f"{kind.__name__}.csv"
        assert kind().write(file, iter(rows), names) == 2
        assert kind().validate(file, ids, names) == []
        found[kind] = pd.read_csv(io.StringIO(file.read_text()), dtype=str).to_numpy().tolist()
    assert found[TopK] == [["=1.png", "-1"], ["'b.png", "'-1"]]
    assert found[Labels] == [["'=1.png", "'-1"], ["'b.png", "''-1"]]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("reader", ["corrections", "split", "list", "scores"])
def test_a_file_with_other_separators_is_told_so_by_every_reader(tmp_path, separator, reader):
    file = tmp_path / "list.csv"
    file.write_text(f"id{separator}class\na.jpg{separator}1,5\n", encoding="utf-8-sig")
    read = {
        "corrections": lambda: read_corrections(file),
        "split": lambda: StoredSplit.read(tmp_path / "none", file),
        "list": lambda: repeats(pd.DataFrame(), [], file),
        "scores": lambda: only_stable(pd.DataFrame(), file, 0.5),
    }[reader]
    with pytest.raises(PodiumError, match=r"list\.csv.* separated by .* id,class"):
        read()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"id,class\na,\xfc\n", "UTF-8"), (b"", "empty"), (b"id,class\na,b\nc,d,e\n", "commas")],
)
def test_a_file_that_is_no_csv_is_named(tmp_path, content, said):
    file = tmp_path / "list.csv"
    file.write_bytes(content)
    with pytest.raises(PodiumError, match=rf"list\.csv.*{said}"):
        read_corrections(file)


def test_text_in_quotes_may_hold_other_separators(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text('"id;class"\n"a;b"\n')
    assert read_csv(file).to_dict("list") == {"id;class": ["a;b"]}


def test_names_are_read_as_nfc_and_paths_as_they_are(tmp_path):
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    path = tmp_path / "a.csv"
    path.write_text(f"id,path,{other}\n{other},/{other},{other}{other}\n", encoding="utf-8")
    found = read_csv(path, dtype=str, keep_default_na=False)
    assert found.to_dict("records") == [{"id": one, "path": f"/{other}", one: one + one}]


def test_a_lone_carriage_return_in_a_name_survives(tmp_path):
    table = pd.DataFrame({"id": ["a\rb.png", "c\r\nd.png", "=e"], "n": [1, 2, 3]})
    to_csv(table, tmp_path / "a.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv", dtype={"id": str}), table)
    submission = TopK()
    rows = [(image, np.array([0.2, 0.8])) for image in table["id"]]
    submission.write(tmp_path / "b.csv", iter(rows), ["x", "y"])
    assert submission.validate(tmp_path / "b.csv", table["id"].tolist(), ["x", "y"]) == []
