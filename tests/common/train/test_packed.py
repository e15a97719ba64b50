"""Training from a pack is training from memory."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from common.__main__ import main
from common.run import folder
from common.run.jobs import jobs_of
from common.train.job import run_job
from tests.conftest import toy_composer


@pytest.fixture
def toy_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # packs are kept below data/
    return toy_composer(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_losses_and_weights_are_equal_bit_for_bit(toy_here, tmp_path, workers, capsys):
    outcomes = []
    for limit in (2**30, 0):
        job = tmp_path / str(limit) / "jobs" / "train_fold0"
        config = toy_here(f"data.in_memory_bytes={limit}", f"data.workers={workers}")
        folder.write_config(job, jobs_of(config)[0][0].config)
        run_job(job)
        history = pd.read_csv(job / "history.csv").drop(columns="seconds")
        outcomes.append((history, torch.load(job / "last.ckpt", weights_only=True)["state_dict"]))
    (history, weights), (history2, weights2) = outcomes
    pd.testing.assert_frame_equal(history, history2, check_exact=True)
    assert all(torch.equal(weights[name], weights2[name]) for name in weights)
    said = capsys.readouterr().out
    assert "48 pictures, 0 MB, in memory" in said and "48 pictures, 0 MB, in data/toy/pack/16x16x1-" in said


def test_the_verb_packs_what_each_stage_reads(toy_here, tmp_path, capsys):
    toy_here()
    words = ["competition=toy", "--config-dir", str(tmp_path / "conf")]
    stages = "stages={small: {recipe: {data: {size: [8, 8]}}}, large: {init_from: small}, last: {init_from: large}}"
    assert main(["pack", *words, stages]) == 0
    packs = sorted(path.name.partition("-")[0] for path in Path("data/toy/pack").iterdir())
    assert packs == ["16x16x1", "8x8x1"]
    (tmp_path / "images" / "bar" / "0.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert main(["pack", *words]) == 0
    said = capsys.readouterr().out
    assert "1 of 48 images could not be read" in said and "data/toy/bad_images.csv" in said
    assert "47 pictures, 0 MB, in data/toy/pack/16x16x1-" in said


def test_image_views_cannot_be_packed(toy_here, tmp_path, capsys):
    toy_here()
    words = ["competition=toy", "--config-dir", str(tmp_path / "conf"), "views.image=[{Fliplr: {p: 0.5}}]"]
    assert main(["pack", *words]) == 2
    assert "views.image needs the pictures as they are" in capsys.readouterr().err
