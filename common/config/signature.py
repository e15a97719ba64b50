"""The arguments of a class or function, as Python knows them after importing it, and what their annotations accept."""

import ast
import inspect
import json
import os
import pkgutil
import types
import typing
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from common.config.nearest import suggest

EMPTY = inspect.Parameter.empty
# Bases that take **kwargs and then refuse them.
NO_KEYWORDS = {"torch.nn.modules.module.Module", "pytorch_lightning.core.module.LightningModule"}


class NotFound(Exception):
    """There is no such module or name, or it cannot be imported; the message says what is wrong, and what is near."""


class Opaque(Exception):
    """Compiled: Python does not know the arguments."""


@dataclass(frozen=True)
class Parameter:
    """One argument. annotation: a type, or EMPTY. `nullable`: its default is None, whatever its annotation says."""

    annotation: Any
    required: bool
    nullable: bool = False


@dataclass(frozen=True)
class Signature:
    """What may be given by name. `open`: it takes any further name (`**kwargs`) for who knows what."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    open: bool = False


def signature(target: str) -> Signature:
    """The arguments that a dotted path's class or function takes by name; its module is imported.

    A class whose constructor hands `**kwargs` to that of its base takes what the base takes, too.

    Raises NotFound, Opaque, and SyntaxError of a module that is none.
    """
    found = locate(target)
    if not inspect.isclass(found) and not inspect.isroutine(found):
        raise Opaque
    return _of(found)


def locate(target: str) -> Any:
    """What a dotted path names. Raises NotFound."""
    top, *rest = target.split(".")
    found = _module(top)
    if found is None:
        near = suggest(top, (module.name for module in pkgutil.iter_modules()))
        raise NotFound(f'there is no package "{top}"{near}; is it installed?')
    for name in rest:
        inner = (
            _module(f"{found.__name__}.{name}")
            if inspect.ismodule(found) and not hasattr(found, name)
            else None
        )
        if inner is None and not hasattr(found, name):
            raise NotFound(f'there is no "{name}" in {found.__name__}{suggest(name, _names(found))}')
        found = inner or getattr(found, name)
    if inspect.ismodule(found):
        own = [
            name
            for name, one in vars(found).items()
            if inspect.isclass(one) and one.__module__ == found.__name__
        ]
        raise NotFound(
            f"{target} is a module, not a class or function" + f"; it has {', '.join(own[:10])}" * bool(own)
        )
    return found


def _module(name: str) -> types.ModuleType | None:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise NotFound(f"cannot be imported: {error}") from error
    except SyntaxError:
        raise
    except Exception as error:  # whatever its own code does
        raise NotFound(f"cannot be imported: {type(error).__name__}: {error}") from error


def _names(place: Any) -> list[str]:
    inside = {module.name for module in pkgutil.iter_modules(getattr(place, "__path__", None) or [])}
    folders = (Path(folder) for folder in getattr(place, "__path__", ()))
    inside |= {child.name for folder in folders for child in folder.iterdir() if child.is_dir()}
    return sorted(name for name in {*inside, *dir(place)} if name.isidentifier() and name[0] != "_")


def _of(thing: Any) -> Signature:
    try:
        known = inspect.signature(thing).parameters
    except (TypeError, ValueError):
        raise Opaque from None
    by_name = {
        name: one for name, one in known.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }
    if any(one.kind is one.POSITIONAL_ONLY for one in by_name.values()):
        raise Opaque
    hints = _hints(thing)
    own = {
        name: Parameter(hints.get(name, one.annotation), one.default is EMPTY, one.default is None)
        for name, one in by_name.items()
    }
    rest = next((name for name, one in known.items() if one.kind is one.VAR_KEYWORD), None)
    if rest is None or f"{thing.__module__}.{thing.__qualname__}" in NO_KEYWORDS:
        return Signature(own)
    return _with_base(thing, own, rest) or Signature(own, open=True)


def _hints(thing: Any) -> dict[str, Any]:
    """Annotations as types; as they stand in the source where they cannot be evaluated."""
    made = thing.__init__ if inspect.isclass(thing) and "__dataclass_fields__" not in vars(thing) else thing
    try:
        return typing.get_type_hints(made, include_extras=True)
    except Exception:  # names that only type checkers import
        return {}


def _with_base(thing: Any, own: dict[str, Parameter], rest: str) -> Signature | None:
    """With what the base takes, where the constructor's `**rest` goes to it and nowhere else."""
    if not inspect.isclass(thing):
        return None
    owner = next(base for base in thing.__mro__ if "__init__" in vars(base))
    if f"{owner.__module__}.{owner.__qualname__}" in NO_KEYWORDS:
        return Signature(own)
    try:
        tree = ast.parse(dedent(inspect.getsource(vars(owner)["__init__"])))
    except (OSError, TypeError, SyntaxError):
        return None
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    handed = [
        call
        for call in calls
        if ast.unparse(call.func) == "super().__init__"
        and any(word.arg is None and ast.unparse(word.value) == rest for word in call.keywords)
    ]
    uses = sum(isinstance(node, ast.Name) and node.id == rest for node in ast.walk(tree))
    bases = thing.__mro__[thing.__mro__.index(owner) + 1 :]
    base = next((one for one in bases if "__init__" in vars(one) and one is not object), None)
    if not handed or uses != 1 or base is None:
        return None
    inherited = _of(base)
    by_place = [word for word in handed[0].args if not isinstance(word, ast.Starred)]
    given = {word.arg for word in handed[0].keywords} | {*list(inherited.parameters)[: len(by_place)]}
    more = {name: one for name, one in inherited.parameters.items() if name not in given}
    return Signature(more | own, inherited.open)


