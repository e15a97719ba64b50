"""Tags in all the ways that files store them, against Python's own codec."""

import numpy as np
import pytest

from common.errors import PodiumError
from competitions.hccr import tags

LEVEL_1 = [bytes([high, low]).decode("gb2312") for high in range(0xB0, 0xD7) for low in range(0xA1, 0xFF)]


def stored(texts, order="big"):
    return np.array([int.from_bytes(text.encode("gbk").ljust(2, b"\0"), order) for text in texts], np.uint16)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("texts", [LEVEL_1, LEVEL_1[:40], ["一", "丁", "七"], ["啊", "!", "A", "，"]])
def test_characters_are_read_in_either_order(texts, order):
    assert tags.characters(tags.codes(stored(texts, order))) == texts


def test_ascii_may_be_padded_on_either_side():
    assert tags.characters(tags.codes(np.array([0x2100, 0x0021, 0xB0A1, 0], np.uint16))) == [
        "!",
        "!",
        "啊",
        "",
    ]


@pytest.mark.parametrize("code", [0xFFFF, 0xA2A0, 0xA1A1, 0x07, 0x20])
def test_what_is_no_character_that_is_seen_is_named_by_its_number(code):
    assert tags.character(code) == f"<{code:04X}>"


@pytest.mark.parametrize("text", ["啊", "座", "!", "丂", ""])
def test_a_stored_tag_comes_back(text):
    assert tags.characters(tags.codes(np.array([tags.stored_tag(text)], np.uint16))) == [text]


@pytest.mark.parametrize("text", ["啊啊", "ab", "😀"])
def test_what_is_no_character_of_gbk_has_no_tag(text):
    with pytest.raises(PodiumError, match="no single character of GBK"):
        tags.stored_tag(text)


def test_plausible_tags_are_those_of_gbk():
    possible = np.arange(1, 2**16).astype(np.uint16)
    said = tags.plausible(possible)
    for code in (0xB0A1, 0xA1B0, 0x2100, 0x0021, 0x8140):
        assert said[code - 1]
    for code in (0x0001 << 7, 0x3030, 0x4141):
        assert not said[code - 1]
    assert not tags.plausible(np.zeros(1, np.uint16))[0]


@pytest.mark.parametrize("encoding", ["gb2312", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r\n\x1a"])
def test_a_lexicon_is_read_in_both_encodings(tmp_path, encoding, end):
    path = tmp_path / "lexicon3755.txt"
    path.write_bytes(("\r\n".join("啊阿埃") + end).encode(encoding))
    assert tags.read_lexicon(path) == ["啊", "阿", "埃"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("啊\n阿埃\n", ":2: expected one character, got «阿埃»"),
        ("啊\n\n阿", ":2: expected one"),
        ("啊\n阿\n啊\n", ":3: «啊» stands in line 1"),
        ("\n", "is empty"),
    ],
)
def test_a_wrong_lexicon_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "lexicon.txt").write_text(text, encoding="utf-8")
    with pytest.raises(PodiumError, match=said):
        tags.read_lexicon(tmp_path / "lexicon.txt")
    with pytest.raises(PodiumError, match="cannot be read"):
        tags.read_lexicon(tmp_path / "none.txt")
