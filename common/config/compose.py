"""From the words of a command line to one typed, resolved configuration.

Layers, each above the one before: conf/train.yaml with the chosen group files, for one's own folder those of `own`,
the competition's file, the experiments' files, the command line. Any of them may choose an option of a group; the
highest layer wins.

What a layer says about a group's component belongs to the option that is chosen there. If a higher layer chooses an
option, the same one or another, those values go with the old component (*the swap rule*): after `loss=focal` no
parameter is left that a recipe meant for another loss, and none of its own for focal. (Plain Hydra keeps it.) How
values merge: see `merge`.

Each stage is composed from the same layers and its own recipe, which lies above the layer that holds it: one in a
file below the command line, so that `trainer=smoke` is for all stages.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from common.config import overrides as command_line
from common.config.explain import explain
from common.config.layers import CLI, Layer, SearchPath, read_yaml, search_path, shown, stamp, written
from common.config.merge import Merged, leaves
from common.config.nearest import listed, show, suggest
from common.config.own import ASSUMED, Facts, own_layers
from common.config.schema import NAMED_COMPONENTS, Root
from common.config.typed import typed
from common.config.weights import demanded
from common.errors import PodiumError

Choices = dict[str, str | None]  # group -> option; None: the group's component is null

PRESET = "trainer"  # no component: its option's values count as those of the layer that chose it, and are not swapped


LAYERS = {"competition", "experiment", "sweep"}  # folders that Hydra does not read

# keys that cannot differ between stages
OF_THE_RUN = {
    "competition",
    "experiment",
    "stages",
    "run_dir",
    "new",
    "weights_from",
    "on_failure",
    "launcher",
}

OF_THE_DATA = {
    "root", "valid", "choose", "score", "split", "near_duplicates", "turned_duplicates", "corrections",
    "correct_held_out", "max_bad_share", "max_pixels",
}  # fmt: skip


@dataclass(frozen=True)
class Composed:
    """A configuration and, for messages, where its keys were set: key -> file or "command line"."""

    config: DictConfig
    sources: Mapping[str, str]
    stages: Mapping[str, "Composed"] = field(default_factory=dict)  # name -> its whole configuration
    open: frozenset[str] = frozenset()  # what one's own folder leaves open, see `own`


def compose(overrides: Sequence[str], config_dir: Sequence[str | Path] = ()) -> DictConfig:
    """The configuration that these words describe: typed by `Root`, interpolations resolved, plain values.

    Args:
        overrides: `competition=<name>`, `experiment=<name>` or `[a,b]`, `<group>=<option>`, `<key>=<value>`.
        config_dir: folders with more configuration files, searched before Podium's own.

    Raises:
        PodiumError: anything that is wrong, with the key, where it was said and the nearest right name.
    """
    return compose_with_sources(overrides, config_dir).config


def compose_with_sources(
    overrides: Sequence[str], config_dir: Sequence[str | Path] = (), facts: Facts = ASSUMED
) -> Composed:
    """As `compose`, and where each key was set. facts: of one's own folder."""
    path = search_path(config_dir)
    return compose_layers(path, layers(path, overrides), facts)


def layers(path: SearchPath, overrides: Sequence[str]) -> list[Layer]:
    """The layers above conf/train.yaml, lowest first: competition, experiments, command line."""
    cli = _command_line(overrides, groups=default_choices(path))
    names = cli.values.pop("experiment", None) or []
    names = names if isinstance(names, list) else [names]
    experiments = [layer for name in names for layer in path.layers("experiment", name)]
    competition = _competition(path, experiments, cli)
    what = Layer(CLI, values={"competition": competition, "experiment": names})
    return [*path.layers("competition", competition), *experiments, what, cli]


def compose_layers(path: SearchPath, layers: Sequence[Layer], facts: Facts = ASSUMED) -> Composed:
    """Merge layers, lowest first, over conf/train.yaml; then once more for each stage."""
    common, recipes = _take_recipes(layers, groups=default_choices(path))
    base = _compose(path, common, facts)
    files = [_without_stages(layer) for layer in common if layer.source != CLI]
    words = [_without_stages(layer) for layer in common if layer.source == CLI]
    stages = {}
    for name, stage in base.config.stages.items():
        own = recipes.get(name, [])
        if stage.soft_labels_from is not None:
            files.append(Layer(f"stages.{name}", values={"callbacks": {"soft_labels": {}}}))
        stages[name] = _compose(
            path,
            [
                *files,
                *(layer for layer in own if layer.source != CLI),
                *words,
                *(layer for layer in own if layer.source == CLI),
            ],
            facts,
        )
        if stage.soft_labels_from is not None:
            files.pop()
        _settle_soft_labels(name, stage.soft_labels_from, stages[name].config)
        stage.recipe = command_line.escape(_changed(base.config, stages[name].config))
    if not stages:
        _settle_soft_labels("train", None, base.config, alone=True)
    components = stages.values() or [base]
    return Composed(
        base.config, base.sources, stages, frozenset().union(*(component.open for component in components))
    )


