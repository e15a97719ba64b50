"""The words of verbs that take a run folder and a few options (predict, evaluate, …) rather than a recipe."""

from collections.abc import Sequence
from typing import TypeVar

from omegaconf import OmegaConf

from common.config import overrides as command_line
from common.config.typed import typed
from common.errors import PodiumError

Schema = TypeVar("Schema")


def parse(schema: type[Schema], overrides: Sequence[str]) -> Schema:
    """The options as an instance of a dataclass; a field that is `MISSING` must be given.

    There is nothing that an interpolation could name: `${…}` is text, quoted or not.

    Raises:
        PodiumError: an unknown option, with the nearest one; a wrong type; one that is missing; what the
            dataclass's own `__post_init__` finds.
    """
    words = command_line.parse(overrides)
    for word in words:
        if word.delete:
            raise PodiumError(f"~{word.key}: options are given as key=value")
    options = OmegaConf.to_object(typed(command_line.nested(words, str), schema))
    assert isinstance(options, schema)
    return options
