"""The front door: from a command line to a configuration that is known to fit the code."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from common.config.check import check
from common.config.compose import Composed, compose_with_sources
from common.config.own import ASSUMED, VIEWS, Facts
from common.errors import PodiumError

FLAG = "--config-dir"

# Of a composition that leaves something open, and the same for given facts: what the facts are.
Settle = Callable[[Composed, Callable[[Facts], Composed]], Facts]


def configure(arguments: list[str], settle: Settle | None = None) -> DictConfig:
    """Compose and check; importing torch comes later, if ever.

    Args:
        arguments: `key=value` words (see `compose`), and `--config-dir <folder>` for folders of your own
            configuration files, which are searched before Podium's.
        settle: looks at this machine and the pictures for what one's own folder leaves open, see `own`.

    Raises:
        PodiumError: what is wrong, one line for each mistake.
    """
    words, folders = split(arguments)
    composed = _checked(_assumed(words, folders))
    if composed.open and settle is not None:
        facts = settle(composed, partial(compose_with_sources, words, folders))
        composed = _checked(compose_with_sources(words, folders, facts))
    return composed.config


def check_root(root: str | None) -> None:
    """Raise PodiumError where the data are not there, which need not wait for torch."""
    if root is not None and not Path(root).is_dir():
        raise PodiumError(f"data.root: there is no folder {root}; name your data by DATA=<folder>")


def _assumed(words: list[str], folders: list[str]) -> Composed:
    """The composition before anybody has looked at pictures: with views that have what the words say of them."""
    errors = []
    for views in ASSUMED.views, *VIEWS:
        try:
            return compose_with_sources(words, folders, Facts(views=views))
        except PodiumError as error:
            errors.append(error)
            if "views." not in str(error):
                break
    raise errors[0]


def _checked(composed: Composed) -> Composed:
    check(composed.config, composed.sources)
    for name, stage in composed.stages.items():
        check(stage.config, stage.sources, where=f"stage {name}: ")
    return composed


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """`key=value` words, and the folders given by `--config-dir <folder>` or `--config-dir=<folder>`."""
    words: list[str] = []
    folders: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == FLAG:
            folder = next(rest, None)
            if folder is None:
                raise PodiumError(f"{FLAG} needs a folder after it")
            folders.append(folder)
        elif argument.startswith(f"{FLAG}="):
            folders.append(argument.removeprefix(f"{FLAG}="))
        else:
            words.append(argument)
    return words, folders
