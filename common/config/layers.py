"""Configuration files and where they are found.

Competition and experiment files are plain YAML. Besides values they may have a `defaults:` list:

    defaults:
      - base                      # another file of the same folder, loaded before this one
      - override /loss: focal     # another option of a group
    trainer:
      max_epochs: 30
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.config.nearest import listed, show, suggest
from common.errors import PodiumError

CLI = "command line"
CONF = Path(__file__).resolve().parents[2] / "conf"


@dataclass(frozen=True)
class Layer:
    """What one file, or the command line, says."""

    source: str  # for messages: the file, or "command line"
    choices: dict[str, str | None] = field(default_factory=dict)  # group -> option
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchPath:
    """Folders of configuration files; a file in an earlier folder hides its namesakes in later ones."""

    folders: tuple[Path, ...]

    def options(self, group: str) -> list[str]:
        """The names that `group=<name>` may take, sorted."""
        files = (
            file.relative_to(folder / group)
            for folder in self.folders
            for file in (folder / group).rglob("*.yaml")
        )
        return sorted({file.with_suffix("").as_posix() for file in files})

    def find(self, group: str, name: str) -> Path | None:
        """The file of an option, or None."""
        files = (folder / group / f"{name}.yaml" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def file(self, group: str, name: str | None, said_by: str = CLI) -> Path:
        """The file of an option; a PodiumError that lists the options if there is none."""
        found = self.find(group, name) if isinstance(name, str) else None
        if found is None:
            options = self.options(group)
            wrong = name if isinstance(name, str) else show(name)
            near = suggest(wrong, options)
            raise PodiumError(f"{said_by}: there is no {group}={wrong}{near}; available: {listed(options)}")
        return found

    def layers(
        self, group: str, name: str | None, said_by: str = CLI, seen: tuple[Path, ...] = ()
    ) -> list[Layer]:
        """An option's file and, before it, the files of the same folder that its defaults list names."""
        file = self.file(group, name, said_by)
        source = shown(file)
        if file in seen:
            raise PodiumError(f"{source}: its defaults lead back to itself")
        layer, bases = written(read_yaml(file), source)
        before = [base for name in bases for base in self.layers(group, name, source, (*seen, file))]
        return [*before, layer]


def written(values: dict[str, Any], source: str) -> tuple[Layer, list[str]]:
    """A file's content as a layer, and the names of the files that its defaults list puts below it."""
    defaults = values.pop("defaults", [])
    if not isinstance(defaults, list):
        raise PodiumError(f"{source}: defaults must be a list, got {show(defaults)}")
    bases: list[str] = []
    choices: dict[str, str | None] = {}
    for entry in defaults:
        if isinstance(entry, str) and entry != "_self_":
            bases.append(entry)
        elif isinstance(entry, Mapping) and len(entry) == 1 and "override" in next(iter(entry)).split():
            key, option = next(iter(entry.items()))
            choices[key.split()[-1].lstrip("/")] = option
        elif not (entry == "_self_" and entry is defaults[-1]):
            allowed = "names of files beside it, `override /group: option`, and _self_ as the last"
            raise PodiumError(f"{source}: defaults may hold {allowed}; got {show(entry)}")
    return Layer(source, choices, values), bases


def search_path(config_dirs: Sequence[str | Path]) -> SearchPath:
    """The given folders, then Podium's own."""
    folders = [Path(folder).expanduser().resolve() for folder in config_dirs]
    for given, folder in zip(config_dirs, folders, strict=True):
        if not folder.is_dir():
            raise PodiumError(f"--config-dir: {given} is not a folder")
    return SearchPath((*folders, CONF))


def read_yaml(file: Path) -> dict[str, Any]:
    """The plain, unresolved content of a YAML file that holds a dictionary (or nothing)."""
    return deepcopy(_content(file, *stamp(file)))


def stamp(file: Path) -> tuple[int, int]:
    """What changes when a file is written: the time and the size."""
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=256)  # every stage of a run and every row of a sweep reads the same files
def _content(file: Path, *stamp: int) -> dict[str, Any]:
    try:
        content = OmegaConf.load(file)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise PodiumError(f"{shown(file)}{_place(error)}") from None
    if not isinstance(content, DictConfig):
        raise PodiumError(f"{shown(file)}: expected keys and values, got a list")
    values = OmegaConf.to_container(content)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def shown(file: Path) -> str:
    """A file's name for a message: relative to the working directory or the repository, if it lies there."""
    for folder in (Path.cwd(), CONF.parent):
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return str(file)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return (f" line {mark.line + 1}, column {mark.column + 1}" if mark else "") + f": {problem}"
