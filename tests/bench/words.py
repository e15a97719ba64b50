"""The words of a benchmark: its own options, and those of the recipe that it measures."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import OmegaConf

from common.config.configure import configure
from common.config.options import parse

Options = TypeVar("Options")


def options_and_recipe(schema: type[Options], words: Sequence[str]) -> tuple[Options, list[str]]:
    """Words whose key is a field of `schema` as its instance; all others, as they came."""
    names = {field.name for field in fields(schema)}  # type: ignore[arg-type]
    own = [word for word in words if word.partition("=")[0] in names]
    return parse(schema, own), [word for word in words if word not in own]


def recipe(words: Sequence[str]) -> dict[str, Any]:
    """The configuration that `train` would have from these words, as plain values."""
    config = OmegaConf.to_container(configure(list(words)))
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}
