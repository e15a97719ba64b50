"""Parts of the configuration become objects."""

from copy import deepcopy
from functools import partial
from typing import Any

from hydra.utils import get_object

KEYS = {
    "_target_",
    "_args_",
    "_partial_",
    "_convert_",
    "_recursive_",
}  # Hydra's, which the target does not take


def build(part: dict[str, Any], **injected: Any) -> Any:
    """Call a part's `_target_` with its own keys and with what the caller knows.

    The values are handed over as they are: text stays text, whatever it holds, and whoever takes nested parts builds
    them. With `_partial_: true`, returns a function that waits for further arguments.
    """
    target = get_object(part["_target_"])
    given = deepcopy({key: value for key, value in part.items() if key not in KEYS}) | injected
    if part.get("_partial_"):
        return partial(target, *part.get("_args_", ()), **given)
    return target(*part.get("_args_", ()), **given)
