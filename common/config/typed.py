"""Plain values as a typed, resolved configuration: every key known, every value of its type and range."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.config.check import PASSED, parts
from common.config.explain import explain, said_by
from common.config.nearest import show
from common.config.overrides import escape
from common.config.schema import Root
from common.config.signature import NotFound, Opaque, signature
from common.errors import PodiumError


def typed(
    values: Mapping[str, Any], schema: type = Root, sources: Mapping[str, str] | None = None
) -> DictConfig:
    """A configuration typed by a dataclass, interpolations resolved: what is left of them is escaped text.

    Args:
        values: nested plain values, for example a run's config.yaml.
        schema: the dataclass. Its `__post_init__` checks ranges.
        sources: for messages, where keys were set: key -> file or "command line".

    Raises:
        PodiumError: an unknown key, a wrong type, a value out of range, a key without a value.
    """
    config: DictConfig = OmegaConf.structured(schema)
    try:
        _fill(config, values)
        _resolve(config)
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise PodiumError(
                f"no value for {', '.join(missing)}: give {missing[0]}=… or set it in a configuration file"
            )
        OmegaConf.to_object(config)  # runs the dataclasses' own checks
    except OmegaConfBaseException as error:
        raise explain(error, schema, sources or {}, (_written(values), _taken(values))) from None
    except PodiumError as error:
        key = str(error).split()[0]  # the checks of the dataclasses begin with the key
        raise PodiumError(said_by(key, sources or {}) + str(error)) from None
    return config


def _written(values: Mapping[str, Any]) -> list[str]:
    """Dotted keys of the parts in these values."""
    return [f"{at}.{name}" for at, part in parts(values) for name in part if not name.startswith("_")]


def _taken(values: Mapping[str, Any]) -> Iterator[str]:
    """Dotted keys of the arguments that their targets take, which are imported."""
    for at, part in parts(values):
        with suppress(NotFound, Opaque, SyntaxError):
            names = signature(str(part["_target_"])).parameters
            yield from (f"{at}.{name}" for name in names if name not in PASSED.get(at, ()))


def _fill(node: DictConfig, values: Mapping[str, Any]) -> None:
    """Assign key by key, so that an error names the one that is wrong."""
    for key, value in values.items():
        child: Any = node._get_node(key) if key in node else None
        if (
            isinstance(child, DictConfig)
            and dataclasses.is_dataclass(OmegaConf.get_type(child))
            and isinstance(value, Mapping)
        ):
            _fill(child, value)
        elif isinstance(value, Mapping) and (item := _item_of(child)):
            for name, fields in value.items():
                child[name] = item()
                if not isinstance(fields, Mapping):
                    raise PodiumError(f"{key}.{name} must be a dictionary, got {show(fields)}")
                _fill(child._get_node(name), fields)
        else:
            node[key] = value


def _item_of(node: Any) -> Any:
    """The dataclass of a dictionary's values, or None: OmegaConf does not turn plain values into one by itself."""
    if not isinstance(node, DictConfig):
        return None
    item = node._metadata.element_type
    return item if dataclasses.is_dataclass(item) else None


def _resolve(config: DictConfig | ListConfig) -> None:
    """Replace interpolations by what they point to; an error names the key that holds the interpolation."""
    keys = list(config) if isinstance(config, DictConfig) else range(len(config))
    for key in keys:
        node = config._get_node(key)
        if OmegaConf.is_interpolation(config, key):
            try:
                value = config[key]
            except OmegaConfBaseException as error:
                error.full_key = config._get_full_key(key)
                raise
            config[key] = escape(value)
        elif isinstance(node, DictConfig | ListConfig) and not node._is_none():
            _resolve(node)
