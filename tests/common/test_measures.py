"""What a measure is defined as once reaches validation, tables, curves, rankings and blends; its direction too."""

import json
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score

import common
from common.config.compose import compose
from common.data import predictions
from common.ensemble.blend import Blend, _metric, blend
from common.ensemble.candidates import find
from common.ensemble.selection import Rule, select
from common.errors import PodiumError
from common.run.folder import load_config
from common.run.members import combine
from common.task.long_tail_scores import class_accuracy
from common.task.measures import Measure
from common.train.train import train
from tests.toys import brier, macro_f1

OWN = ["module._target_=tests.toys.WithF1", "best={valid_f1: max, valid_brier: min}"]


@pytest.fixture(scope="module")
def run(toy_module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "run"
    words = [*OWN, "trainer.max_epochs=4", "optimizer.lr=0.01", "data.choose=0.2", f"run_dir={folder}"]
    train(toy_module(*words))
    return folder


def test_a_measure_of_ones_own_is_in_curves_and_scores_and_chooses(run):
    job = run / "jobs" / "train_fold0"
    history = pd.read_csv(job / "history.csv")
    scores = json.loads((job / "scores.json").read_text())
    for part, file in (("valid", "predictions.parquet"), ("choose", "predictions_choose.parquet")):
        table, rows = predictions.read(job / file)
        labels = table["label"].to_numpy()
        f1 = f1_score(labels, rows.argmax(axis=1), average="macro", zero_division=0.0)
        assert scores[f"{part}_f1"] == pytest.approx(f1)
        assert scores[f"{part}_brier"] == pytest.approx(brier(labels, rows))
    assert scores["chosen_by"] == "valid_f1" and scores["valid_f1"] == pytest.approx(
        history["valid_f1"].max()
    )
    further = scores["checkpoints"]["best_valid_brier.ckpt"]
    assert further["valid_brier" if "valid_brier" in further else "brier"] == pytest.approx(
        history["valid_brier"].min()
    )
    whole = json.loads((run / "scores.json").read_text())
    assert whole["valid_f1"] == scores["valid_f1"]
    assert "f1" in (run / "report.html").read_text()


@pytest.mark.parametrize("direction", ["max", "min"])
def test_what_validation_alone_measures_reaches_tables_and_blends_too(toy, tmp_path, direction):
    """Its direction is what the recipe says: nothing else says it."""
    words = ["module._target_=tests.toys.WithSure", f"best={{valid_sure: {direction}}}", "data.choose=0.2"]
    run = train(toy(*words, "trainer.max_epochs=3", "optimizer.lr=0.01", f"run_dir={tmp_path / 'run'}"))
    scores = json.loads((run / "scores.json").read_text())
    history = pd.read_csv(run / "jobs" / "train_fold0" / "history.csv")["valid_sure"]
    assert scores["valid_sure"] == pytest.approx(
        history.max() if direction == "max" else history.min(), rel=1e-5
    )
    _, rows = predictions.read(run / "jobs" / "train_fold0" / "predictions_choose.parquet")
    assert scores["choose_sure"] == pytest.approx(rows.max(axis=1).mean(), rel=1e-5)
    out = blend(Blend(run_dir=str(run), out=str(tmp_path / "blend")))
    assert json.loads((out / "blend.json").read_text())["metric"] == "sure"
    chosen_by = _metric(load_config(run), 4, find([run])[0])
    assert isinstance(chosen_by, Measure) and chosen_by.direction == direction


def test_a_blend_is_chosen_by_it(run, tmp_path):
    out = blend(Blend(run_dir=str(run), out=str(tmp_path / "blend")))
    known = json.loads((out / "blend.json").read_text())
    table, rows = predictions.read(run / "jobs" / "train_fold0" / "predictions_choose.parquet")
    assert known["metric"] == "f1" and known["score"] == pytest.approx(
        macro_f1(table["label"].to_numpy(), rows), abs=1e-6
    )
    assert known["parts"]["choose"]["f1"] == pytest.approx(known["score"], abs=1e-6)


def test_rankings_have_it_too(toy, tmp_path, monkeypatch):
    from common.sweep.multirun import multirun

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(common.__file__).parents[1]))
    words = ["competition=toy", *OWN, "trainer.max_epochs=1", "optimizer.lr=0.01,0.001", "seed=0"]
    assert multirun([*words, "--config-dir=conf"]) == 0
    (table,) = tmp_path.glob("runs/toy/*_multirun/ranking.csv")
    ranking = pd.read_csv(table)
    assert ranking["valid_f1"].notna().all() and "not run" not in table.read_text()


