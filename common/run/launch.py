"""The job runner: commands become processes."""

import subprocess
import sys
from collections.abc import Sequence


def launch(commands: Sequence[Sequence[str]]) -> list[int]:
    """Run each command in a process of its own, one after the other.

    A command that fails does not keep the others from running. Returns the exit codes, 128 + n where signal n ended
    a process; never raises for a command.
    """
    codes = []
    for command in commands:
        sys.stdout.flush()
        code = subprocess.run(command, check=False).returncode
        codes.append(code if code >= 0 else 128 - code)
    return codes
