"""Every competition that is there walks the whole road; so does one that was never seen before, and a bare folder."""

import functools
import importlib
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from common.packages import installed
from common.sample.glyphs import characters
from common.train.own import PACKAGE
from competitions.aliproducts import sample as aliproducts
from competitions.hccr import sample as hccr
from tests.command_line import in_a_process, podium
from tests.toys import write_images

ROOT = Path(__file__).parent.parent
COMPETITIONS = sorted(path.stem for path in (ROOT / "conf" / "competition").glob("*.yaml"))


SMALL = {  # samples that the road is walked on; each competition's test_sample.py draws one as users get it
    "aliproducts": {"most": 3, "held": 1},
    "calligraphy": {"per_class": 4, "tests": 8},
    "garbage": {"most": 6, "tests": 8},
    "hccr": {"writers": {"train": 8, "test": 1, "unlabelled": 1}},
    "smoking_calling": {"per_class": 12, "tests": 8},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


@pytest.mark.parametrize("competition", COMPETITIONS)
def test_smoke_through_train_predict_submission_and_evaluate(competition, folder, monkeypatch):
    data = importlib.import_module(f"competitions.{competition}.data")
    small = functools.partial(data.write_sample, **SMALL.get(competition, {}))
    monkeypatch.setattr(data, "write_sample", small)
    monkeypatch.setattr(hccr, "characters", lambda: characters()[::7])
    monkeypatch.setattr(aliproducts, "BRANDS", 1)
    said = podium(folder, "train", f"competition={competition}", "trainer=smoke")
    assert "sample" in said.lower() and "\r" not in said
    run = next(path.parent for path in (folder / "runs" / competition).glob("*/done"))
    for name in (
        "config.yaml",
        "environment.json",
        "model.json",
        "scores.json",
        "scores.csv",
        "folds.csv",
        "report.html",
    ):
        assert (run / name).stat().st_size > 0, name
    assert {"confusion.png", "views.png"} <= {path.name for path in (run / "pictures").iterdir()}
    said = podium(folder, "predict", f"competition={competition}", code=2)
    assert "no finished run" in said  # a smoke run is never taken unless it is named
    said = podium(folder, "predict", f"run_dir={run}")
    assert "SAMPLE DATA" in said and "checked" in said
    assert len(list(run.glob("submission_sample.*"))) == 1
    assert "top-1" in podium(folder, "evaluate", f"run_dir={run}")


SIXTH = {
    "conf/competition/sixth.yaml": """
data:
  _target_: competitions.sixth.data.SixthData
  root: {root}
  size: [16, 16]
module:
  _target_: competitions.sixth.module.SixthModule
submission:
  _target_: competitions.sixth.submission.SixthSubmission
trainer: {{max_epochs: 2, threads: 1}}
trial: {{enabled: false}}
""",
    "competitions/sixth/data.py": """
from common.data.folder import FolderData

class SixthData(FolderData):
    '''Nothing of its own.'''
""",
    "competitions/sixth/module.py": """
from torch import nn
from common.model.classifier import ImageClassifier

class SixthModule(ImageClassifier):
    def build_model(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, len(self.class_names)))
""",
    "competitions/sixth/submission.py": """
class SixthSubmission:
    suffix = ".txt"

    def write(self, path, rows, class_names):
        lines = [f"{image} {class_names[p.argmax()]}" for image, p in rows]
        path.write_text("\\n".join(lines))
        return len(lines)

    def validate(self, path, ids, class_names):
        return []
""",
}


def test_a_sixth_competition_needs_no_line_elsewhere(tmp_path):
    write_images(tmp_path / "images" / "train", per_class=8)
    write_images(tmp_path / "images" / "x", per_class=2, classes=["test"])
    (tmp_path / "images" / "x" / "test").rename(tmp_path / "images" / "test")
    for name, text in SIXTH.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.format(root=tmp_path / "images") if name.endswith("yaml") else text)
    said = in_a_process(tmp_path, "train", "--config-dir=conf", "competition=sixth")
    assert [line.split()[1] for line in said.splitlines() if line.startswith("epoch")] == ["1/2", "2/2"]
    assert "\r" not in said and "\x1b" not in said  # piped: one line an epoch, none redrawn
    podium(tmp_path, "predict", "competition=sixth")
    written = next((tmp_path / "runs" / "sixth").glob("*/submission.txt")).read_text().splitlines()
    assert [line.split()[0] for line in written] == ["test/0.png", "test/1.png"]