@pytest.mark.parametrize(
    "measure",
    [
        Measure("class_accuracy", lambda y, p: class_accuracy(y, p.argmax(axis=1), 4)),
        Measure("brier", brier, "min"),
    ],
    ids=lambda one: one.name,
)
def test_the_choice_by_a_measure_is_the_best_of_all_subsets(measure):
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 80, p=[0.6, 0.2, 0.1, 0.1])
    stack = rng.dirichlet(np.ones(4), (5, 80)).astype(np.float32)
    stack[:, np.arange(80), labels] += rng.uniform(0, 0.6, (5, 80)).astype(np.float32)
    stack /= stack.sum(axis=2, keepdims=True)
    chosen = select(stack, labels, Rule(measure), resamples=20)
    sign = 1 if measure.direction == "max" else -1
    every = {
        (subset, mean): sign * measure.of(labels, combine(stack[list(subset)], mean))
        for size in (1, 2, 3)
        for subset in combinations(range(5), size)
        for mean in ("arithmetic", "geometric")
    }
    assert chosen.score == pytest.approx(sign * max(every.values()), abs=1e-5)
    assert every[chosen.members, chosen.mean] == pytest.approx(max(every.values()), abs=1e-5)
    if measure.name == "class_accuracy":
        rows = combine(stack[list(chosen.members)], chosen.mean)
        assert chosen.score == pytest.approx(
            recall_score(labels, rows.argmax(axis=1), average="macro"), abs=1e-5
        )
    assert sign * chosen.optimism >= 0


def test_a_choice_by_a_measure_takes_bounded_time(monkeypatch):
    """It is computed anew for each subset and resample: of more pictures and classes there are fewer resamples."""
    rng, computed = np.random.default_rng(0), []
    labels, stack = rng.integers(0, 50, 40), rng.dirichlet(np.ones(50), (4, 40)).astype(np.float32)
    measure = Measure("f1", lambda y, p: computed.append(0) or macro_f1(y, p))
    monkeypatch.setattr("common.ensemble.selection.WORK", 40 * 50 * 1000)
    chosen = select(stack, labels, Rule(measure, most=2))
    assert chosen.exhaustive and chosen.resamples == 1000 // 20  # of 4 models, 6 pairs, by two means
    assert len(computed) <= 1000 + 20 * 2


def test_nothing_is_chosen_by_no_pictures():
    with pytest.raises(PodiumError, match=r"data\.choose"):
        select(np.empty((2, 0, 4), np.float32), np.empty(0, np.int64), Rule())


def test_a_direction_is_max_or_min():
    with pytest.raises(PodiumError, match=r"f1: .* max or min"):
        Measure("f1", macro_f1, "higher")


def test_early_stopping_goes_on_while_the_loss_falls(toy, tmp_path):
    """`mode` is the metric's own: a falling loss is getting better."""
    words = [
        "callbacks.early_stopping={monitor: valid_loss, patience: 1}",
        "optimizer.lr=0.001",
        "schedule=constant",
    ]
    train(toy(*words, "trainer.max_epochs=6", f"run_dir={tmp_path / 'run'}"))
    losses = pd.read_csv(tmp_path / "run" / "jobs" / "train_fold0" / "history.csv")["valid_loss"].tolist()
    rising = [late >= early for early, late in pairwise(losses)]
    assert (len(losses) == 6 and not any(rising)) or rising.index(True) == len(losses) - 2


def test_early_stopping_by_the_training_loss(toy, tmp_path):
    words = [
        "callbacks.early_stopping={monitor: train_loss, patience: 1}",
        "optimizer.lr=1e-9",
        "schedule=constant",
    ]
    words += ["callbacks.early_stopping.min_delta=1.0", "trainer.limit_val_batches=0"]
    train(toy(*words, "trainer.max_epochs=6", f"run_dir={tmp_path / 'run'}"))
    assert len(pd.read_csv(tmp_path / "run" / "jobs" / "train_fold0" / "history.csv")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["best={valid_loss: max}"], r"best\.valid_loss: .* min"),
        (["best={valid_top1: min}"], r"best\.valid_top1: .* max"),
        ([OWN[0], "best={valid_brier: max}"], r"best\.valid_brier: .* min"),
        (["best={train_loss: min}"], r"best\.train_loss: .* valid_top1"),
        (["best={valid_f1: max}"], r"best\.valid_f1: there is no metric"),
        (
            ["callbacks.early_stopping={monitor: valid_loss, mode: max}"],
            r"callbacks\.early_stopping.*: .* min",
        ),
        (
            ["callbacks.early_stopping={monitor: valid_f1}"],
            r"callbacks\.early_stopping\.monitor: there is no metric",
        ),
        (
            [
                "callbacks.early_stopping={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: valid_top1}"
            ],
            r"callbacks\.early_stopping.*: .* max",
        ),
    ],
    ids=str,
)
def test_a_wrong_direction_or_metric_is_refused_before_the_first_step(toy, tmp_path, words, said):
    with pytest.raises(PodiumError, match=said):
        train(toy(*words, f"run_dir={tmp_path / 'run'}"))
    assert not list((tmp_path / "run").rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("words", "metric"),
    [
        (["competition=aliproducts"], "valid_class_accuracy"),
        (["experiment=aliproducts_cpu"], "valid_class_accuracy"),
        (["competition=calligraphy"], "valid_top5"),
        (["experiment=calligraphy_original"], "valid_top5"),
        (["competition=smoking_calling"], "valid_map"),
        (["experiment=smoking_calling_cpu"], "valid_map"),
        (["experiment=smoking_calling_original"], "valid_map"),
        (["competition=garbage"], "valid_top1"),
        (["competition=hccr"], "valid_top1"),
    ],
    ids=str,
)
def test_what_the_contest_measures_chooses(words, metric):
    assert next(iter(compose(words).best)) == metric
