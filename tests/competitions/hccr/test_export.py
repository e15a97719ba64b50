"""An exported model predicts .gnt files as its run does, where torch cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

from omegaconf import OmegaConf

from common.config.compose import compose
from common.config.options import parse
from common.deliver.export import Export, export
from common.deliver.predict import Predict, predict
from common.train.train import train
from tests.competitions.hccr.records import CHARACTERS, write_writer

ROOT = Path(__file__).parents[3]
SMALL = ["data.size=[40,40]", "data.batch_size=16", "model.depths=[1]", "model.widths=[8]", "~callbacks.tta"]
QUICK = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.threads=1", "trial.enabled=false"]
WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None\nfrom common.__main__ import main\nsys.exit(main(sys.argv[1:]))"
)


def test_records_are_predicted_from_an_exported_file_without_torch(tmp_path):
    for number in range(6):
        write_writer(tmp_path / f"hwdb/trn/{number}.gnt", number)
    unknown = tmp_path / "unlabelled.gnt"
    write_writer(unknown, 9, known=False)
    run, file = tmp_path / "run", tmp_path / "out" / "model.onnx"
    words = ["competition=hccr", f"data.root={tmp_path / 'hwdb'}", f"run_dir={run}", *SMALL, *QUICK]
    train(OmegaConf.to_container(compose(words)))
    few = ["seconds=0.02", "calibration=0", "batch_size=4", "threads=1"]
    export(parse(Export, [f"run_dir={run}", f"out={file.parent}", *few]))

    predict(parse(Predict, [f"run_dir={run}", f"input={unknown}", f"out={tmp_path / 'run.csv'}"]))
    given = [f"run_dir={file}", f"input={unknown}", f"out={tmp_path / 'file.csv'}"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "predict", *given],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "file.csv").read_text(encoding="utf-8")
    assert said == (tmp_path / "run.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in said.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["unlabelled.gnt", str(n)] for n in range(len(CHARACTERS))]
