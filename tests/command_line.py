"""Podium's command line, as a user in some folder calls it."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from common.__main__ import main

ROOT = Path(__file__).parent.parent


def podium(folder: Path, *words: str, code: int = 0) -> str:
    """Run a verb in `folder`, without the seconds that a process of its own takes; returns what it printed."""
    out, err, path = io.StringIO(), io.StringIO(), [*sys.path]
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, _environment(folder)),
        ):
            done = main([*words])
    finally:
        sys.path[:] = path
    return _checked(done, code, out.getvalue(), err.getvalue())


def in_a_process(folder: Path, *words: str, code: int = 0) -> str:
    """The same in a process of its own."""
    environment = {**os.environ, **_environment(folder)}
    command = [sys.executable, "-m", "common", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return _checked(done.returncode, code, done.stdout, done.stderr)


def _environment(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "COLUMNS": "100"}


def _checked(code: int, expected: int, out: str, err: str) -> str:
    assert code == expected, out + err
    assert "Traceback" not in err
    return out + err
