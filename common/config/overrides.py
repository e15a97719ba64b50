"""The command line: `key=value` words in Hydra's grammar.

Values that hold a comma, a quote or brackets must be quoted for Hydra, and once more for the shell:
`"data.root='/photos, 2026'"`; so does the Makefile with DATA. Other text that Hydra's grammar does not know
(Chinese, `=`, `~`) may stand unquoted: `data.root=/数据/书法`.

A quoted value is text: `${…}` in it stays as it is. Unquoted, `${key}` is that key's value, as in a YAML file.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException

from common.errors import PodiumError

MULTIRUN = ("-m", "--multirun")  # Hydra's words for: every combination of values is a run


class Sign(Enum):
    """Among the values of `nested`."""

    DELETED = "~"  # the key goes


class Text(str):
    """What was quoted: an interpolation in it is none."""


@dataclass(frozen=True)
class Assignment:
    """One word of the command line, understood. `delete` is Hydra's `~key`."""

    key: str
    value: Any  # what was quoted is `Text`
    delete: bool = False


def parse(words: Sequence[str]) -> list[Assignment]:
    """Understand words that each give one value.

    Raises:
        PodiumError: a word that is not `key=value`, or one that sweeps over several values.
    """
    return [_single(word) for word in words]


def nested(assignments: Sequence[Assignment], kind: type = Text) -> dict[str, Any]:
    """Dotted keys as nested dictionaries, written as in a YAML file; `Sign.DELETED` stands for a key that goes.

    Later words win. kind: of the strings that are text; `str`: all, quoted or not.
    """
    values: dict[str, Any] = {}
    for word in assignments:
        *parents, last = word.key.split(".")
        node = values
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[last] = Sign.DELETED if word.delete else escape(word.value, kind)
    return values


def expand(words: Sequence[str], options: Mapping[str, list[str]] | None = None) -> list[list[str]]:
    """All combinations of the values that words sweep over: `seed=0,1,2`, `choice()`, `range()`, `glob()`.

    Args:
        words: the command line.
        options: for `glob()`, the names that each key may take.

    Returns:
        One list of words for each combination, the last word changing fastest; the words in their order.
    """
    swept = (_values(word, options or {}) for word in words)
    return [list(combination) for combination in itertools.product(*swept)]


def quote(value: str) -> str:
    """Text as a value that Hydra's grammar reads back unchanged, whatever it holds."""
    return QuotedString(value, Quote.single).with_quotes()


def escape(value: Any, kind: type = str) -> Any:
    """A value as OmegaConf reads it back unchanged: what is of this kind in it, at any depth, is no interpolation."""
    if isinstance(value, kind):
        return _INTERPOLATION.sub(lambda found: 2 * found[1] + r"\${", str(value))
    if isinstance(value, list):
        return [escape(item, kind) for item in value]
    return {key: escape(item, kind) for key, item in value.items()} if isinstance(value, dict) else value


_INTERPOLATION = re.compile(r"(\\*)\$\{")
_QUOTED = re.compile(r"([^=]*)='(.*)'", re.DOTALL)


def _single(word: str) -> Assignment:
    override = _parse(word)
    if isinstance(override, Assignment):
        return override
    if override.is_sweep_override():
        quoted = f"\"{override.key_or_group}='…'\""
        raise PodiumError(
            f"{word} gives several values, as for a sweep. One with a comma: {quoted}; a list: [a,b]"
        )
    return Assignment(override.key_or_group, _value(override._value), override.is_delete())


def _value(parsed: Any) -> Any:
    """What Hydra has parsed, as plain values and `Text`."""
    if isinstance(parsed, list):
        return [_value(item) for item in parsed]
    if isinstance(parsed, dict):
        return {getattr(key, "text", key): _value(item) for key, item in parsed.items()}
    return Text(parsed.text) if isinstance(parsed, QuotedString) else parsed


def _values(word: str, options: Mapping[str, list[str]]) -> list[str]:
    override = _parse(word)
    if isinstance(override, Assignment) or not override.is_sweep_override():
        return [word]
    key = override.get_key_element()
    swept = override.value()
    if isinstance(swept, Glob):
        return [f"{key}={name}" for name in swept.filter(options.get(override.key_or_group, []))]
    if not override.is_discrete_sweep():
        raise PodiumError(f"{word} has no end of values; name them: choice(…) or range(…)")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _parse(word: str) -> Override | Assignment:
    name = word.split("=")[0].strip()
    if word in MULTIRUN:
        raise PodiumError(f"{word} starts several runs and goes with train alone")
    if "=" not in word and not word.startswith("~"):
        raise PodiumError(f'"{word}" is not of the form key=value')
    if not re.fullmatch(r"(\+{0,2}|~)[\w-]+(\.[\w-]+)*", name):
        raise PodiumError(f'"{word}": "{name}" is not a key; keys look like trainer.max_epochs')
    try:
        return _parser().parse_override(word)
    except HydraException as error:
        if quoted := _QUOTED.fullmatch(
            word
        ):  # as the Makefile does it: where \ stands before a quote, Hydra sees none
            return Assignment(name.lstrip("+"), Text(quoted[2].replace("\\'", "'")))
        value = word.split("=", 1)[-1].strip()
        if "=" in word and not re.search(r"""[,'"\[\]{}]|^\w+\(|\$""", value):
            return Assignment(name.lstrip("+"), value)
        problem = str(error).splitlines()[0]
        if value[:1] in ("[", "{"):  # it is the shell that splits these; a quoted value would be text
            whole = f"{name}=[…]" if value[0] == "[" else f"{name}={{…}}"
            hint = f"if it holds spaces, quote it whole: ARGS=\"'{whole}'\""
        elif value[:1] == "(":
            hint = f"a list stands in brackets: {name}=[{value.strip('()')}]"
        else:
            hint = f"quote the value: \"{name}='…'\""
        raise PodiumError(f"cannot read {word} ({problem}); {hint}") from None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
