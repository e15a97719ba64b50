"""What a dotted path names and which arguments it takes, read from source files: nothing is imported.

So a whole configuration is compared with the code it names in a fraction of the time that importing torch
takes. What cannot be known this way (compiled modules, names made at run time) raises `Opaque`.
"""

import ast
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from importlib.util import find_spec
from pathlib import Path

from common.config.nearest import nearest, suggest


class NotFound(Exception):
    """There is no such module or name; the message says which part of the path is wrong, and what is near."""


class Opaque(Exception):
    """The source does not tell."""


@dataclass(frozen=True)
class Module:
    """A module's file and, for a package, where its submodules lie."""

    name: str
    file: Path | None
    locations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definition:
    """A class or function statement and the module it stands in."""

    module: Module
    node: ast.ClassDef | ast.FunctionDef


def locate(target: str) -> Definition:
    """The class or function that a dotted path names.

    Raises:
        NotFound: it does not exist.
        Opaque: its source cannot be read.
    """
    top, *rest = target.split(".")
    place: Module | Definition | None = find_module(top)
    if place is None:
        installed = (module.name for module in pkgutil.iter_modules())
        raise NotFound(f'there is no package "{top}"{suggest(top, installed)}; is it installed?')
    for i, name in enumerate(rest):
        last = i == len(rest) - 1
        try:
            found = member(place, name, attribute_first=last)
        except Opaque:
            if last or name in names(place) or not nearest(name, names(place)):
                raise
            found = None  # a package may make names at run time, but hardly one that differs by a letter
        if found is None:
            where = place.name if isinstance(place, Module) else place.node.name
            raise NotFound(f'there is no "{name}" in {where}{suggest(name, names(place))}')
        place = found
    if isinstance(place, Module):
        raise NotFound(f"{target} is a module, not a class or function{_first_names(place)}")
    return place


@cache
def find_module(name: str) -> Module | None:
    """A module by its full name."""
    parent, _, leaf = name.rpartition(".")
    if parent:
        package = find_module(parent)
        return _submodule(package, leaf) if package else None
    spec = PathFinder.find_spec(name)
    if spec is None and name in sys.modules:  # built in
        return Module(name, None)
    spec = spec or find_spec(name)  # found by a hook, as editable installs are
    if spec is None:
        return None
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return Module(name, file, tuple(spec.submodule_search_locations or ()))


def member(
    place: Module | Definition, name: str, attribute_first: bool = True
) -> "Module | Definition | None":
    """What `place.name` is; None if there is no such name.

    A package's own name hides a submodule's. Yet to look for the submodule first saves reading the package,
    and is right for all but the last name of a path.
    """
    if isinstance(place, Definition):
        methods = (node for node in _statements(place.node.body) if isinstance(node, ast.FunctionDef))
        found = next((node for node in methods if node.name == name), None)
        if found is None and getattr(place.node, "bases", []):
            raise Opaque
        return Definition(place.module, found) if found else None
    if attribute_first:
        return _attribute(place, name) or _submodule(place, name)
    return _submodule(place, name) or _attribute(place, name)


def resolve(module: Module, expression: ast.expr) -> Module | Definition:
    """What a name or a dotted name stands for in a module."""
    match expression:
        case ast.Name(id=name):
            found = _attribute(module, name)
        case ast.Attribute(value=value, attr=name):
            found = member(resolve(module, value), name)
        case _:
            raise Opaque
    return _known(found)


def names(place: Module | Definition) -> list[str]:
    """The public names in a module or class, as far as its source tells: for suggestions."""
    if isinstance(place, Definition):
        return [node.name for node in _statements(place.node.body) if isinstance(node, ast.FunctionDef)]
    found = {module.name for module in pkgutil.iter_modules(list(place.locations))}
    folders = [path for location in place.locations for path in Path(location).iterdir() if path.is_dir()]
    found |= {folder.name for folder in folders if folder.name.isidentifier()}
    for node in _statements(_tree(place).body):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                with suppress(Opaque):
                    found |= set(names(_module(_imported_from(place, node))))
            case ast.ImportFrom(names=aliases):
                found |= {alias.asname or alias.name for alias in aliases}
    return sorted(name for name in found if not name.startswith("_"))


def _submodule(package: Module, leaf: str) -> Module | None:
    name = f"{package.name}.{leaf}"
    for location in package.locations:
        folder = Path(location, leaf)
        if (folder / "__init__.py").is_file():
            return Module(name, folder / "__init__.py", (str(folder),))
        if folder.with_suffix(".py").is_file():
            return Module(name, folder.with_suffix(".py"))
        if any(folder.with_name(leaf + suffix).is_file() for suffix in EXTENSION_SUFFIXES):
            return Module(name, None)
    folders = [Path(location, leaf) for location in package.locations]
    namespace = tuple(str(folder) for folder in folders if folder.is_dir())  # folders without __init__.py
    return Module(name, None, namespace) if namespace else None


@cache
def _attribute(module: Module, name: str) -> Module | Definition | None:
    """What a name is bound to in a module; the last binding counts."""
    if module.file is None and module.locations:
        return None  # a namespace package has nothing but submodules
    text = _text(module)
    if name not in text and "import *" not in text and "__getattr__" not in text:
        return None
    stars: list[ast.ImportFrom] = []
    lazy = False
    for node in reversed(list(_statements(_tree(module).body))):
        match node:
            case ast.ClassDef(name=bound) | ast.FunctionDef(name=bound) if bound == name:
                return Definition(module, node)
            case ast.FunctionDef(name="__getattr__"):
                lazy = True
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                stars.append(node)
            case ast.ImportFrom(names=aliases):
                for alias in aliases:
                    if (alias.asname or alias.name) == name:
                        source = _module(_imported_from(module, node))
                        return _known(member(source, alias.name, attribute_first=False))
            case ast.Import(names=aliases):
                for alias in aliases:
                    if (alias.asname or alias.name.split(".")[0]) == name:
                        return _module(alias.name if alias.asname else name)
            case ast.Assign(targets=[ast.Name(id=bound)], value=value) if bound == name:
                return resolve(module, value)
            case ast.AnnAssign(target=ast.Name(id=bound), value=value) if bound == name and value:
                return resolve(module, value)
    for star in stars:
        found = member(_module(_imported_from(module, star)), name)
        if found is not None:
            return found
    if lazy:
        raise Opaque
    return None


def _module(name: str) -> Module:
    found = find_module(name)
    if found is None:
        raise Opaque
    return found


def _known(found: Module | Definition | None) -> Module | Definition:
    if found is None:
        raise Opaque
    return found


def _imported_from(module: Module, node: ast.ImportFrom) -> str:
    """The full name of the module that `from … import` reads."""
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.locations else module.name.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements in order, with those inside `if`, `try` and `with`."""
    for node in body:
        yield node
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _statements(getattr(node, part, []))


def _text(module: Module) -> str:
    if module.file is None or module.file.suffix != ".py":
        raise Opaque
    return _read(module.file)


@cache
def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@cache
def _tree(module: Module) -> ast.Module:
    if module.file is None and module.locations:
        return ast.Module([], [])
    return ast.parse(_text(module), str(module.file))


def _first_names(module: Module) -> str:
    own = [node.name for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    return f"; it has {', '.join(own[:10])}" if own else ""
