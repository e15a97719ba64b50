"""A competition's own way to be asked, beside `/predict`: what its contest, or whoever calls it, expects at `POST /`.

A competition that has one names it in its YAML, and nothing else needs to know of it:

    service:
      _target_: competitions.<name>.contract.<Class>
"""

from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel

from common.build import build
from common.errors import PodiumError


class Contract(Protocol):
    """What a picture in a form is answered by at `POST /`."""

    field: str  # of the form, which holds the picture
    reply: type[BaseModel]  # what the answer holds, for the OpenAPI description

    def answer(self, probabilities: np.ndarray, class_names: list[str]) -> dict[str, Any]:
        """The reply, as it becomes JSON. probabilities: float (K,), of one picture; class_names: index = label."""
        ...


def contract_of(part: dict[str, Any] | None) -> Contract | None:
    """The contract that a configuration names under `service`, if it names one."""
    if part and "_target_" not in part:
        raise PodiumError(f"service must be a component with _target_, got {part}")
    return build(part, "service") if part else None
