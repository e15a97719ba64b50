"""Layers, one onto the other: what a key means when several files and the command line set it.

Dictionaries merge key by key; lists and single values replace what is below. Three rules go beyond that:

- *Another target, another component.* A file that gives a component another `_target_` replaces the component whole.
- *Bounds.* `trainer.max_epochs`, `max_steps` and `max_time` are alternatives: a layer that sets one of them
  lifts those that layers below it set.
- *Named components.* `callbacks`, `logger` and `views.batch` hold them by name. Values for one that is off switch it
  on, with the defaults of its own file (`callbacks.ohem.keep=0.5`: conf/callbacks/ohem.yaml); `{}` switches
  it on as it is there, null switches it off.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from common.config.layers import CLI, Layer, SearchPath
from common.config.nearest import listed, suggest
from common.config.overrides import Sign
from common.config.schema import BOUNDS, NAMED_COMPONENTS
from common.errors import PodiumError

WHOLE = ("best",)  # dictionaries whose order counts: a layer that sets one replaces it


class Merged:
    """Values under construction, and where each was set: key -> file or "command line"."""

    def __init__(self, path: SearchPath) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, layer: Layer) -> None:
        """Put a layer onto those added before."""
        values = deepcopy(layer.values)
        trainer = values.get("trainer")
        if isinstance(trainer, dict) and any(trainer.get(bound) is not None for bound in BOUNDS):
            values["trainer"] = dict.fromkeys(BOUNDS) | trainer
        self._merge(self.values, values, layer.source, "")

    def _merge(self, below: dict[str, Any], above: dict[str, Any], source: str, at: str) -> None:
        for name, value in above.items():
            key = f"{at}.{name}" if at else str(name)
            old = below.get(name)
            if value is Sign.DELETED:
                if name not in below:
                    raise PodiumError(f"~{key}: there is no such key{suggest(name, below)}")
                del below[name]
                self.sources[key] = source
            elif isinstance(old, list) and isinstance(value, dict) and source == CLI:
                self._merge_items(old, value, key)
            elif not isinstance(value, dict) or key in WHOLE:
                for old_key in [old_key for old_key in self.sources if old_key.startswith(f"{key}.")]:
                    del self.sources[old_key]  # of the value that goes
                below[name], self.sources[key] = value, source
            else:
                if not isinstance(old, dict) or (source != CLI and _is_another(value, old)):
                    self.sources[key] = source
                    old = self._named_default(key, value, source, below) if at in NAMED_COMPONENTS else {}
                below[name] = old
                self._merge(old, value, source, key)

    def _merge_items(self, old: list[Any], above: dict[str, Any], at: str) -> None:
        """Values for single items of a list: `views.image.0.p=0.5`."""
        for index, value in above.items():
            if not index.isdecimal() or int(index) >= len(old):
                raise PodiumError(f"{at}.{index}: {at} is a list of {len(old)} items, numbered from 0")
            item = {index: old[int(index)]}
            self._merge(item, {index: value}, CLI, at)
            old[int(index)] = item[index]

    def _named_default(
        self, key: str, value: dict[str, Any], source: str, components: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The component in the file of its own name; nothing if the value is a component of another kind.

        components: what stands there so far.
        """
        place, name = key.rpartition(".")[::2]
        folder = place.replace(".", "/")
        if self.path.find(folder, name) is None:
            if "_target_" in value:
                return {}
            options = sorted({*self.path.options(folder), *components})
            near = suggest(name, options)
            raise PodiumError(f"{source}: there is no {key}{near}; {place} has {listed(options)}")
        default = Merged(self.path)
        layers = self.path.layers(folder, name)
        for layer in layers:
            default.add(layer)
        if _is_another(value, default.values):
            return {}
        self.sources[key] = layers[-1].source
        return default.values


def leaves(values: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The dotted keys of all values that are no dictionaries."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


def _is_another(component: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return "_target_" in component and component["_target_"] != old.get("_target_")
