"""One model in two processes: each image once, the scores of one process, one job folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pytorch_lightning.callbacks import Callback

from common.run import folder

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
