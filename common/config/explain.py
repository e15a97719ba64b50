"""Hydra's and OmegaConf's exceptions as one message for the user: key, where it was set, what it may be."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from common.config import annotations
from common.config.nearest import listed, nearest, show
from common.errors import PodiumError


def explain(error: Exception, schema: type, sources: Mapping[str, str]) -> PodiumError:
    """The error as a message.

    Args:
        error: what Hydra or OmegaConf raised.
        schema: the dataclass that the configuration is typed by.
        sources: where keys were set: key -> file or "command line".
    """
    inner = error.__cause__ or error.__context__
    if not isinstance(error, OmegaConfBaseException) and isinstance(inner, OmegaConfBaseException):
        error = inner
    key = getattr(error, "full_key", None) or ""
    where = said_by(key, sources)
    first = re.sub(r"^In '[^']+': ", "", str(error).splitlines()[0]) if str(error) else type(error).__name__
    if isinstance(error, InterpolationResolutionError):
        return PodiumError(f"{where}{key}: {first}")
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and key:
        return unknown_key(key, schema, where)
    if isinstance(error, ValidationError) and key:
        value = getattr(error, "value", None)
        return PodiumError(f"{where}{key} must be {_expected(schema, key)}, got {show(value)}")
    return PodiumError(f"{where}{key + ': ' if key else ''}{first}")


def unknown_key(key: str, schema: type, where: str = "") -> PodiumError:
    """A message for a key that the schema does not have, with the nearest one that it has."""
    known = dict(keys(schema))
    parent, _, leaf = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
    near = nearest(key, siblings) or None or nearest(key, known)
    if near:
        return PodiumError(f"{where}there is no key {key}; did you mean {near}?")
    names = listed(sorted(name.rpartition(".")[2] for name in siblings))
    return PodiumError(f"{where}there is no key {key}; {parent or 'the configuration'} has {names}")


def keys(schema: type, at: str = "") -> Iterator[tuple[str, Any]]:
    """All keys of a dataclass and of the dataclasses within it, dotted, with their annotations."""
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        yield at + item.name, hints[item.name]
        if dataclasses.is_dataclass(hints[item.name]):
            yield from keys(hints[item.name], f"{at}{item.name}.")


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
    known = dict(keys(schema))
    if key not in known:  # a value in a dictionary, such as best.valid_top1
        owner = known.get(key.rpartition(".")[0])
        arguments = typing.get_args(owner)
        return _words(arguments[-1]) if arguments else "another value"
    return _words(known[key])


def _words(kind: Any) -> str:
    if dataclasses.is_dataclass(kind):
        return "a dictionary"
    text = (
        str(kind)
        if isinstance(kind, types.UnionType | types.GenericAlias)
        else inspect.formatannotation(kind)
    )
    return annotations.describe(annotations.parse(text))