def test_the_readme_trains_a_folder_of_class_folders(tmp_path):
    """The YAML is the README's own, with another root; a smaller size on the command line to be quick.

    Where the packaged weights are missing, training begins from scratch, and says so."""
    found = re.search(
        r"Write `conf/competition/(\w+)\.yaml`:\n\n```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    name, text = found[1], found[2]
    assert len(text.strip().splitlines()) == 2
    write_images(tmp_path / "images", per_class=8, size=24)
    (tmp_path / "conf" / "competition").mkdir(parents=True)
    text = text.replace("/data/flowers ", f"{tmp_path / 'images'} ")
    (tmp_path / "conf" / "competition" / f"{name}.yaml").write_text(text)
    words = ("data.size=[32,32]", "trainer.max_epochs=2", "trainer.threads=1", "trial.enabled=false")
    said = podium(tmp_path, "train", "--config-dir", "conf", f"competition={name}", *words)
    run = next((tmp_path / "runs" / name).iterdir())
    packaged = installed(PACKAGE) is not None
    assert ("network: from the packaged" if packaged else "network: from scratch") in said
    assert "views=" in said
    config, of_job = (
        yaml.safe_load((run / folder / "config.yaml").read_text()) for folder in (".", "jobs/train_fold0")
    )
    assert config["model"]["pretrained"] == ("pip" if packaged else "none")
    assert config["views"]["batch"] == of_job["views"]["batch"] != {}
    assert pd.read_csv(run / "folds.csv")["class"].nunique() == 4
    podium(tmp_path, "predict", f"run_dir={run}", f"input={tmp_path / 'images'}", "out=all.csv")
    assert len(pd.read_csv(tmp_path / "all.csv")) == 32


def test_a_multirun_gives_each_trial_a_process_and_a_run_folder(tmp_path):
    write_images(tmp_path / "images", per_class=8)
    (tmp_path / "conf" / "competition").mkdir(parents=True)
    (tmp_path / "conf" / "competition" / "toy.yaml").write_text(
        f"data: {{root: {tmp_path / 'images'}, size: [16, 16], channels: 1}}\n"
        "model: {_target_: tests.toys.TinyNet}\n"
        "trainer: {max_epochs: 1, threads: 1}\n"
        "trial: {enabled: false}\n"
    )
    said = podium(tmp_path, "train", "--config-dir", "conf", "competition=toy", "-m", "seed=0,1")
    assert said.count("done: ") == 2
    runs = sorted((tmp_path / "runs" / "toy").glob("*/*/done"))
    weights = [run.parent.joinpath("config.yaml").read_text() for run in runs]
    assert len(runs) == 2 and "seed: 0" in weights[0] and "seed: 1" in weights[1]


def test_a_run_in_use_or_of_another_configuration_is_refused_and_an_unfinished_one_taken_up(tmp_path):
    write_images(tmp_path / "images", per_class=8)
    (tmp_path / "conf" / "competition").mkdir(parents=True)
    (tmp_path / "conf" / "competition" / "toy.yaml").write_text(
        f"data: {{root: {tmp_path / 'images'}, size: [16, 16], channels: 1}}\n"
        "model: {_target_: tests.toys.TinyNet}\n"
        "trainer: {max_epochs: 2, threads: 1}\n"
        "trial: {enabled: false}\n"
    )
    words = ("train", "--config-dir", "conf", "competition=toy")
    podium(tmp_path, *words, "run_dir=r")
    assert "finished already" in podium(tmp_path, *words, "run_dir=r")
    said = podium(tmp_path, *words, "run_dir=r", "seed=4", "loss=focal", code=2)
    assert "seed: 0 → 4" in said and "loss._target_" in said
    podium(tmp_path, *words)
    run = next(path for path in (tmp_path / "runs" / "toy").iterdir())
    (run / "done").unlink()
    (run / "jobs" / "train_fold0" / "done").unlink()
    assert "going on with the unfinished run" in podium(tmp_path, *words)
    (run / "done").unlink()
    assert "new run" in podium(tmp_path, *words, "new=true")
