"""The product tree: of any depth, and of any of the forms in which such trees are written.

- nested, by name: `{"Fruit": {"Apple": {"Pink-Lady": "00002"}}}`; a leaf is a class, a list of classes, or a class as
  a name with nothing below it
- nodes: `{"name": …, "children": [{"name": …, "class_id": …}]}`
- every node's parent: `{"2": "Apple", "Apple": "Fruit"}` or `[{"id": …, "parent": …, "name": …}]`
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from common.errors import PodiumError
from common.text import nfc
from competitions.aliproducts.lists import class_number

Ancestors = tuple[str, ...]  # names from the root on, without the class itself

OUTSIDE = "(not in the tree)"  # at every level, what stands above a class that the tree does not have


def read_tree(path: Path, known: set[int]) -> list[tuple[int, Ancestors]]:
    """Each class in the tree, with its ancestors; a class that stands there twice comes twice.

    known: the classes of the lists, by which a child is told from a parent where both are mere names.

    Raises PodiumError for what is no tree: not JSON, a name twice under one parent, a leaf that is no class, a circle.
    """
    try:
        tree = json.loads(
            nfc(path.read_text(encoding="utf-8-sig")), object_pairs_hook=lambda p: _once(p, path)
        )
    except OSError as error:
        raise PodiumError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise PodiumError(f"{path}: not JSON: {error}") from None
    parents = _parents(tree, known, path)
    found = list(_leaves(tree, (), str(path)) if parents is None else _climbed(*parents, path))
    if not found:
        raise PodiumError(f"{path} holds no class")
    return found


def level_table(ancestors: dict[int, Ancestors], classes: list[int]) -> pd.DataFrame:
    """A column for each level above the classes, from fine to coarse: level<n> … level1; a row for each class.

    A node is named by its path from the root, so that equal names under different parents stay apart. A class that
    hangs higher than others is its parent's child at the levels that it skips. A level of one node tells nothing and
    is left out.
    """
    depth = max(map(len, ancestors.values()), default=0)
    columns = {}
    for level in range(depth, 0, -1):
        columns[f"level{level}"] = [
            " > ".join(ancestors[number][:level]) or OUTSIDE if number in ancestors else OUTSIDE
            for number in classes
        ]
    telling = {name: nodes for name, nodes in columns.items() if len(set(nodes)) > 1}
    return pd.DataFrame(telling, index=range(len(classes)))


def _leaves(node: Any, above: Ancestors, where: str) -> Iterator[tuple[int, Ancestors]]:
    """The classes below a node whose own name is the last of `above`."""
    if isinstance(node, dict) and "children" in node:
        inner = (*above, _name(node)) if _name(node) else above
        if node["children"]:
            yield from _leaves(node["children"], inner, where)
        else:
            yield class_number(_class(node), f"{where}: {_shown(inner)}: a leaf"), above
    elif isinstance(node, dict) and "class_id" in node:
        yield class_number(node["class_id"], f"{where}: {_shown(above)}: class_id"), above
    elif isinstance(node, dict):
        for name, child in node.items():
            here = f"{where}: {_shown((*above, name))}: a leaf"
            if isinstance(child, str | int):
                yield class_number(child, here), above
            elif not child:
                yield class_number(name, here), above
            else:
                yield from _leaves(child, (*above, name), where)
    elif isinstance(node, list):
        for child in node:
            if isinstance(child, str | int):
                yield class_number(child, f"{where}: {_shown(above)}: a leaf"), above
            else:
                yield from _leaves(child, above, where)
    else:
        raise PodiumError(f"{where}: {_shown(above)}: expected names with what is below them, got {node!r}")


def _parents(
    tree: Any, known: set[int], path: Path
) -> tuple[dict[str, str | None], dict[str, str], dict[str, Any]] | None:
    """(node → parent, node → name, leaf → class) where the file says every node's parent; else None."""
    if (
        isinstance(tree, dict)
        and tree
        and all(isinstance(value, str | int | None) for value in tree.values())
    ):
        if _count(tree, known) <= _count(tree.values(), known):
            return None  # names and their classes
        return {key: None if value in (None, "") else str(value) for key, value in tree.items()}, {}, {}
    nodes = next(iter(tree.values())) if isinstance(tree, dict) and len(tree) == 1 else tree
    if not isinstance(nodes, list) or not nodes or not all(isinstance(node, dict) for node in nodes):
        return None
    key = next((key for key in ("parent", "parent_id") if key in nodes[-1]), None)
    if key is None:
        return None
    parents: dict[str, str | None] = {}
    names, classes = {}, {}
    for position, node in enumerate(nodes):
        own = str(node.get("id", node.get("class_id", node.get("name"))))
        if own == "None" or own in parents:
            raise PodiumError(f"{path}: entry {position}: expected a node with an id of its own, got {node}")
        above = node.get(key)
        parents[own] = None if above in (None, "") else str(above)
        names[own], classes[own] = _name(node) or own, node.get("class_id", own)
    return parents, names, classes


def _climbed(
    parents: dict[str, str | None], names: dict[str, str], classes: dict[str, Any], path: Path
) -> Iterator[tuple[int, Ancestors]]:
    """The classes, which are nobody's parents, with their ancestors."""
    inner = set(parents.values())
    if set(parents) <= inner:
        raise PodiumError(f"{path}: every node is a parent: the tree runs in a circle")
    for leaf in parents:
        if leaf in inner:
            continue
        above: list[str] = []
        node = parents[leaf]
        while node is not None:
            if len(above) > len(parents):
                raise PodiumError(f"{path}: {node} is above itself")
            above.append(names.get(node, node))
            node = parents.get(node)
        yield class_number(classes.get(leaf, leaf), f"{path}: a leaf"), tuple(reversed(above))


def _once(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    pairs = [(nfc(name), nfc(value) if isinstance(value, str) else value) for name, value in pairs]
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise PodiumError(f"{path}: «{twice}» stands twice under one parent")
    return found


def _name(node: dict[str, Any]) -> str:
    return next((str(node[key]) for key in ("name", "id", "class_id") if key in node), "")


def _class(node: dict[str, Any]) -> Any:
    return next((node[key] for key in ("class_id", "id", "name") if key in node), None)


def _count(values: Any, known: set[int]) -> int:
    return sum(str(value).isdecimal() and int(str(value)) in known for value in values)


def _shown(above: Ancestors) -> str:
    return " > ".join(above) or "the root"
