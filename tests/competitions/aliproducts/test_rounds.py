"""The contest entry's rounds: what was published is what the stages say, and the chain survives being killed."""

import os
import random
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from common.build import build
from common.config.compose import compose
from common.data import predictions
from common.run import folder
from common.run.jobs import jobs_of
from competitions.aliproducts.sample import write_sample
from tests.common.train.test_staged_kills import checkpoints, finish, started

# stage → list, window, frozen, epochs, step and factor of StepLR, batch, focal loss, centralised gradients
PUBLISHED = {
    "base_head": ("train", [80, 100], True, 2, 4, 0.5, 512, False, False),
    "base_open": ("train", [80, 100], False, 10, 4, 0.5, 96, False, False),
    "base_all": ("train", None, True, 8, 3, 0.4, 512, True, True),
    "v1_head": ("balance", [50, 500], True, 1, 4, 0.5, 768, False, True),
    "v1_open": ("balance", [50, 500], False, 10, 4, 0.4, 96, False, True),
    "v1_all": ("balance", None, True, 8, 3, 0.4, 512, True, True),
    "v2_all": ("reliable", None, True, 10, 3, 0.4, 1024, True, True),
    "v3_head": ("reliable", [20, 500], True, 1, 1, 0.4, 1024, True, True),
    "v3_open": ("reliable", [20, 500], False, 15, 3, 0.5, 128, True, True),
    "v3_all": ("reliable", None, True, 8, 3, 0.4, 1024, True, True),
}
ROUNDS = {
    "baseline": "base_all",
    "v1": "v1_all",
    "v2": "v2_all",
    "v3": "v3_all",
}  # experiment → its last stage


def stages(experiment, *words):
    config = OmegaConf.to_container(compose([f"experiment={experiment}", *words]))
    return {wave[0].stage: wave[0].config for wave in jobs_of(config)}


@pytest.mark.parametrize(("version", "last"), ROUNDS.items())
def test_every_stage_is_as_published(version, last):
    found = stages(f"aliproducts_{version}")
    assert [*found][-1] == last
    for name, config in found.items():
        which, window, frozen, epochs, step, factor, batch, focal, centralised = PUBLISHED[name]
        data = config["data"]
        assert (data["list"], data["window"], data["batch_size"]) == (which, window, batch), name
        assert config["trainer"]["max_epochs"] == epochs, name
        freeze = config["callbacks"]["freeze"]
        assert (freeze is not None and freeze["modules"] == ["backbone"]) == frozen, name
        assert config["loss"]["_target_"].endswith("Focal") == focal, name
        optimizer = config["optimizer"]
        assert (optimizer.get("centralize_gradients", "none") == "all") == centralised, name
        assert optimizer["_target_"].endswith("Adam") and optimizer["lr"] == 1e-3, name
        assert optimizer["weight_decay"] == 0 and config["loss"].get("smoothing", 0) == 0, name
        assert bool(config["views"]["image"]) == (name == "v3_open") and not config["views"]["batch"], name
        assert data["size"] == [224, 224] and config["model"]["name"] == "res2net50d", name
        _same_rates(build(config["schedule"]), step, factor, epochs)


def _same_rates(schedule, step, factor, epochs):
    """torch's StepLR is the oracle."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    expected = torch.optim.lr_scheduler.StepLR(optimizer, step, factor)
    for epoch in range(epochs):
        for share in (0.0, 0.5, 0.99):
            rate = schedule((epoch + share) / epochs, epoch + share)
            assert rate == pytest.approx(expected.get_last_lr()[0]), (epoch, share)
        optimizer.step()
        expected.step()


def test_the_stages_form_one_chain_and_what_is_left_out_comes_from_v1():
    config = compose(["experiment=aliproducts_v3"])
    origin = {name: stage.init_from for name, stage in config.stages.items()}
    assert [*origin] == [name for name in PUBLISHED if name != "base_all"]
    assert [*origin.values()] == [None, *[*origin][:-1]]
    cleaned = {
        name: (stage.clean_from, stage.clean_by) for name, stage in config.stages.items() if stage.clean_from
    }
    assert cleaned == dict.fromkeys(["v2_all", "v3_head", "v3_open", "v3_all"], ("v1_all", "original"))


def test_one_word_gives_all_stages_another_backbone():
    assert {
        config["model"]["name"] for config in stages("aliproducts_v3", "model.name=resnest101e").values()
    } == {"resnest101e"}


SMALL = [
    "train", "competition=aliproducts", "experiment=aliproducts_rounds_small", "data.size=[32,32]",
    "trainer.max_epochs=2",
    "model.depths=[1,1]", "model.widths=[16,32]", "model.stem=16", "trial.enabled=false", "trainer.threads=1",
    "stages.base_head.recipe.data.window=[4,60]", "stages.base_open.recipe.data.window=[4,60]",
    "stages.v1_head.recipe.data.window=[4,60]", "stages.v1_open.recipe.data.window=[4,60]",
    "stages.v3_head.recipe.data.window=[1,60]", "stages.v3_open.recipe.data.window=[1,60]",
    "trainer.save_every_seconds=0.2",
]  # fmt: skip
KILLS = 8


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_all_rounds_run_through_as_one_command_and_kills_leave_no_trace(tmp_path):
    root, rng = tmp_path / "images", random.Random(os.environ.get("KILLS_SEED", "0"))
    write_sample(root, most=60, held=1)
    one, other = tmp_path / "unbroken", tmp_path / "broken"
    command = [*SMALL, f"data.root={root}"]
    finish(started(*command, f"run_dir={one}"))
    for kill in range(KILLS):
        before, process = checkpoints(other), started(*command, f"run_dir={other}")
        while kill % 4 and process.poll() is None and checkpoints(other) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.5, 12))
        process.kill()
        assert process.wait() != 0, f"the run had ended before kill {kill + 1}"
    finish(started(*command, f"run_dir={other}"))
    jobs = sorted(path.parent.name for path in one.glob("jobs/*/done"))
    assert jobs == sorted(f"{name}_fold0" for name in PUBLISHED if name != "base_all")
    for job in jobs:
        same_job(one / "jobs" / job, other / "jobs" / job)
    same_lists(one, other)
    assert (one / "folds.csv").read_text() == (other / "folds.csv").read_text()
    assert not (other / "features").exists()


def same_job(one: Path, other: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        first, second = (torch.load(job / name, weights_only=True)["state_dict"] for job in (one, other))
        assert all(torch.equal(value, second[key]) for key, value in first.items()), (other, name)
    assert folder.load_json(one / "scores.json") == folder.load_json(other / "scores.json")
    if (one / "init.json").exists():
        assert (
            folder.load_json(one / "init.json")["classes"] == folder.load_json(other / "init.json")["classes"]
        )
    (frame, rows), (theirs, their_rows) = (
        predictions.read(job / "predictions.parquet") for job in (one, other)
    )
    assert frame.equals(theirs) and (rows == their_rows).all()


def same_lists(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.glob("reliable_train*.parquet"))
    assert names == ["reliable_train.parquet"]
    first, second = (pd.read_parquet(run / names[0]) for run in (one, other))
    pd.testing.assert_frame_equal(first, second)
    assert 0 < first["kept"].sum() < len(first)
