"""Lists are read as json reads them, however they are cut into pieces, and mistakes are named."""

import json
import random

import pytest

from common.errors import PodiumError
from competitions.aliproducts import lists
from competitions.aliproducts.lists import class_number, entries, read_list

STRANGE = [
    "a}{.jpg",
    'say "no".jpg',
    "back\\slash.jpg",
    "[1].jpg",
    "椒盐.jpg",
    "😀.jpg",
    "a,b.jpg",
    "line\nbreak.jpg",
]


@pytest.mark.parametrize("chunk", [150, 211, 1 << 20])
@pytest.mark.parametrize("style", [{}, {"indent": 0}, {"indent": 4, "ensure_ascii": False}])
def test_it_reads_what_json_reads_in_pieces_of_any_size(tmp_path, monkeypatch, chunk, style):
    rng = random.Random(0)
    written = {
        "images": [{"image_id": rng.choice(STRANGE) + str(n), "class_id": f"{n % 7:05d}"} for n in range(50)]
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(written, **style), encoding="utf-8")
    monkeypatch.setattr(lists, "CHUNK", chunk)
    assert list(entries(path)) == written["images"]
    monkeypatch.setattr(lists, "ROWS", 16)
    table, spelled = read_list(path)
    assert table["image_id"].tolist() == [entry["image_id"] for entry in written["images"]]
    assert table["class_id"].tolist() == [n % 7 for n in range(50)]
    assert spelled == {n: f"{n:05d}" for n in range(7)}


def test_a_class_may_be_a_number_or_its_digits_and_keeps_its_first_spelling(tmp_path):
    path = tmp_path / "train.json"
    images = [{"image_id": f"{n}.jpg", "class_id": label} for n, label in enumerate([42, "00042", "42", 7])]
    path.write_text(json.dumps({"info": "x", "images": images}))
    table, spelled = read_list(path)
    assert table["class_id"].tolist() == [42, 42, 42, 7] and spelled == {42: "42", 7: "7"}


@pytest.mark.parametrize("written", [-1, 1.5, True, "a1", "", None, "٣"])
def test_what_is_no_class_is_refused(written):
    with pytest.raises(PodiumError, match="here must be a number"):
        class_number(written, "here")


GOOD = '{"images": [\n{"image_id": "a.jpg", "class_id": "1"},\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r'expected \{"images"'),
        (GOOD, r"train.json:\d: not JSON, or cut short"),
        (GOOD + '{"image_id": "b.jpg", "cla', "train.json:3: not JSON, or cut short"),
        (GOOD + '{"image_id": "b.jpg" "class_id": 1}]}', "train.json:3: not JSON"),
        (GOOD + "7]}", "train.json:3: expected {image_id, class_id}, got 7"),
        (GOOD + '{"class_id": "1"}]}', r"images\[1\]: image_id must be a file name, got None"),
        (GOOD + '{"image_id": "../b.jpg", "class_id": "1"}]}', r"images\[1\]: image_id must be a file name"),
        (GOOD + '{"image_id": "b.jpg"}]}', r"images\[1\]: class_id must be a number, got None"),
        (
            GOOD + '{"image_id": "b.jpg", "class_id": "x"}]}',
            r"images\[1\]: class_id must be a number such as 42",
        ),
    ],
)
def test_mistakes_are_named_with_their_line_or_entry(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(PodiumError, match=message):
        read_list(path)


def test_a_mistake_early_in_a_large_file_does_not_read_it_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "CHUNK", 1000)
    path = tmp_path / "train.json"
    path.write_text(GOOD + '{"image_id": "b.jpg" ' + " " * 50_000 + "}]}")
    with pytest.raises(PodiumError, match=":3: not JSON"):
        list(entries(path))


def test_a_file_that_is_not_there_or_not_utf8_is_named(tmp_path):
    with pytest.raises(PodiumError, match=r"train.json cannot be read: No such file"):
        read_list(tmp_path / "train.json")
    (tmp_path / "train.json").write_bytes(b'{"images": [{"image_id": "\xff.jpg"')
    with pytest.raises(PodiumError, match="not UTF-8"):
        read_list(tmp_path / "train.json")
