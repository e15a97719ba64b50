"""The words of a benchmark: its own options, and those of the recipe that it measures."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import OmegaConf

from common.config.configure import configure
from common.config.options import parse
from common.errors import PodiumError
from common.run.jobs import jobs_of

Options = TypeVar("Options")


def options_and_recipe(schema: type[Options], words: Sequence[str]) -> tuple[Options, list[str]]:
    """Words whose key is a field of `schema` as its instance; all others, as they came."""
    names = {field.name for field in fields(schema)}  # type: ignore[arg-type]
    own = [word for word in words if word.partition("=")[0] in names]
    return parse(schema, own), [word for word in words if word not in own]


def recipe(words: Sequence[str]) -> dict[str, Any]:
    """The configuration that `train` would have from these words, as plain values."""
    config = OmegaConf.to_container(configure(list(words)), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def check_single(config: dict[str, Any], bench: str) -> None:
    """Raise PodiumError for a recipe of several jobs: what they score and take together is not what one does."""
    names = [job.name for wave in jobs_of(config) for job in wave]
    if len(names) > 1:
        raise PodiumError(
            f"bench={bench} trains one model at a time, and this recipe has {len(names)} jobs: {', '.join(names)}. "
            "Take a recipe without stages, or leave one of them: stages.<name>=null for the others"
        )
