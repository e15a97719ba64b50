"""The nearest right name, and values as the user wrote them: for messages."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most like `name` (case decides only between equals), or None if none is like it."""

    def likeness(option: str) -> tuple[float, float]:
        return _ratio(name.lower(), option.lower()), _ratio(name, option)

    best = max(options, key=likeness, default="")
    return best if likeness(best)[0] >= 0.6 else None


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def suggest(name: str, options: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing if no option is like `name`: to be put at the end of a clause."""
    found = nearest(str(name), options)
    return f" (did you mean {found}?)" if found else ""


def listed(options: Iterable[str]) -> str:
    """The options for a message, in order; at most 30 of them."""
    names = list(options)
    return (
        ", ".join(names[:30]) + (f", … ({len(names)} in all)" if len(names) > 30 else "") if names else "none"
    )


def show(value: Any) -> str:
    """A configuration value for a message: text in double quotes, null, true, false and lists as in YAML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