def _settle_soft_labels(name: str, teacher: str | None, config: DictConfig, alone: bool = False) -> None:
    """A table, a teacher or neither: said for all stages, SoftLabels is for those that have a teacher."""
    component = config.callbacks.get("soft_labels")
    if teacher is None and component is not None and component.get("path") is None:
        if alone:
            raise PodiumError(
                "callbacks.soft_labels.path: name a table, or set stages.<name>.soft_labels_from"
            )
        config.callbacks["soft_labels"] = None
    elif teacher is not None and component is None:
        raise PodiumError(
            f"stages.{name}.soft_labels_from needs callbacks.soft_labels, which is null: set both to null"
        )
    elif teacher is not None and component.get("path") is not None:
        raise PodiumError(
            f"callbacks.soft_labels.path and stages.{name}.soft_labels_from: give one of the two"
        )


def _take_recipes(layers: Sequence[Layer], groups: Choices) -> tuple[list[Layer], dict[str, list[Layer]]]:
    """The layers without the stages' recipes, and these as layers by stage."""
    common: list[Layer] = []
    recipes: dict[str, list[Layer]] = {}
    for layer in layers:
        values = deepcopy(layer.values)
        common.append(Layer(layer.source, layer.choices, values))
        stages = values.get("stages")
        for name, stage in stages.items() if isinstance(stages, dict) else ():
            recipe = stage.pop("recipe", None) if isinstance(stage, dict) else None
            if recipe is None:
                continue
            source = CLI if layer.source == CLI else f"{layer.source}, stages.{name}.recipe"
            if not isinstance(recipe, dict):
                raise PodiumError(f"{source}: expected keys and values, got {show(recipe)}")
            own, bases = written(recipe, source)
            if bases:
                raise PodiumError(
                    f"{source}: defaults may hold `override /group: option`; got {show(bases[0])}"
                )
            for group in [
                group for group in groups if isinstance(own.values.get(group), str) and source == CLI
            ]:
                own.choices[group] = own.values.pop(group)  # stages.<name>.recipe.loss=focal
            data = own.values.get("data")
            refused = sorted(OF_THE_RUN & {*own.values})
            refused += (
                sorted(f"data.{key}" for key in OF_THE_DATA & {*data}) if isinstance(data, dict) else []
            )
            if refused:
                raise PodiumError(f"{source}: {refused[0]} is said for the whole run, not for a stage")
            recipes.setdefault(name, []).append(own)
    return common, recipes


def _without_stages(layer: Layer) -> Layer:
    return Layer(
        layer.source,
        layer.choices,
        {key: value for key, value in layer.values.items() if key != "stages"},
    )


def _changed(base: DictConfig, stage: DictConfig) -> dict[str, Any]:
    """The root's keys in which a stage differs from the common recipe, each with its whole value."""
    before: Any = OmegaConf.to_container(base, resolve=True)
    after: Any = OmegaConf.to_container(stage, resolve=True)
    return {key: value for key, value in after.items() if key != "stages" and value != before[key]}


def _compose(path: SearchPath, layers: Sequence[Layer], facts: Facts) -> Composed:
    own, still_open = own_layers(path, layers, facts)
    layers = [*own, *layers]
    final = _final_choices(path, layers, default_choices(path))
    choosing = [layer for layer in layers if PRESET in layer.choices]
    merged = Merged(path)
    _add_base(merged, final, with_preset=not choosing)
    chosen_at = {group: at for at, layer in enumerate(layers) for group in layer.choices if group != PRESET}
    for at, layer in enumerate(layers):
        if choosing and layer is choosing[-1]:
            for preset in path.layers(PRESET, layer.choices[PRESET], layer.source):
                merged.add(Layer(preset.source, values={PRESET: preset.values}))
        kept = {key: value for key, value in layer.values.items() if chosen_at.get(key, at) <= at}
        merged.add(Layer(layer.source, values=kept))
    stages = merged.values.get("stages") or {}
    merged.values["stages"] = {
        name: stage for name, stage in stages.items() if stage is not None
    }  # null: off
    for key, wanted in demanded(merged.values).items():
        section, name = key.split(".")
        component = merged.values.get(section)
        if isinstance(component, dict) and component.get(name) is None:
            component[name], merged.sources[key] = wanted, "the pretrained weights"
    merged.values["choices"] = {group: option for group, option in final.items() if option is not None}
    return Composed(typed(merged.values, sources=merged.sources), merged.sources, open=still_open)


