"""The grammar of command-line words."""

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from common.config.overrides import Sign, escape, expand, nested, parse, quote
from common.errors import PodiumError


@given(st.text(st.characters(exclude_categories=["C"])))
def test_quoted_text_is_read_back_unchanged(text: str) -> None:
    assert parse([f"key={quote(text)}"])[0].value == text


@given(st.text("\\${}:'\" a") | st.text())
def test_what_is_escaped_is_read_back_by_omegaconf(text: str) -> None:
    assume(text != "???")
    config = OmegaConf.create({"a": escape(text), "b": ["${a}"]})
    assert (config.a, config.b[0]) == (text, text)


@given(st.text("\\${}:'a,", min_size=1).filter(lambda text: "\\\\" not in text))
def test_what_the_makefile_quotes_is_read_back(text: str) -> None:
    """It can only put a backslash before each quote; see `override` there."""
    word = "run_dir='" + text.replace("'", "\\'") + "'"
    assert parse([word])[0].value == text


def test_quoted_text_is_no_interpolation_and_other_text_is_one() -> None:
    words = parse(["a='${seed}'", "b=${seed}", "c=['${x}',${seed}]", "seed=7"])
    config = OmegaConf.create(nested(words))
    assert OmegaConf.to_container(config, resolve=True) == {
        "a": "${seed}",
        "b": 7,
        "c": ["${x}", 7],
        "seed": 7,
    }
    config = OmegaConf.create(nested(words, str))
    assert OmegaConf.to_container(config, resolve=True)["b"] == "${seed}"


@given(st.text("数据/.~=()!# abc", min_size=1).filter(lambda text: text == text.strip()))
def test_unquoted_text_without_commas_quotes_and_brackets_is_read_as_it_is(text: str) -> None:
    assert parse([f"key=/{text}"])[0].value == f"/{text}"


@pytest.mark.parametrize(
    "word",
    [
        "a=1",
        "a=1e-3",
        "a=true",
        "a=null",
        "a=[1,b]",
        "a={b: [1, 2]}",
        "a='1'",
        "a.b.0=x",
        "a=00:01:00:00",
        "a=",
    ],
)
def test_values_are_those_of_hydras_grammar(word: str) -> None:
    assert parse([word])[0].value == OverridesParser.create().parse_override(word).value()


def test_signs_before_a_key_are_understood() -> None:
    words = parse(["+a.b=1", "++a=2", "~c", "+d=/数据"])
    assert [(word.key, word.value, word.delete) for word in words] == [
        ("a.b", 1, False),
        ("a", 2, False),
        ("c", None, True),
        ("d", "/数据", False),
    ]


def test_dotted_keys_are_nested_and_later_words_win() -> None:
    words = ["a.b=1", "a.c=2", "~a.d", "a.b=3", "e={f: 1}", "e.g=2", "h=1", "h.i=2"]
    assert nested(parse(words)) == {
        "a": {"b": 3, "c": 2, "d": Sign.DELETED},
        "e": {"f": 1, "g": 2},
        "h": {"i": 2},
    }


@pytest.mark.parametrize(
    "words",
    [
        ["seed=0,1,2", "loss=focal,cross_entropy"],
        ["seed=range(0,3)", "data.root=/x"],
        ["optimizer.lr=choice(0.1,0.01)", "seed=1,2", "callbacks.ohem=null,{keep: 0.5}"],
        ["experiment=[a,b],[c]", "seed=5"],
        ["data.root='/a,b','/c'"],
        ["seed=1"],
    ],
)
def test_combinations_are_those_of_hydras_own_sweeper(words: list[str]) -> None:
    parsed = OverridesParser.create().parse_overrides(words)
    assert expand(words) == BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]


def test_every_combination_can_be_composed_again() -> None:
    words = ["data.root='/a, b','/数据'", "seed=range(2)", "data.list=[1,2],[3]", "x=/数据"]
    values = [nested(parse(combination)) for combination in expand(words)]
    assert [value["data"] for value in values[::4]] == [
        {"root": "/a, b", "list": [1, 2]},
        {"root": "/数据", "list": [1, 2]},
    ]
    assert len(values) == 8 and all(value["x"] == "/数据" for value in values)


def test_a_glob_sweeps_over_the_options_of_its_group() -> None:
    options = {"loss": ["cross_entropy", "focal", "soft_cross_entropy"]}
    assert expand(["loss=glob(*cross*)"], options) == [["loss=cross_entropy"], ["loss=soft_cross_entropy"]]


def test_a_sweep_without_end_is_refused() -> None:
    with pytest.raises(PodiumError, match="has no end of values"):
        expand(["seed=interval(0,1)"])
