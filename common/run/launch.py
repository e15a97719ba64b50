"""Every combination of swept values, one run each."""

import sys
from datetime import datetime

from common.config.configure import FLAG, configure, split
from common.config.overrides import expand
from common.run.folder import RUNS
from common.run.launchers import Serial


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
    codes = Serial()(
        [
            [sys.executable, "-m", "common", "train", *trial, *flags, f"run_dir={run}"]
            for trial, run in zip(trials, runs, strict=True)
        ]
    )
    for trial, run, code in zip(trials, runs, codes, strict=True):
        state = {0: "done", None: "not started"}.get(code, f"failed with code {code}")
        print(f"{state}: {run}  {' '.join(trial)}")
    return next((code for code in codes if code), 0)