def default_choices(path: SearchPath) -> Choices:
    """The options that the defaults list of train.yaml chooses."""
    entries = read_yaml(path.file("", "train")).get("defaults", [])
    return {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}


def _final_choices(path: SearchPath, layers: Sequence[Layer], defaults: Choices) -> Choices:
    """The options chosen in the end. A group or option that does not exist raises, wherever it stands."""
    final = dict(defaults)
    for layer in layers:
        for group, option in layer.choices.items():
            if group not in defaults:
                near = suggest(group, defaults)
                raise PodiumError(
                    f"{layer.source}: there is no group {group}{near}; groups: {listed(defaults)}"
                )
            if option is not None:
                path.file(group, option, layer.source)
            final[group] = option
        for group in defaults:
            if isinstance(layer.values.get(group), str):
                wanted = f"defaults: [override /{group}: {layer.values[group]}]"
                raise PodiumError(f"{layer.source}: to choose an option of {group} write {wanted}")
    return final


def _competition(path: SearchPath, experiments: Sequence[Layer], cli: Layer) -> str:
    """The competition that the command line names, or else an experiment's file; a contradiction raises."""
    name = cli.values.pop("competition", None)
    for layer in experiments:
        demanded = layer.values.pop("competition", name)
        name = name or demanded
        if demanded != name:
            raise PodiumError(f"{layer.source} is made for competition={demanded}, got competition={name}")
    if name is None:
        available = listed(path.options("competition"))
        raise PodiumError(
            f"which competition? Give COMP=<name> (without make: competition=<name>); available: {available}"
        )
    return str(name)


def _command_line(overrides: Sequence[str], groups: Choices) -> Layer:
    """All words as one layer; of two words for one key, the later wins."""
    choices: Choices = {}
    others: list[command_line.Assignment] = []
    for word in command_line.parse(overrides):
        if word.key in groups and not word.delete and not isinstance(word.value, dict):
            choices[word.key] = str(word.value) if isinstance(word.value, str) else word.value
        elif word.key in NAMED_COMPONENTS and not isinstance(word.value, dict):
            on, off = f"{word.key}.<name>={{}}", f"{word.key}.<name>=null"
            raise PodiumError(
                f"{word.key} holds named components: {on} switches one on, {off} off; got {show(word.value)}"
            )
        else:
            others.append(word)
    return Layer(CLI, choices, command_line.nested(others))


def _add_base(merged: Merged, choices: Choices, with_preset: bool) -> None:
    """What Hydra composes from train.yaml and the chosen group files."""
    path, train = merged.path, merged.path.file("", "train")
    files = {group: path.file(group, option) for group, option in choices.items() if option is not None}
    left_out = {group for group, option in choices.items() if option is None}
    left_out |= set() if with_preset else {PRESET}
    given = [
        f"~{group}" if group in left_out else f"{group}={command_line.quote(str(option))}"
        for group, option in choices.items()
    ]
    folders = [str(one) for one in path.folders if any(child.name not in LAYERS for child in one.iterdir())]
    stamps = tuple((file, *stamp(file)) for one in folders for file in sorted(Path(one).rglob("*.yaml")))
    try:
        values = deepcopy(_by_hydra(train, (*folders,), (*given,), stamps))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        for file in files.values():
            read_yaml(file)  # where the YAML is malformed, this names file and line
        named = re.match(r"In '([^']+)': ", str(error))
        culprit = (path.find("", named[1]) if named else None) or train
        raise explain(error, Root, {"": shown(culprit)}) from None
    merged.add(Layer("", values=values))
    merged.sources = {key: source for key, source in merged.sources.items() if source}
    merged.sources |= {group: shown(file) for group, file in files.items()}
    merged.sources |= {key: shown(train) for key in leaves(read_yaml(train))}


@lru_cache(
    maxsize=64
)  # stages and the rows of a sweep choose the same few; Hydra takes a third of a second each
def _by_hydra(
    train: Path, folders: tuple[str, ...], given: tuple[str, ...], stamps: tuple[Any, ...]
) -> dict[str, Any]:
    """What Hydra makes of train.yaml; stamps: of all files, so that a changed one is read again."""
    # Hydra looks for its primary configuration in its first folder only: hence the ConfigStore.
    ConfigStore.instance().store(name="podium_train", node=read_yaml(train), provider=shown(train))
    more = ",".join(command_line.quote(command_line.escape(f"file://{folder}")) for folder in folders[1:])
    with initialize_config_dir(folders[0], version_base="1.3"):
        values: Any = OmegaConf.to_container(
            hydra_compose("podium_train", [f"hydra.searchpath=[{more}]", *given])
        )
    return values
