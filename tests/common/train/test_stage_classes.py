"""Stages of one run that tell different classes apart, on different pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.config.options import parse
from common.data import predictions
from common.data.folder import FolderData
from common.deliver.evaluate import Evaluate, evaluate
from common.deliver.predict import Predict, predict
from common.ensemble import out_of_fold
from common.ensemble.blend import Blend, blend
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import out_of_fold_path
from common.run.members import class_names, read_folds
from common.train.job import run_job
from common.train.train import train

SMALL = ["model=small_resnet", "model.widths=[8,8]", "model.depths=[1,1]", "model.stem=8"]
FEW, OTHERS = ["cross", "slash"], ["bar", "ring"]
DATA = {"first": {"only": FEW}, "second": {"only": OTHERS}, "last": {"least": 6}}


class SomeClasses(FolderData):
    """Only the classes of these names, and only pictures from a number on: labels count in what is left."""

    def __init__(self, *, only: list[str] | None = None, least: int = 0, **others: Any) -> None:
        super().__init__(**others)
        self.only, self.least = only, least

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        table, names = super().records()
        kept = [name for name in names if self.only is None or name in self.only]
        numbers = table["id"].map(lambda image: int(Path(image).stem))
        inside = table["label"].map(lambda label: names[label] in kept) & (numbers >= self.least)
        table = table[inside].reset_index(drop=True)
        table["label"] = table["label"].map(lambda label: kept.index(names[label]))
        return table, kept


class InThisProcess:
    def __call__(self, commands, stop_on_failure=False, on_start=None, on_end=None):
        for number, command in enumerate(commands):
            on_start(number)
            run_job(Path(command[-1]))
            on_end(number, 0)
        return [0] * len(commands)


def config(toy, *words, common=None, stages=DATA):
    found = toy(*SMALL, "trainer.max_epochs=1", *(f"stages.{name}.folds=null" for name in stages), *words)
    found["data"] |= {"_target_": f"{__name__}.SomeClasses", **(common or {})}
    for name, data in stages.items():
        found["stages"][name]["recipe"]["data"] = found["data"] | data
    return {**found, "launcher": {"_target_": f"{__name__}.InThisProcess"}}


CHAIN = ["stages.second.init_from=first", "stages.last.init_from=first"]


@pytest.fixture(scope="module")
def run(toy_module, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "chain"
    return train(config(toy_module, *CHAIN, "data.score=0.1", f"run_dir={out}"))


def test_each_stage_numbers_its_own_classes(run):
    known = {"first": FEW, "second": OTHERS, "last": ["bar", "cross", "ring", "slash"]}
    for stage, names in known.items():
        job = run / "jobs" / f"{stage}_fold0"
        saved = torch.load(job / "best.ckpt", weights_only=True)["hyper_parameters"]["class_names"]
        assert saved == names == class_names(job)
        frame, rows = predictions.read(job / "predictions.parquet")
        assert rows.shape[1] == len(names)
        assert [names[label] for label in frame["label"]] == [
            Path(image).parent.name for image in frame["id"]
        ]


def test_rows_of_classes_that_stay_are_carried_over_and_the_log_says_how_many(run):
    said = {
        stage: folder.load_json(run / "jobs" / f"{stage}_fold0" / "init.json") for stage in ("second", "last")
    }
    assert said["second"]["classes"] == {"leaf": {"carried": 0, "fresh": 2}}
    assert said["last"]["classes"] == {"leaf": {"carried": 2, "fresh": 2}}
    log = (run / "jobs" / "last_fold0" / "log.txt").read_text()
    assert "2 classes are carried over, 2 are fresh" in log


def test_the_split_holds_all_pictures_with_their_classes_and_none_changes_its_part(toy_module, tmp_path):
    """Stages of few pictures come first, so each brings new ones in."""
    narrow = {"only": FEW, "least": 6}
    stages = {"first": narrow, "second": {"only": OTHERS, "least": 0}, "last": {"only": None, "least": 0}}
    seen = {}
    out = train(config(toy_module, f"run_dir={tmp_path / 'run'}", common=narrow, stages=stages))
    split = read_folds(out)
    assert len(split) == 48 and split["id"].is_unique
    assert (split["class"] == split["id"].map(lambda image: Path(image).parent.name)).all()
    for stage in stages:
        valid = predictions.read(out / "jobs" / f"{stage}_fold0" / "predictions.parquet")[0]["id"]
        assert (split.set_index("id")["part"].loc[valid] == "valid").all()
        seen[stage] = set(valid)
    assert seen["first"] <= seen["last"] and seen["second"] <= seen["last"]


def test_the_finished_run_speaks_of_its_last_stage(run, tmp_path):
    out = evaluate(parse(Evaluate, [f"run_dir={run}", f"out={tmp_path / 'evaluation'}"]))
    found = folder.load_json(out / "scores.json")
    expected = folder.load_json(run / "jobs" / "last_fold0" / "scores.json")
    score = read_folds(run)
    score = score[score["part"] == "score"]
    assert found["images"] == len(score) > 0
    assert [row["class"] for row in found["per_class"]] == [row["class"] for row in expected["per_class"]]
    frame, _ = predictions.read(out / "predictions.parquet")
    names = ["bar", "cross", "ring", "slash"]
    assert [names[label] for label in frame["label"]] == [Path(image).parent.name for image in frame["id"]]
    csv = tmp_path / "submission.csv"
    predict(
        parse(Predict, [f"run_dir={run}", f"input={folder.load_config(run)['data']['root']}", f"out={csv}"])
    )
    assert set(pd.read_csv(csv, dtype=str)["label"]) <= set(names) and len(pd.read_csv(csv)) == 48
    report = (run / "report.html").read_text()
    assert "slash" in report


def test_a_blend_takes_the_models_of_the_last_stages_classes(run, tmp_path, capsys):
    out = blend(parse(Blend, [f"run_dir={run}", f"out={tmp_path / 'blend'}"]))
    assert [row["name"] for row in folder.load_json(out / "blend.json")["candidates"]] == ["chain/last_fold0"]
    assert "first_fold0, second_fold0 left out" in capsys.readouterr().out


def test_runs_of_different_classes_do_not_blend(run, toy_module, tmp_path):
    stages = {"first": {"only": OTHERS}}
    other = train(config(toy_module, f"run_dir={tmp_path / 'other'}", common={"only": OTHERS}, stages=stages))
    with pytest.raises(PodiumError, match="know different classes, so their models have no mean"):
        blend(parse(Blend, [f"run_dir='{run},{other}'", f"out={tmp_path / 'blend'}"]))


def test_folds_of_stages_with_other_pictures_are_joined_and_checked(toy_module, tmp_path):
    words = [
        "stages.first.folds=2",
        "stages.second.folds=2",
        "stages.last.folds=2",
        "stages.last.init_from=first",
    ]
    out = train(config(toy_module, *words, f"run_dir={tmp_path / 'run'}"))
    split = read_folds(out).set_index("id")
    for stage, names in (("first", FEW), ("second", OTHERS), ("last", None)):
        frame, _ = predictions.read(out_of_fold_path(out, stage))
        numbers = split.index.map(lambda image: int(Path(image).stem))
        own = split[split["class"].isin(names)] if names else split[np.asarray(numbers) >= 6]
        assert set(frame["id"]) == set(own.index[own["part"] == "train"])
        assert (frame["fold"].to_numpy() == split["fold"].loc[frame["id"]].to_numpy()).all()
    doubted = pd.read_csv(out / "doubts.csv")  # by the first stage with folds
    assert set(doubted["class"]) | set(doubted["was"]) <= set(FEW)
    # a fold's predictions that lack pictures are noticed, though the run has pictures that the stage never had
    job = out / "jobs" / "first_fold0"
    frame, rows = predictions.read(job / "predictions.parquet")
    predictions.write(
        job / "predictions.parquet", frame["id"].tolist()[1:], frame["label"].to_numpy()[1:], rows[1:]
    )
    with pytest.raises(PodiumError, match="not complete"):
        out_of_fold.join(out, "first", 2)


def test_a_teacher_of_other_classes_is_refused(toy_module, tmp_path):
    words = ["stages.first.folds=2", "stages.second.folds=2", "stages.second.soft_labels_from=first"]
    stages = {"first": {"only": FEW}, "second": {"only": OTHERS}}
    with pytest.raises(PodiumError, match="soft_labels_from: first knows other classes"):
        train(config(toy_module, *words, f"run_dir={tmp_path / 'run'}", stages=stages))


def test_a_users_split_is_asked_for_pictures_that_a_later_stage_brings_in(toy_module, tmp_path):
    first = train(config(toy_module, f"run_dir={tmp_path / 'first'}", stages={"all": {}}))
    given = read_folds(first)
    given["part"] = np.where(given["part"] == "valid", "train", np.where(np.arange(48) % 3, "train", "valid"))
    given.to_csv(tmp_path / "split.csv", index=False)
    words = [f"data.split={tmp_path / 'split.csv'}", f"run_dir={tmp_path / 'second'}"]
    stages = {"first": {"only": FEW}, "last": {"only": None}}
    second = train(config(toy_module, *words, common={"only": FEW}, stages=stages))
    found = read_folds(second).set_index("id")["part"]
    assert found.loc[given["id"]].tolist() == given["part"].tolist()
