"""One layer onto another."""

from typing import Any

import pytest

from common.config.layers import CLI, Layer, SearchPath
from common.config.merge import Merged, leaves
from common.config.overrides import nested, parse
from common.errors import PodiumError
from tests.common.config.sample_conf import Conf


@pytest.fixture
def merge(conf: Conf):
    """A function from the values of layers, lowest first, to what they make together."""

    def merged(*layers: dict[str, Any], source: str = "file") -> dict[str, Any]:
        found = Merged(SearchPath((conf.folder,)))
        for layer in layers:
            found.add(Layer(source, values=layer))
        return found.values

    return merged


def test_dictionaries_merge_and_other_values_replace(merge) -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {"f": 1}}
    above = {"a": {"c": [3]}, "d": {"x": 1}, "e": None}
    assert merge(below, above) == {"a": {"b": 1, "c": [3]}, "d": {"x": 1}, "e": None}


def test_layers_are_left_as_they_were(merge) -> None:
    below, above = {"a": {"b": [1]}}, {"a": {"b": [2], "c": {"d": 1}}}
    merge(below, above, {"a": {"c": {"d": 2}}})
    assert (below, above) == ({"a": {"b": [1]}}, {"a": {"b": [2], "c": {"d": 1}}})
    assert merge(below, {"a": {"b": {"0": 9}}}, source=CLI) == {"a": {"b": [9]}}
    assert below == {"a": {"b": [1]}}


def test_a_file_that_names_another_target_replaces_the_part_whole(merge) -> None:
    below = {"optimizer": {"_target_": "a.Adam", "betas": [0.9, 0.999]}}
    assert merge(below, {"optimizer": {"_target_": "a.SGD", "lr": 1}}) == {
        "optimizer": {"_target_": "a.SGD", "lr": 1}
    }
    same = merge(below, {"optimizer": {"_target_": "a.Adam", "lr": 1}})
    assert same["optimizer"] == {"_target_": "a.Adam", "betas": [0.9, 0.999], "lr": 1}


def test_another_target_on_the_command_line_drops_nothing(merge) -> None:
    below, above = {"data": {"_target_": "a.Data", "size": 1}}, {"data": {"_target_": "my.Data"}}
    assert merge(below, above, source=CLI) == {"data": {"_target_": "my.Data", "size": 1}}


def test_the_metrics_of_best_are_replaced_as_a_whole_in_their_order(merge) -> None:
    below, above = {"best": {"valid_top1": "max"}}, {"best": {"valid_top5": "max", "valid_top1": "max"}}
    assert list(merge(below, above)["best"]) == ["valid_top5", "valid_top1"]
    assert merge(below, {"best": {"valid_loss": "min"}}) == {"best": {"valid_loss": "min"}}


# Bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([{"max_epochs": 20}], {"max_epochs": 20}),
        ([{"max_epochs": 20}, {"max_time": "1"}], {"max_time": "1"}),
        ([{"max_epochs": 20}, {"max_time": "1"}, {"max_steps": 5}], {"max_steps": 5}),
        ([{"max_epochs": 20}, {"max_steps": 5, "max_time": "1"}], {"max_steps": 5, "max_time": "1"}),
        ([{"max_epochs": 20, "max_steps": 5}, {"max_epochs": 30}], {"max_epochs": 30}),
        ([{"max_epochs": 20}, {"devices": 2}], {"max_epochs": 20}),
        ([{"max_epochs": 20}, {"max_steps": None}], {"max_epochs": 20}),
        ([{"max_epochs": 20}, {"max_epochs": None}], {}),
    ],
)
def test_the_last_layer_that_sets_a_bound_lifts_the_bounds_below_it(
    merge, layers: list[dict[str, Any]], left: dict[str, Any]
) -> None:
    trainer = merge(*({"trainer": layer} for layer in layers))["trainer"]
    assert {key: value for key, value in trainer.items() if value is not None and key != "devices"} == left


# Named parts ------------------------------------------------------------------------------------------------

OHEM = {"_target_": "paper.parts.OHEM", "keep": 0.7, "start": 5}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([None], None),
        ([{}], OHEM),
        ([None, {}], OHEM),
        ([None, {"keep": 0.5}], OHEM | {"keep": 0.5}),
        ([{"keep": 0.3}, {"start": 1}], OHEM | {"keep": 0.3, "start": 1}),
        ([{"keep": 0.3}, None], None),
        ([{"keep": 0.3}, None, {}], OHEM),
        ([{"_target_": "my.OHEM"}], {"_target_": "my.OHEM"}),
        ([{"keep": 0.3}, {"_target_": "my.OHEM"}], {"_target_": "my.OHEM"}),
        ([{"_target_": "paper.parts.OHEM", "keep": 0.3}], OHEM | {"keep": 0.3}),
    ],
)
def test_values_switch_a_named_part_on_with_the_defaults_of_its_file(
    merge, layers: list[Any], expected: Any
) -> None:
    assert merge(*({"callbacks": {"ohem": layer}} for layer in layers)) == {"callbacks": {"ohem": expected}}


def test_a_part_of_your_own_needs_no_file_but_a_target(merge) -> None:
    mine = {"callbacks": {"mine": {"_target_": "my.Callback", "a": 1}}}
    assert merge(mine) == mine
    with pytest.raises(PodiumError, match=r"file: there is no callbacks.mine; callbacks has "):
        merge({"callbacks": {"mine": {"a": 1}}})


def test_views_of_a_batch_are_named_parts_too(merge) -> None:
    views = merge(
        {"views": {"batch": {"noise": None, "mixup": None}}}, {"views": {"batch": {"mixup": {"alpha": 1}}}}
    )
    mixup = {"_target_": "paper.parts.Mixup", "alpha": 1, "share": 1.0}
    assert list(views["views"]["batch"].items()) == [("noise", None), ("mixup", mixup)]


# The command line -------------------------------------------------------------------------------------------


def test_a_tilde_takes_a_key_away(merge) -> None:
    assert merge({"data": {"size": 1, "root": "a"}}, nested(parse(["~data.size"])), source=CLI) == {
        "data": {"root": "a"}
    }


def test_items_of_a_list_are_set_by_their_number(merge) -> None:
    below = {"views": {"image": [{"a": {"p": 0.5}}, {"b": [1, 2]}]}}
    words = ["views.image.0.a.p=0.1", "views.image.1.b.0=7"]
    assert merge(below, nested(parse(words)), source=CLI)["views"]["image"] == [
        {"a": {"p": 0.1}},
        {"b": [7, 2]},
    ]


def test_leaves_are_all_values_that_are_no_dictionaries() -> None:
    assert list(leaves({"a": {"b": 1, "c": {"d": [2]}}, "e": {}})) == ["a.b", "a.c.d", "e"]
