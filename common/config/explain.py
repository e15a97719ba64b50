"""Hydra's and OmegaConf's exceptions as one message for the user: key, where it was set, what it may be."""

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from common.config.nearest import listed, nearest, show
from common.config.signature import describe
from common.errors import PodiumError


def explain(
    error: Exception, schema: type, sources: Mapping[str, str], deeper: Sequence[Iterable[str]] = ()
) -> PodiumError:
    """The error as a message.

    Args:
        error: what Hydra or OmegaConf raised.
        schema: the dataclass that the configuration is typed by.
        sources: where keys were set: key -> file or "command line".
        deeper: dotted keys that the schema leaves to others, such as optimizer.lr, for suggestions: first those that
            are written somewhere, then, looked at only where nothing else is near, what components take.
    """
    inner = error.__cause__ or error.__context__
    if not isinstance(error, OmegaConfBaseException) and isinstance(inner, OmegaConfBaseException):
        error = inner
    key = getattr(error, "full_key", None) or ""
    where = said_by(key, sources)
    first = re.sub(r"^In '[^']+': ", "", str(error).splitlines()[0]) if str(error) else type(error).__name__
    if isinstance(error, InterpolationKeyError) and (source := re.search(r"'([^']+)' not found", first)):
        return PodiumError(
            f"{where}{key} is taken from {source[1]}, which is not there: choose parts that belong together, "
            f"or give {key} itself"
        )
    if isinstance(error, InterpolationResolutionError):
        return PodiumError(f"{where}{key}: {first}")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        return unknown_key(key, schema, where, deeper)
    if isinstance(error, ValidationError) and key:
        value = getattr(error, "value", None)
        return PodiumError(f"{where}{key} must be {_expected(schema, key)}, got {show(value)}")
    return PodiumError(f"{where}{key + ': ' if key else ''}{first}")


def unknown_key(key: str, schema: type, where: str = "", deeper: Sequence[Iterable[str]] = ()) -> PodiumError:
    """A message for a key that the schema does not have, with the nearest one that it has.

    The same last part elsewhere counts for more than a similar one beside it: lr is optimizer.lr.
    """
    parent, _, leaf = key.rpartition(".")
    known = [name for name, _ in keys(schema, like=key)]
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    anywhere: dict[str, list[str]] = {}
    for names in ((*known, *(deeper[0] if deeper else ())), *deeper[1:]):
        for name in dict.fromkeys(names):
            anywhere.setdefault(name.rpartition(".")[2], []).append(name)
        if leaf in anywhere:
            return PodiumError(
                f"{where}there is no key {key}; did you mean {' or '.join(anywhere[leaf][:3])}?"
            )
        if near := nearest(leaf, siblings):
            return PodiumError(f"{where}there is no key {key}; did you mean {siblings[near]}?")
        if near := nearest(leaf, anywhere):
            return PodiumError(
                f"{where}there is no key {key}; did you mean {' or '.join(anywhere[near][:3])}?"
            )
    has = f"{parent or 'the configuration'} has {listed(sorted(siblings))}"
    return PodiumError(f"{where}there is no key {key}; {has}")


def keys(schema: type, at: str = "", like: str = "") -> Iterator[tuple[str, Any]]:
    """All keys of a dataclass and of the dataclasses within it, dotted, with their annotations.

    Of a dictionary of dataclasses only the entry that the key `like` is in: its name may be any.
    """
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        name, kind = at + item.name, hints[item.name]
        yield name, kind
        if typing.get_origin(kind) is dict and like.startswith(f"{name}."):
            name, kind = f"{name}.{like.removeprefix(f'{name}.').split('.')[0]}", typing.get_args(kind)[1]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield name, kind
            yield from keys(kind, f"{name}.", like)


def said_by(key: str, sources: Mapping[str, str]) -> str:
    """`conf/experiment/x.yaml: ` for the key, or the nearest of its parents that has a source."""
    while True:
        if key in sources:
            return f"{sources[key]}: "
        if not key:
            return ""
        key = key.rpartition(".")[0]


def _expected(schema: type, key: str) -> str:
    """In words, what a key of the schema may be."""
    known = dict(keys(schema, like=key))
    if key not in known:  # a value in a dictionary, such as best.valid_top1
        owner = known.get(key.rpartition(".")[0])
        arguments = typing.get_args(owner)
        return _words(arguments[-1]) if arguments else "another value"
    return _words(known[key])


def _words(kind: Any) -> str:
    if dataclasses.is_dataclass(kind):
        return "a dictionary"
    return describe(kind)
