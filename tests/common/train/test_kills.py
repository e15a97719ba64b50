"""Ten SIGKILLs at random moments, ten resumes by the same command: every artefact as of the unbroken run."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from common.data import predictions
from common.run import folder
from competitions.calligraphy.sample import write_sample

ROOT = Path(__file__).parents[3]
KILLS = 10


def train(root, run, kill_after=None):
    """The command line's `train`; killed so many seconds after its first checkpoint of this start, if asked."""
    command = [
        sys.executable,
        "-m",
        "common",
        "train",
        "competition=calligraphy",
        f"data.root={root}",
        f"run_dir={run}",
    ]
    command += [
        "trainer.max_epochs=20",
        "trainer.save_every_seconds=0.2",
        "trial.enabled=false",
        "trainer.threads=1",
        f"callbacks.hold={{_target_: tests.toys.Hold, until: {root.parent / 'go'}}}",
    ]
    held = root.parent / "held"
    held.unlink(missing_ok=True)
    last = run / "jobs" / "train_fold0" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if kill_after is None:
        assert process.wait() == 0, process.stderr.read()
        return True
    while process.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
        if held.exists():
            break
        time.sleep(0.01)
    time.sleep(kill_after)
    process.kill()
    return process.wait() == 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_kills_leave_no_trace(tmp_path):
    root, rng = tmp_path / "images", random.Random(os.environ.get("KILLS_SEED", "0"))
    write_sample(root, per_class=5, tests=1)
    (tmp_path / "go").touch()
    train(root, tmp_path / "unbroken")
    (tmp_path / "go").unlink()
    for kill in range(KILLS):
        finished = train(root, tmp_path / "broken", kill_after=rng.uniform(0.0, 1.0))
        assert not finished, f"the run had ended before kill {kill + 1}"
    (tmp_path / "go").touch()
    train(root, tmp_path / "broken")

    one, other = tmp_path / "unbroken", tmp_path / "broken"
    jobs = one / "jobs" / "train_fold0", other / "jobs" / "train_fold0"
    for name in ("last.ckpt", "best.ckpt", "best_valid_top5.ckpt"):
        first, second = (torch.load(job / name, weights_only=True) for job in jobs)
        for part in ("state_dict", "current_model_state"):
            assert all(torch.equal(value, second[part][key]) for key, value in first[part].items()), (
                name,
                part,
            )
    first, second = (pd.read_csv(job / "history.csv").drop(columns="seconds") for job in jobs)
    pd.testing.assert_frame_equal(first, second)
    tables, rows = zip(*(predictions.read(job / "predictions.parquet") for job in jobs), strict=True)
    assert tables[0].equals(tables[1]) and (rows[0] == rows[1]).all()
    assert folder.load_json(one / "scores.json") == folder.load_json(other / "scores.json")
    assert (one / "folds.csv").read_bytes() == (other / "folds.csv").read_bytes()
