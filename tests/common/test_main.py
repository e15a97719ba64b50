import pytest

from common.__main__ import VERBS, main


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["train", "--help"]])
def test_help_names_every_verb_and_where_to_read_on(words, capsys):
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(verb in said for verb in VERBS) and "make config" in said


@pytest.mark.parametrize("words", [[], ["trian"]])
def test_without_a_verb_the_verbs_are_named(words, capsys):
    assert main(words) == 2
    assert ", ".join(VERBS) in capsys.readouterr().err
