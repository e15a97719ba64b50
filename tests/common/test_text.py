"""Names of files and classes, printed: they are read, and do nothing else."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table

from common.__main__ import main
from common.text import console, printable, utf8


@settings(max_examples=30)
@given(st.text())
def test_what_is_printable_moves_no_cursor_and_ends_no_line(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1 and not any(
        ord(char) < 32 or 127 <= ord(char) < 160 for char in shown
    )
    shown.encode("utf-8")


@pytest.mark.parametrize("name", ["字", "e\u0301", "\U0001f469\u200d\U0001f680", "עברית", "a\\n", "[red]"])
def test_letters_stay_as_they_are(name):
    assert printable(name) == utf8(name) == name


def test_bytes_that_are_not_utf8_can_be_written_and_read():
    name = b"caf\xe9 \xe5\xad\x97".decode("utf-8", "surrogateescape")
    assert utf8(name) == "caf\\xe9 字"


def test_rich_prints_text_as_it_stands():
    out = io.StringIO()
    terminal = console(file=out, width=60)
    table = Table("[red]", title="[/x]", caption=":smile:")
    table.add_row("[bold] [/x] :smile:")
    terminal.print(table)
    terminal.print("[/x] [red] :smile:")
    for text in ("[red]", "[/x]", "[bold] [/x] :smile:", "[/x] [red] :smile:"):
        assert text in out.getvalue()


def test_a_word_that_is_not_utf8_is_one_message(capsys):
    assert main(["predict", b"input=\xff.png".decode("utf-8", "surrogateescape")]) == 2
    assert "input=\\xff.png» is not UTF-8" in capsys.readouterr().err
