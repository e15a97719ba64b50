"""Annotations against values, and in words."""

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from common.config.signature import accepts, describe

ANNOTATIONS: list[Any] = [
    int, float, bool, str, None, int | None, Optional[float], Union[int, str], list[int], list[list[float]],  # noqa: UP007, UP045
    list, tuple[int, int], tuple[float, ...], Sequence[str], dict[str, int], Mapping[str, float], dict,
    Literal["max", "min"], Literal[18, 34], Any, list[int] | None, int | list[str],
]  # fmt: skip
values = st.recursive(
    st.sampled_from([None, True, False, 0, 3, 18, 0.5, "max", "224px", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


def fits(kind: Any, value: Any) -> bool:
    """The meaning of the annotations above, by Python's own types."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, bool, str, list, dict):
        return type(value) is kind
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return type(value) is list and len(value) == len(arguments) and all(map(fits, arguments, value))
    if origin in (list, tuple, Sequence):
        return type(value) is list and all(fits(arguments[0], item) for item in value)
    if origin in (dict, Mapping):
        return type(value) is dict and all(fits(arguments[1], item) for item in value.values())
    return any(fits(member, value) for member in arguments)  # a union


@given(values)
def test_a_value_is_accepted_exactly_if_it_is_of_the_type(value: Any) -> None:
    for kind in ANNOTATIONS:
        assert accepts(kind, value) == fits(kind, value), kind


@given(values)
def test_beyond_plain_types_everything_is_accepted(value: Any) -> None:
    for kind in (Callable[[int], str], "a name that only type checkers know", np.ndarray, Callable | int):
        assert accepts(kind, value)


def test_a_part_fits_every_annotation_for_it_becomes_an_object() -> None:
    assert accepts(nn.Module | None, {"_target_": "a.B"}) and accepts(int, {"_target_": "a.B"})


def test_a_tensor_cannot_come_from_a_configuration() -> None:
    assert accepts(float | Tensor, 0.1) and not accepts(float | Tensor, "x")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "an int"),
        (float, "a number"),
        (bool | None, "true or false or null"),
        (Optional[str], "text or null"),  # noqa: UP045
        (list[int] | None, "a list of int or null"),
        (typing.Sequence[float], "a list of number"),
        (tuple[int, int], "a list of 2 int"),
        (tuple[int, str], "a list of 2 int, text"),
        (tuple[int, ...], "a list of int"),
        (dict[str, Any], "a dictionary"),
        (list[Any], "a list"),
        (Literal["max", "min"], '"max" or "min"'),
        (Annotated[int, "pixels"], "an int"),
        (nn.Module | None, "torch.nn.modules.module.Module or null"),
    ],
)
def test_an_annotation_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words
