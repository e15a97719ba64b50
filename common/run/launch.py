"""The job runner: commands become processes."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from common.config.configure import FLAG, configure, split
from common.config.overrides import expand
from common.run.folder import RUNS


def launch(commands: Sequence[Sequence[str]]) -> list[int]:
    """Run each command in a process of its own, one after the other.

    A command that fails does not keep the others from running; one that a signal stopped does. Returns the exit
    codes, 128 + n where signal n ended a process; never raises for a command.
    """
    codes = []
    for command in commands:
        sys.stdout.flush()
        code = _finished(subprocess.Popen(command))
        codes.append(code if code >= 0 else 128 - code)
        if codes[-1] in (130, 143):  # it was asked to stop, and so are those after it
            codes += [codes[-1]] * (len(commands) - len(codes))
            break
    return codes


def _finished(process: subprocess.Popen[bytes]) -> int:
    """Wait as long as it takes; SIGTERM and SIGINT go to the process, which saves before it ends."""

    def forward(signum: int, frame: Any) -> None:
        if signum == signal.SIGTERM:  # a terminal sends SIGINT to both by itself
            process.send_signal(signum)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def multirun(arguments: list[str]) -> int:
    """Train every combination of the swept values; all are checked before the first starts.

    Run folders are `runs/<competition>/<time>_multirun/<number>`. Returns the first exit code that is not 0.
    """
    words, folders = split(arguments)
    flags = [f"{FLAG}={folder}" for folder in folders]
    trials = expand(words)
    competitions = [configure([*trial, *flags]).competition for trial in trials]
    root = RUNS / competitions[0] / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_multirun"
    runs = [root / str(number) for number in range(len(trials))]
    print(f"{len(trials)} runs in {root}", flush=True)
    codes = launch(
        [
            [sys.executable, "-m", "common", "train", *trial, *flags, f"run_dir={run}"]
            for trial, run in zip(trials, runs, strict=True)
        ]
    )
    for trial, run, code in zip(trials, runs, codes, strict=True):
        print(f"{'done' if code == 0 else f'failed with code {code}'}: {run}  {' '.join(trial)}")
    return next((code for code in codes if code), 0)
