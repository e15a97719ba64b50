"""The label files beside the pictures, and the rule file: what is read, what is left out, and what is said of it."""

import json
import unicodedata

import pytest

from common.errors import PodiumError
from competitions.garbage.labels import groups, read_labels, read_rule


def label(folder, number, text, picture=True):
    if picture:
        (folder / f"img_{number}.jpg").write_bytes(b"")
    (folder / f"img_{number}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_well_formed_lines_are_read_whatever_ends_or_surrounds_them(tmp_path):
    for number, text in enumerate(
        [
            "img_0.jpg, 0",
            "img_1.jpg,1\n",
            "img_2.jpg ,  2\r\n",
            b"\xef\xbb\xbfimg_3.jpg, 3",
            "\nimg_4.jpg, 39\n\n",
        ]
    ):
        label(tmp_path, number, text)
    found, faults = read_labels(tmp_path, 40)
    assert [(path.name, label) for path, label in found] == [
        (f"img_{number}.jpg", label) for number, label in enumerate([0, 1, 2, 3, 39])
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("img_1.jpg 3", "expected «picture, class»"),
        (", 3", "expected «picture, class»"),
        ("img_1.jpg, dog", "the class must be a whole number, got «dog»"),
        ("img_1.jpg, -1", "the class must be a whole number, got «-1»"),
        ("img_1.jpg, 3.0", "the class must be a whole number, got «3.0»"),
        ("img_1.jpg, 40", "the class must be 0 to 39, got 40"),
        ("img_9.jpg, 3", "there is no picture img_9.jpg"),
        ("img_1.jpg, 3\nimg_2.jpg, 4", "expected one line, got 2"),
        (b"img_1.jpg, \xff3", "not UTF-8"),
    ],
)
def test_a_malformed_file_and_its_picture_are_left_out_and_told_of_once(tmp_path, text, reason):
    label(tmp_path, 1, text)
    label(tmp_path, 2, "img_2.jpg, 7")
    found, (fault,) = read_labels(tmp_path, 40)
    assert [(path.name, label) for path, label in found] == [("img_2.jpg", 7)]
    assert fault.file == "img_1.txt" and reason in fault.reason


def test_what_is_unlabelled_or_contradicted_is_left_out(tmp_path):
    label(tmp_path, 1, "img_1.jpg, 7")
    label(tmp_path, 2, "img_1.jpg, 8", picture=False)
    label(tmp_path, 3, "img_1.jpg, 7", picture=False)  # says it again: no harm
    (tmp_path / "img_4.png").write_bytes(b"")
    found, faults = read_labels(tmp_path, 40)
    assert found == []
    assert [fault.file for fault in faults] == ["img_2.txt", "img_4.png"]
    assert "img_1.jpg is of class 7: both are left out" in faults[0].reason
    assert faults[1].reason == "no file labels this picture"


def rule(tmp_path, content):
    path = tmp_path / "rule.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
    return path


def test_the_rule_is_read_by_number_and_its_groups_in_their_order(tmp_path):
    names = read_rule(
        rule(tmp_path, {"1": "b/y", "0": "a/x", "10": "a/k"} | {str(n): f"c/{n}" for n in range(2, 10)})
    )
    assert names == ["a/x", "b/y", *(f"c/{n}" for n in range(2, 10)), "a/k"]
    assert groups(names) == ([0, 1, *[2] * 8, 0], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON in UTF-8"),
        ([], "must be an object"),
        ({"0": "a/x", "2": "a/y"}, "keys must be 0 to 1, each once, got «2»"),
        ({"0": "a/x", "1": "y"}, "class 1 must be «group/item», got 'y'"),
        ({"0": "a/x", "1": "a/y/z"}, "class 1 must be «group/item», got 'a/y/z'"),
        ({"0": "a/x", "1": 3}, "class 1 must be «group/item», got 3"),
        ({"0": "a/x", "1": "a/x"}, "«a/x» names more than one class"),
    ],
)
def test_a_rule_that_names_no_classes_is_refused(tmp_path, content, message):
    with pytest.raises(PodiumError, match=message):
        read_rule(rule(tmp_path, content))
    with pytest.raises(PodiumError, match="it names the classes"):
        read_rule(tmp_path / "none.json")


def test_a_picture_is_found_in_whatever_form_of_unicode(tmp_path):
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    (tmp_path / f"{other}.jpg").touch()
    (tmp_path / "1.txt").write_text(f"{one}.jpg, 3", encoding="utf-8")
    assert read_labels(tmp_path, 4) == ([(tmp_path / f"{other}.jpg", 3)], [])


def test_what_a_system_adds_is_no_fault(tmp_path):
    label(tmp_path, 1, "img_1.jpg, 0")
    for name in ("._1.txt", "._1.jpg", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0")
    assert read_labels(tmp_path, 4)[1] == []
