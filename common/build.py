"""Parts of the configuration become objects."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from common.errors import PodiumError


def build(part: dict[str, Any], **injected: Any) -> Any:
    """Call a part's `_target_` with its own keys and with what the caller knows.

    Nested parts are handed over as they are: whoever takes them builds them. A PodiumError of the target is raised
    as such, where Hydra would hide it behind its own.
    """
    try:
        return instantiate(part, _recursive_=False, _convert_="all", **injected)
    except InstantiationException as error:
        if isinstance(error.__cause__, PodiumError):
            raise error.__cause__ from None
        raise
