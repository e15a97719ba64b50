"""Teachers, students and their blend, killed twenty times at random moments: every artefact as of the unbroken run."""

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
KILLS, KILLS_OF_BLEND = 20, 3
RECIPE = [
    "competition=calligraphy", "experiment=self_distillation", "stages.teacher.folds=2", "stages.student.folds=2",
    "data.choose=0.15", "trainer.max_epochs=6", "trainer.save_every_seconds=0.2", "trial.enabled=false",
    "trainer.threads=1",
]  # fmt: skip


def started(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "common", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(root, run):
    return ["train", *RECIPE, f"data.root={root}", f"run_dir={run}"]


def blend(run):
    return ["blend", "competition=calligraphy", f"run_dir={run}", f"out={run}_blend", "max=2"]


def finish(process):
    said = process.communicate()[1]
    assert process.returncode == 0, said


def checkpoints(run):
    return {path: path.stat().st_mtime_ns for path in run.glob("jobs/*/last.ckpt")}


def epochs(run):
    """A row for each epoch of each job that has ended so far."""
    tables = [pd.read_csv(path).assign(job=path.parent.name) for path in run.glob("jobs/*/history.csv")]
    return pd.concat(tables) if tables else pd.DataFrame()


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_twenty_kills_leave_no_trace(tmp_path):
    root, rng = tmp_path / "images", random.Random(os.environ.get("KILLS_SEED", "0"))
    write_sample(root, per_class=6, tests=1)
    one, other = tmp_path / "unbroken", tmp_path / "broken"
    finish(started(*train(root, one)))
    rows = epochs(one)
    work, whole = rows.groupby("job")["seconds"].max().sum(), len(rows)
    for kill in range(KILLS):
        before, process = checkpoints(other), started(*train(root, other))
        if kill % 4:  # after some training of this start, so that the kills are spread over all jobs
            while process.poll() is None and checkpoints(other) == before:
                time.sleep(0.01)
            left = work * (1 - len(epochs(other)) / whole)  # by epochs: how fast this machine is changes
            time.sleep(rng.uniform(0, left / (KILLS - kill)))
        else:  # anywhere, start-up included
            time.sleep(rng.uniform(0.5, 12))
        process.kill()
        assert process.wait() != 0, f"the run had ended before kill {kill + 1}"
    finish(started(*train(root, other)))
    finish(started(*blend(one)))
    for _ in range(KILLS_OF_BLEND):
        process = started(*blend(other))
        time.sleep(rng.uniform(1, 6))
        process.kill()
        process.wait()
    if not folder.is_done(Path(f"{other}_blend")):
        finish(started(*blend(other)))
    for mine in (one, Path(f"{one}_blend")):
        same(mine, Path(str(mine).replace("unbroken", "broken")))


def same(one, other):
    """All files of two run folders are there in both and equal but for times and paths."""

    def files(run):
        hidden = ("lock", "failed.txt", "log.txt")
        return sorted(
            path.relative_to(run).as_posix()
            for path in run.rglob("*")
            if path.is_file() and path.name not in hidden and not path.name.startswith(".")
        )

    assert files(one) == files(other)
    for name in files(one):
        mine, theirs = one / name, other / name
        if name.endswith(".ckpt"):
            first, second = (torch.load(path, weights_only=True) for path in (mine, theirs))
            for part in {"state_dict", "current_model_state"} & first.keys():
                assert all(torch.equal(value, second[part][key]) for key, value in first[part].items()), (
                    name,
                    part,
                )
        elif name.endswith(".parquet"):
            (frame, rows), (their_frame, their_rows) = predictions.read(mine), predictions.read(theirs)
            assert frame.equals(their_frame) and (rows == their_rows).all(), name
        elif name.endswith("history.csv"):
            first, second = (pd.read_csv(path).drop(columns="seconds") for path in (mine, theirs))
            pd.testing.assert_frame_equal(first, second)
        elif mine.name == "scores.json":
            assert folder.load_json(mine) == folder.load_json(theirs), name
        elif name.endswith((".csv", ".json", ".yaml")) and mine.name != "environment.json":
            assert mine.read_text().replace("unbroken", "broken") == theirs.read_text(), name
