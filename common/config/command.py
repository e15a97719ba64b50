"""Commands that are printed for people: each can be pasted into a shell as it stands."""

import re
from collections.abc import Sequence
from pathlib import Path

from common.config.overrides import quote
from common.text import quoted

_NAME = re.compile(r"[\w./-]+")


def command(verb: str, words: Sequence[str] = (), /, **variables: object) -> str:
    """`make <verb> NAME=value … ARGS=…`; variables that are None or empty are left out.

    words: for ARGS, `key=value` in Hydra's grammar each. Make takes all these unexpanded: a `$` is not doubled.
    """
    given = {name: value for name, value in variables.items() if value not in (None, "")}
    if words:
        given["ARGS"] = " ".join(map(quoted, words))
    return " ".join(["make", verb, *(f"{name}={quoted(value)}" for name, value in given.items())])


def export_of(file: Path) -> str:
    """What makes an exported file that is missing: of the run whose folder it would lie in, if it lies in one."""
    run = file.parent.parent
    return command("export", RUN=run) if (run / "config.yaml").is_file() else "make export RUN=<run folder>"


def word(key: str, value: object) -> str:
    """`key=value` as Hydra's grammar reads it."""
    text = str(value)
    return f"{key}={text if _NAME.fullmatch(text) else quote(text)}"
