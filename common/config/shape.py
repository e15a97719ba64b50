"""Values that were read from a file: have they the types that the code goes by?"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from common.config.nearest import show
from common.errors import PodiumError


def _with_target(component: dict[str, Any]) -> dict[str, Any]:
    if "_target_" not in component:
        raise ValueError("a component needs its _target_")
    return component


Part = Annotated[dict[str, Any], AfterValidator(_with_target)]


def _in_utf8(text: str) -> str:
    text.encode()  # UnicodeEncodeError, a ValueError, of halves of a character
    return text


Text = Annotated[str, AfterValidator(_in_utf8)]


def check_shape(value: Any, shape: Any, file: Path | str) -> None:
    """Raise PodiumError that names the file and the first key that is not as `shape` says, an annotation of pydantic's.

    Types are taken strictly: «3» is no number. Keys that a model does not have are let through.
    """
    if found := fault(value, shape):
        raise PodiumError(f"{file} is damaged: {found}")


def fault(value: Any, shape: Any) -> str:
    """The first key that is not as `shape` says, and why; "" where all are."""
    try:
        _adapter(shape).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f", got {show(first['input'])[:200]}"
        return f"{key + ': ' if key else ''}{first['msg']}{given}"
    return ""


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
