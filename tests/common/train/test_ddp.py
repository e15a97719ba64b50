"""One model in two processes: each image once, the scores of one process, one job folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from common.errors import PodiumError
from common.run import folder
from common.run.jobs import jobs_of
from common.train import fit
from common.train.job import run_job
from common.train.train import start

ROOT = Path(__file__).parents[3]


class Note(Callback):
    """Writes down which images each process trains on and validates: a line a batch, `part epoch indices`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def _note(self, trainer, part, batch):
        with open(f"{self.path}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps([part, trainer.current_epoch, batch["index"].tolist()]) + "\n")

    def on_train_batch_start(self, trainer, module, batch, number):
        self._note(trainer, "train", batch)

    def on_validation_batch_start(self, trainer, module, batch, number, loader=0):
        self._note(trainer, "valid", batch)


class Two(nn.Sequential):
    """Two linear layers: two processes with half of each batch compute what one does with all of it."""

    def __init__(self, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
        pixels = in_channels * image_size[0] * image_size[1]
        super().__init__(nn.Flatten(), nn.Linear(pixels, 6), nn.Tanh(), nn.Linear(6, num_classes))

    def get_classifier(self) -> nn.Module:
        return self[-1]


class FailIn(Callback):
    """Ends one process at its second batch: by an error, or by SIGKILL."""

    def __init__(self, rank: int, killed: bool) -> None:
        self.rank, self.killed = rank, killed

    def on_train_batch_start(self, trainer, module, batch, number):
        if (trainer.global_rank, number) == (self.rank, 1):
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(f"rank {self.rank} has lost its disk")


def started(tmp_path, run, *words):
    """`train` of the toy competition in a process of its own; what it printed, and its exit code."""
    command = ["competition=toy", f"--config-dir={tmp_path / 'conf'}", f"run_dir={tmp_path / run}", *words]
    ended = subprocess.run(
        [sys.executable, "-m", "common", "train", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ended.stdout + ended.stderr, ended.returncode


BOTH = ["trainer.devices=2", "trainer.strategy=ddp"]

OWN = ["data.valid=0.021", "module._target_=tests.toys.WithF1", "best={valid_f1: max}"]


@pytest.mark.slow
@pytest.mark.parametrize("further", [[], OWN], ids=["", "one picture to validate, measures of one's own"])
def test_two_processes_share_the_images_and_measure_as_one(toy, tmp_path, further):
    toy()  # draws the pictures and writes the competition's file
    words = [
        "competition=toy", f"--config-dir={tmp_path / 'conf'}", f"run_dir={tmp_path / 'run'}",
        "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=3", "data.batch_size=4",
        f"callbacks.note={{_target_: {__name__}.Note, path: {tmp_path / 'seen'}}}", *further,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "common", "train", *words], check=True, cwd=tmp_path, env=environment
    )

    run = tmp_path / "run"
    assert [job.name for job in (run / "jobs").iterdir()] == ["train_fold0"]
    assert len(list(run.glob("**/config.yaml"))) == 2 and not list(tmp_path.glob("runs"))
    split = pd.read_csv(run / "folds.csv")
    notes = [Path(f"{tmp_path / 'seen'}.{rank}").read_text().splitlines() for rank in (0, 1)]
    seen = [json.loads(line) for lines in notes for line in lines]
    for epoch in range(3):
        for part in ("train", "valid"):
            images = [
                index for name, number, batch in seen if (name, number) == (part, epoch) for index in batch
            ]
            expected = split.index[split["part"] == part].tolist()
            assert len(set(images)) == len(images) and set(images) <= set(expected)
            lost = len(expected) - len(images)
            assert (
                lost == 0 if part == "valid" else 0 <= lost < 2 * 4
            )  # training leaves out what fills no batch
    history = pd.read_csv(run / "jobs" / "train_fold0" / "history.csv")
    scores = folder.load_json(
        run / "jobs" / "train_fold0" / "scores.json"
    )  # by one process, from the checkpoint
    measured = history.set_index("epoch").loc[scores["epoch"]]
    assert scores["valid_top1"] == pytest.approx(measured["valid_top1"])
    assert scores["valid_loss"] == pytest.approx(measured["valid_loss"], rel=1e-5)
    if further:
        assert (split["part"] == "valid").sum() == 1 and scores["valid_f1"] == measured["valid_f1"]


@pytest.mark.slow
def test_what_is_frozen_for_some_epochs_trains_in_two_processes_as_in_one(toy, tmp_path):
    toy()
    words = [
        f"model._target_={__name__}.Two", "callbacks.freeze={modules: [backbone], until_epoch: 1}",
        "trainer.max_epochs=3",
    ]  # fmt: skip
    for run, more in (("one", ["data.batch_size=8"]), ("both", ["data.batch_size=4", *BOTH])):
        said, code = started(tmp_path, run, *words, *more)
        assert code == 0, said
    jobs = [tmp_path / run / "jobs" / "train_fold0" for run in ("one", "both")]
    one, both = (torch.load(job / "last.ckpt", weights_only=True)["state_dict"] for job in jobs)
    for name, value in one.items():
        torch.testing.assert_close(both[name], value, rtol=1e-4, atol=1e-6)
    histories = [pd.read_csv(job / "history.csv").drop(columns="seconds") for job in jobs]
    np.testing.assert_allclose(histories[0]["valid_loss"], histories[1]["valid_loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("killed", [False, True])
def test_the_last_line_names_what_went_wrong_first_and_no_process_is_left(killed, rank, toy, tmp_path):
    toy()
    fail = f"callbacks.fail={{_target_: {__name__}.FailIn, rank: {rank}, killed: {killed}}}"
    said, code = started(tmp_path, "run", *BOTH, fail)
    last = said.strip().splitlines()[-1]
    first = "ended by signal 9 (out of memory?)" if killed else f"rank {rank} has lost its disk"
    assert code == 1 and first in last and "Connection" not in last, said
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in running


@pytest.mark.slow
def test_more_processes_than_training_pictures_are_refused_in_one_line(toy, tmp_path):
    toy()
    said, code = started(tmp_path, "run", *BOTH, "trainer.devices=6", "data.valid=0.9")
    errors = [line for line in said.splitlines() if "too few for 6 processes" in line]
    assert code == 1 and len({*errors}) == 2 and "Traceback" not in said, said  # of the job and of the run
    assert all("trainer.devices" in line and "data.valid=0.9" in line for line in errors)


def test_what_the_first_process_never_writes_is_not_waited_for_without_end(toy, tmp_path, monkeypatch):
    config = toy()
    run = tmp_path / "run"
    start(run, config, jobs_of(config))
    monkeypatch.setattr(fit, "PATIENCE", 0.2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # as it is after the test
    with pytest.raises(
        PodiumError, match=r"the first of the processes .* has not written .*speed\.json for 0 s"
    ):
        run_job(run / "jobs" / "train_fold0")


@pytest.mark.slow
def test_processes_that_torchrun_starts_have_one_first_among_them(toy, tmp_path):
    """Two hosts of one process each: GROUP_RANK alone tells them apart, and only one may write."""
    config = toy("trainer.max_epochs=1", "trainer.num_nodes=2", "trainer.devices=1", "trainer.strategy=ddp")
    run, waves = tmp_path / "run", jobs_of(config)
    start(run, config, waves)
    job = run / "jobs" / "train_fold0"
    port = find_free_network_port()
    words = [f"--master_port={port}", "--nnodes=2", "--nproc_per_node=1", "-m", "common", "job", str(job)]
    hosts = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import common, torch.distributed.run as r; r.main()",
                f"--node_rank={host}",
                *words,
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
        )
        for host in (0, 1)
    ]
    assert [host.wait(200) for host in hosts] == [0, 0]
    log = (job / "log.txt").read_text()
    assert folder.is_done(job) and log.count("training on") == 1
