"""Type annotations as source text: what a configuration value may be, and how to say so.

They are compared as syntax trees (`ast`), so that a signature can be checked without importing its module.
"""

import ast
from collections.abc import Sequence
from typing import Any

_WORDS = {
    "int": ("an int", "int"),
    "float": ("a number", "number"),
    "bool": ("true or false", "bool"),
    "str": ("text", "text"),
    "None": ("null", "null"),
    "Any": ("anything", ""),
    "object": ("anything", ""),
    "Path": ("a path", "path"),
    "PathLike": ("a path", "path"),
}
_LISTS = {
    "list",
    "List",
    "tuple",
    "Tuple",
    "Sequence",
    "MutableSequence",
    "Iterable",
    "Collection",
    "set",
    "Set",
}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict"}


def accepts(annotation: ast.expr | None, value: Any) -> bool:
    """Whether a plain value fits; True if the annotation is beyond plain types. An int is a number too."""
    if annotation is None or (isinstance(value, dict) and "_target_" in value):
        return True
    annotation = _unquoted(annotation)
    if members := _union(annotation):
        return any(accepts(member, value) for member in members)
    name, arguments = _parts(annotation)
    match name:
        case "None":
            return value is None
        case "Tensor":
            return False
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "str" | "Path" | "PathLike":
            return isinstance(value, str)
        case "Literal":
            return any(type(value) is type(choice) and value == choice for choice in _literals(arguments))
        case "Annotated":
            return accepts(arguments[0], value)
    if name in _LISTS:
        return isinstance(value, list) and _items_fit(name, arguments, value)
    if name in _DICTS:
        return isinstance(value, dict) and (
            len(arguments) < 2 or all(accepts(arguments[1], item) for item in value.values())
        )
    return True


def describe(annotation: ast.expr | None, short: bool = False) -> str:
    """The annotation in words: `an int or null`, `a list of 2 int`, `"max" or "min"`. `short`: no article."""
    if annotation is None:
        return "anything"
    annotation = _unquoted(annotation)
    if members := _union(annotation):
        return " or ".join(dict.fromkeys(describe(member, short) for member in members))
    name, arguments = _parts(annotation)
    if name in _WORDS:
        return _WORDS[name][short]
    if name == "Literal":
        return " or ".join(
            f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in _literals(arguments)
        )
    if name == "Annotated":
        return describe(arguments[0], short)
    if name in _LISTS:
        words = [describe(argument, short=True) for argument in arguments if not _is_ellipsis(argument)]
        article = "" if short else "a "
        if name in ("tuple", "Tuple") and arguments and not _is_ellipsis(arguments[-1]):
            kinds = words[0] if len(set(words)) == 1 else ", ".join(words)
            return f"{article}list of {len(words)} {kinds}".rstrip()
        return f"{article}list of {words[0]}" if words and words[0] else f"{article}list"
    if name in _DICTS:
        return "dictionary" if short else "a dictionary"
    return ast.unparse(annotation)


def parse(annotation: str) -> ast.expr:
    """The syntax tree of an annotation's text."""
    return ast.parse(annotation, mode="eval").body


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return parse(annotation.value)
    return annotation


def _union(annotation: ast.expr) -> list[ast.expr]:
    """The members of a union; empty if it is none."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [
            *(_union(annotation.left) or [annotation.left]),
            *(_union(annotation.right) or [annotation.right]),
        ]
    name, arguments = _parts(annotation)
    if name == "Union":
        return arguments
    return [*arguments, ast.Constant(None)] if name == "Optional" else []


def _parts(annotation: ast.expr) -> tuple[str, list[ast.expr]]:
    """`List` and `[int]` of `typing.List[int]`."""
    match annotation:
        case ast.Constant(value=None):
            return "None", []
        case ast.Name(id=name):
            return name, []
        case ast.Attribute(attr=name):
            return name, []
        case ast.Subscript(value=base, slice=ast.Tuple(elts=elements)):
            return _parts(base)[0], elements
        case ast.Subscript(value=base, slice=element):
            return _parts(base)[0], [element]
    return "", []


def _items_fit(name: str, arguments: list[ast.expr], value: Sequence[Any]) -> bool:
    if not arguments:
        return True
    if name in ("tuple", "Tuple") and not _is_ellipsis(arguments[-1]):
        fits = zip(arguments, value, strict=False)
        return len(arguments) == len(value) and all(accepts(argument, item) for argument, item in fits)
    return all(accepts(arguments[0], item) for item in value)


def _literals(arguments: list[ast.expr]) -> list[Any]:
    return [ast.literal_eval(argument) for argument in arguments]


def _is_ellipsis(annotation: ast.expr) -> bool:
    return isinstance(annotation, ast.Constant) and annotation.value is Ellipsis
