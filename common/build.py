"""Components of the configuration become objects."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from omegaconf import OmegaConf

from common.errors import PodiumError
from common.trust import names, resolve

OPTIONS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")  # keys that are Hydra's


def build(component: Mapping[str, Any], kind: str = "component", /, **injected: Any) -> Any:
    """Call a component's `_target_` with its own keys and with what the caller knows.

    The values are handed over as they are: text stays text, whatever it holds, and whoever takes nested components
    builds them. With `_partial_: true`, which only what is trusted may have, returns a function that waits for more
    arguments.

    kind: what the caller takes, see common/trust.py.

    Raises PodiumError for a target that may not be named here, and for arguments that it does not take.
    """
    if OmegaConf.is_config(component):
        component = OmegaConf.to_container(component, resolve=True)  # type: ignore[assignment]
    if not isinstance(component, Mapping) or "_target_" not in component:
        raise PodiumError(f"{kind}: expected a component with _target_, got {component!r}")
    target = resolve(component["_target_"], kind)
    own = {str(key): value for key, value in component.items() if key not in OPTIONS}
    named = deepcopy(own) | injected
    by_place = component.get("_args_") or []
    if component.get("_partial_") and component["_target_"] in names():
        return partial(target, *by_place, **named)
    try:
        inspect.signature(target).bind(*by_place, **named)
    except TypeError as error:
        raise PodiumError(f"{component['_target_']}: {error}") from None
    except ValueError:  # compiled: its signature is not known
        pass
    return target(*by_place, **named)