# What an annotation accepts, and in words ------------------------------------------------------------------

_WORDS: dict[Any, tuple[str, str]] = {
    int: ("an int", "int"),
    float: ("a number", "number"),
    bool: ("true or false", "bool"),
    str: ("text", "text"),
    type(None): ("null", "null"),
    None: ("null", "null"),
    Any: ("anything", ""),
    object: ("anything", ""),
    Path: ("a path", "path"),
    os.PathLike: ("a path", "path"),
}
_LISTS = (list, tuple, set, frozenset, Sequence, MutableSequence, Iterable, Collection)
_DICTS = (dict, Mapping, MutableMapping)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a plain value fits; True if the annotation is beyond plain types. An int is a number too."""
    if isinstance(value, dict) and "_target_" in value:  # which becomes an object
        return True
    members = [one for one in _members(annotation) if getattr(one, "__name__", "") != "Tensor"]
    if not members or not all(map(_is_plain, members)):
        return bool(members)
    try:
        _adapter(Union[tuple(members)]).validate_json(json.dumps(value, default=str), strict=True)  # noqa: UP007
    except ValidationError:
        return False
    return True


def describe(annotation: Any, short: bool = False) -> str:
    """The annotation in words: `an int or null`, `a list of 2 int`, `"max" or "min"`. `short`: no article."""
    if annotation is EMPTY:
        return "anything"
    members = _members(annotation)
    if len(members) > 1:
        return " or ".join(dict.fromkeys(describe(member, short) for member in members))
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if isinstance(annotation, str):
        return annotation
    if origin in _WORDS:
        return _WORDS[origin][short]
    if origin is Literal:
        return " or ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in arguments)
    if origin is Annotated:
        return describe(arguments[0], short)
    article = "" if short else "a "
    if origin in _LISTS:
        words = [describe(one, short=True) for one in arguments if one is not ...]
        if origin is tuple and arguments and arguments[-1] is not ...:
            kinds = words[0] if len(set(words)) == 1 else ", ".join(words)
            return f"{article}list of {len(words)} {kinds}".rstrip()
        return f"{article}list of {words[0]}" if words and words[0] else f"{article}list"
    if origin in _DICTS:
        return f"{article}dictionary"
    return inspect.formatannotation(annotation)


def _members(annotation: Any) -> list[Any]:
    """Those of a union, of unions within it too; else the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for one in get_args(annotation) for inner in _members(one)]
    return [annotation]


def _is_plain(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if annotation in (Any, object, EMPTY) or isinstance(annotation, str):
        return False  # anything goes
    if origin is Literal:
        return True
    if get_origin(annotation) in (Union, types.UnionType):
        return all(map(_is_plain, arguments))
    if origin is Annotated:
        return _is_plain(arguments[0])
    if origin in (*_LISTS, *_DICTS):
        return all(one is ... or one in (Any, object) or _is_plain(one) for one in arguments)
    return origin in _WORDS


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)
