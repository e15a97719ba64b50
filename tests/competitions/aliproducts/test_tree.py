"""Trees of every form and depth give the same ancestors; what is no tree is refused."""

import json
import unicodedata

import pytest

from common.errors import PodiumError
from competitions.aliproducts.tree import OUTSIDE, level_table, read_tree

EXPECTED = {2: ("Fruit", "Apple"), 5: ("Fruit", "Apple"), 10: ("Fruit", "Pear"), 11: ("Drinks", "Juice")}
KNOWN = set(EXPECTED)

FORMS = {
    "names": {"Fruit": {"Apple": {"Gala": "00002", "Pink": 5}, "Pear": {"Anjou": "00010"}},
              "Drinks": {"Juice": {"Orange": "00011"}}},
    "lists": {"Fruit": {"Apple": ["00002", 5], "Pear": ["10"]}, "Drinks": {"Juice": [11]}},
    "classes as names": {"Fruit": {"Apple": {"00002": {}, "00005": None}, "Pear": {"10": []}},
                         "Drinks": {"Juice": {"11": {}}}},
    "nodes": [
        {"name": "Fruit", "children": [
            {"name": "Apple", "children": [{"class_id": "2", "name": "Gala"}, {"class_id": 5, "children": []}]},
            {"name": "Pear", "children": ["10"]}]},
        {"name": "Drinks", "children": [{"name": "Juice", "children": [{"class_id": 11}]}]}],
    "parents": {"00002": "Apple", "00005": "Apple", "00010": "Pear", "00011": "Juice", "Apple": "Fruit",
                "Pear": "Fruit", "Juice": "Drinks", "Fruit": None},
    "parents of nodes": {"nodes": [
        {"id": "f", "name": "Fruit", "parent": None}, {"id": "a", "name": "Apple", "parent": "f"},
        {"id": "p", "name": "Pear", "parent": "f"}, {"id": "d", "name": "Drinks", "parent": ""},
        {"id": "j", "name": "Juice", "parent": "d"}, {"id": 2, "parent": "a"}, {"id": 5, "parent": "a"},
        {"id": "x", "class_id": "00010", "parent": "p"}, {"id": "11", "parent": "j"}]},
}  # fmt: skip


def written(tmp_path, tree):
    path = tmp_path / "product_tree.json"
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_say_the_same(tmp_path, form):
    found = read_tree(written(tmp_path, FORMS[form]), KNOWN)
    assert dict(found) == EXPECTED and len(found) == 4


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 40])
def test_any_depth(tmp_path, depth):
    tree: dict = {}
    for label in range(8):
        node = tree
        for level in range(depth):
            node = node.setdefault(f"{level}:{label >> max(0, 3 - level)}", {})
        node[f"name {label}"] = label
    table = level_table(dict(read_tree(written(tmp_path, tree), set(range(8)))), list(range(8)))
    telling = min(depth, 40) - 1  # the first has one node
    assert list(table) == [f"level{level}" for level in range(depth, 1, -1)] and len(list(table)) == telling
    for fine, coarse in zip(
        list(table), list(table)[1:], strict=False
    ):  # every level is a tree above the finer one
        assert (table.groupby(fine)[coarse].nunique() == 1).all()


def test_a_flat_table_of_names_is_not_taken_for_parents(tmp_path):
    assert dict(read_tree(written(tmp_path, {"Gala": "2", "Pink": "5"}), KNOWN)) == {2: (), 5: ()}


def test_equal_names_under_different_parents_stay_apart_and_uneven_depths_are_evened():
    above = {1: ("A", "Other"), 2: ("B", "Other"), 3: ("B",), 4: ("B", "Some", "Deep")}
    table = level_table(above, [1, 2, 3, 4, 9])
    assert table["level1"].tolist() == ["A", "B", "B", "B", OUTSIDE]
    assert table["level2"].tolist() == ["A > Other", "B > Other", "B", "B > Some", OUTSIDE]
    assert table["level3"].tolist() == ["A > Other", "B > Other", "B", "B > Some > Deep", OUTSIDE]


def test_a_class_in_two_places_comes_twice(tmp_path):
    found = read_tree(written(tmp_path, {"A": {"x": 2, "y": 5}, "B": {"z": 2}}), KNOWN)
    assert found == [(2, ("A",)), (5, ("A",)), (2, ("B",))]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ('{"A": ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("7", "the root: expected names with what is below them, got 7"),
        ("{}", "holds no class"),
        ('{"A": {"x": "2", "x": "5"}}', "«x» stands twice under one parent"),
        ({"A": {"Gala": "green"}}, "A > Gala: a leaf must be a number such as 42 or «00042», got 'green'"),
        ({"A": {"B": {}}}, "A > B: a leaf must be a number"),
        ({"A": {"B": 1.5}}, "expected names with what is below them, got 1.5"),
        ({"2": "A", "A": "B", "B": "A"}, "is above itself"),
        ([{"id": 2, "parent": 5}, {"id": 5, "parent": 2}], "circle"),
        (
            [{"id": "a", "parent": None}, {"id": "a", "parent": None}],
            "entry 1: expected a node with an id of its own",
        ),
    ],
)
def test_what_is_no_tree_is_refused(tmp_path, tree, message):
    with pytest.raises(PodiumError, match=message):
        read_tree(written(tmp_path, tree), KNOWN)


def test_names_in_two_forms_of_unicode_are_one(tmp_path):
    one, other = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    path = tmp_path / "tree.json"
    path.write_text(json.dumps({"2": one, "5": other, other: "Food"}), encoding="utf-8")
    assert read_tree(path, {2, 5}) == [(2, ("Food", one)), (5, ("Food", one))]
    path.write_text(json.dumps({one: {"2": {}}, other: {"5": {}}}), encoding="utf-8")
    with pytest.raises(PodiumError, match="stands twice"):
        read_tree(path, {2, 5})
