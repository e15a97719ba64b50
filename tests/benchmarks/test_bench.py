"""The benchmarks measure what they say: the same steps on both sides, and a row for every comparison."""

import itertools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from imgaug.parameters import no_prefetching
from torch import nn

from benchmarks import frozen, speed, yardstick
from benchmarks.shared import table
from benchmarks.shared.contenders import StepClock, Timed
from benchmarks.shared.loops import BareLoop, original_views, seconds_of_steps, viewed_batches
from benchmarks.shared.words import options_and_recipe, recipe
from common.__main__ import main
from common.config.layers import CONF
from common.data.augmentation.image_views import ImageViews
from common.errors import PodiumError
from common.run import components, folder
from common.run.jobs import jobs_of
from common.train import fit
from common.train.train import with_data
from tests.toys import write_images

MODEL = """
_target_: tests.benchmarks.test_bench.tiny_net
"""
VIEWS = """
image: []
batch:
  affine: {_target_: common.data.augmentation.batch_views.Affine, shift: 0.2}
"""


def tiny_net(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """Without dropout: nothing in a step is random but the views, which come from keys."""
    layers = {
        "stem": nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        "stage": nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
        "head": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes)),
    }
    return nn.Sequential(OrderedDict(layers))


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A recipe of a moment: pictures of 16 x 16, batches of 4, a network of two layers."""
    write_images(tmp_path / "images" / "train", per_class=6, classes=list("abcdef"))
    for name, content in {"model/tiny": MODEL, "views/moved": VIEWS}.items():
        folder.write_text(tmp_path / "conf" / f"{name}.yaml", content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = f"""competition=calligraphy data.root={tmp_path}/images model=tiny data.size=[16,16]
        data.batch_size=4 data.workers=0 data.near_duplicates=false callbacks.weight_averaging.decay=0.9
        callbacks.freeze.modules=[stem] trainer.threads=1 trainer.precision=32-true
        trainer.memory_format=contiguous trainer.accelerator=cpu --config-dir conf"""
    return options.split()


def test_bare_loop_and_training_end_with_equal_weights(words, tmp_path):
    recipe_words = [*words, "views=moved", "trainer.max_steps=6", "trainer.gradient_clip_val=0.5"]
    config = jobs_of(with_data(recipe(recipe_words)))[0][0].config
    data = components.make_data(config, tmp_path)
    data.setup()
    torch.manual_seed(0)
    ours = components.make_module(config, data)
    start = {name: value.clone() for name, value in ours.state_dict().items()}
    fit.train(config, tmp_path / "job", data, ours)

    bare = components.make_module(config, data)
    bare.load_state_dict(start)
    loop = BareLoop(bare, config, torch.device("cpu"), total_steps=6, steps_per_epoch=data.batches_per_epoch)
    seconds_of_steps(loop, viewed_batches(data, torch.device("cpu")), warmup=2, steps=4)

    saved = torch.load(tmp_path / "job" / "last.ckpt", weights_only=True)
    for name, value in bare.state_dict().items():
        assert torch.equal(value, saved["current_model_state"][name]), name
        assert torch.equal(value, start[name]) == ("stem" in name), name
    averages = [value for value in [*ours.parameters(), *ours.buffers()] if value.is_floating_point()]
    for one, other in zip(averages, loop.float_averages, strict=True):
        assert torch.equal(one, other)


def test_the_clock_stops_after_its_warmup_and_steps():
    clock, module = StepClock(warmup=2, steps=3), pl.LightningModule()
    for _ in range(5):
        clock.on_train_batch_start(None, module, None, 0)
    with pytest.raises(Timed) as found:
        clock.on_train_batch_start(None, module, None, 0)
    assert found.value.seconds > 0


def test_speed_has_a_row_for_each_recipe_and_contender(words):
    speed.main([*words, "rounds=2", "steps=2", "warmup=1", "images=3"])
    (out,) = folder.RUNS.glob("bench/*")
    found = pd.read_csv(out / "speed.csv")
    expected = set(itertools.product(["default", "original"], speed.AIMS))
    expected -= {("default", "image views: plain imgaug")}  # it has none
    assert sorted(zip(found["recipe"], found["compared with"], strict=True)) == sorted(expected)
    assert ((found["min"] <= found["ratio"]) & (found["ratio"] <= found["max"])).all()
    assert (found[["ours images/s", "other images/s"]] > 0).all(axis=None)
    reported = set(found.loc[found["aim"].isna(), "recipe"] + found.loc[found["aim"].isna(), "compared with"])
    assert reported == {"originalbare loop, one batch in memory"}
    assert len((out / "speed.md").read_text().split("\n| ")) == 1 + 2 + len(found)


def test_ratio_is_the_median_over_rounds_that_change_direction():
    order = []
    values = {"ours": [90, 100, 95], "bare loop": [100, 100, 100]}

    def contender(name):
        return lambda: order.append(name) or values[name][order.count(name) - 1]

    (row,) = speed.compare({name: contender(name) for name in values}, rounds=3)
    assert (row["ratio"], row["min"], row["max"], row["met"]) == (0.95, 0.9, 1.0, "yes")
    assert order == ["ours", "bare loop", "bare loop", "ours", "ours", "bare loop"]


def test_written_out_imgaug_is_the_recipe_of_the_yaml():
    steps = recipe(["competition=calligraphy", "views=calligraphy_original"])["views"]["image"]
    with no_prefetching():  # as ImageViews has it; the benchmark leaves it on, as imgaug has it
        written = original_views()
    described = [
        [(type(part).__name__, str(part.get_parameters())) for part in views.get_all_children(flat=True)]
        for views in (written, ImageViews(steps)._augment)
    ]
    assert len(described[0]) > 5 and described[0] == described[1]


def test_yardstick_and_ours_train_on_one_split_for_the_same_time(words):
    yardstick.main([*words, "seconds=1", "seeds=[0,1]"])
    (out,) = folder.RUNS.glob("bench/*")
    found = pd.read_csv(out / "yardstick.csv", dtype={"seed": str})
    models = ["yardstick", "ours at the end", "ours, best"]
    assert list(zip(found["seed"], found["model"], strict=True)) == list(
        itertools.product(["0", "1", "mean"], models)
    )
    for seed in (0, 1):
        split = pd.read_csv(out / f"1s_seed{seed}" / "folds.csv")
        assert split.equals(pd.read_csv(out / "folds.csv"))
        assert folder.load_config(out / f"1s_seed{seed}")["seed"] == seed
    assert (found["seconds taken"] >= 1).all() and (found["images seen"] > 0).all()
    assert found["top-1 %"].between(0, 100).all()
    assert (found["top-1 %"] + found["error %"]).round(2).eq(100).all()


def test_frozen_compares_the_same_training_on_features_and_on_images(words):
    small = ["model=small_resnet", "model.widths=[8,8]", "model.depths=[1,1]", "model.stem=8"]
    given = [word for word in words if not word.startswith(("model=", "callbacks.freeze"))]
    frozen.main([*given, *small, "epochs=3"])
    (out,) = folder.RUNS.glob("bench/*")
    found = pd.read_csv(out / "frozen.csv").set_index("on")
    assert list(found.index) == ["images", "features", "difference"]
    images, features, difference = (found.loc[on] for on in found.index)
    assert images["first pass"] == 0 < features["first pass"]
    assert images["later epoch"] > 0 and features["ratio"] > 0
    for name in ("top-1 %", "loss"):
        assert difference[name] == pytest.approx(features[name] - images[name], abs=1e-4)
        assert difference[name] == pytest.approx(0, abs=1e-2)  # to rounding, the same training
    for on in ("images", "features"):
        (history,) = (out / on).glob("jobs/*/history.csv")
        assert len(pd.read_csv(history)) == 3


def test_a_yardstick_of_several_jobs_is_refused_with_what_to_do(words):
    with pytest.raises(PodiumError, match=r"2 jobs: head_fold0, open_fold0\. .* stages\.<name>=null"):
        yardstick.main([*words, "+stages.head.folds=null", "+stages.open.folds=null"])


def test_a_yardstick_reads_pictures_as_the_data_set_does(words, tmp_path):
    """Whatever a path may be: the pictures are those that `data.pictures` gives, without the recipe's fit."""
    data = components.make_data(with_data(recipe(words)), tmp_path / "run")
    data.setup()
    data.pictures = lambda table, at_least=None: lambda row: np.full((5, 9, 1), row, np.uint8)
    found = yardstick.pictures(data, 4)
    assert found.shape == (len(data.table), 1, 4, 4)
    assert (found == torch.arange(len(found)).view(-1, 1, 1, 1)).all()


def test_a_bare_network_learns_within_its_seconds(monkeypatch):
    monkeypatch.setattr("time.perf_counter", itertools.count(0, 1 / 256).__next__)  # a step takes 1/256 s
    torch.manual_seed(0)
    labels = torch.arange(12) % 2
    images = (labels.view(-1, 1, 1, 1) * 200).expand(-1, 1, 64, 64).to(torch.uint8)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    used, seen = yardstick.fit_bare(net, images, labels, yardstick.Plain(), seconds=1, seed=0)
    assert used == 1 + 1 / 256 and seen == 255 * 12
    probabilities = yardstick.predict_bare(net, images)
    assert probabilities.shape == (12, 2) and (probabilities.argmax(1) == labels.numpy()).all()


def test_words_are_told_apart_by_their_keys():
    given = ["rounds=2", "trainer.max_steps=3", "seed=1", "recipes=[default]"]
    options, rest = options_and_recipe(speed.Speed, given)
    assert (options.rounds, options.recipes) == (2, ["default"])
    assert rest == ["trainer.max_steps=3", "seed=1"]
    options, rest = options_and_recipe(yardstick.Yardstick, ["seconds=[150,300]", "seeds=2", "seed=1"])
    assert (options.seconds, options.seeds, rest) == ([150, 300], [2], ["seed=1"])


@pytest.mark.parametrize("word", ["recipes=[mine]", "rounds=0", "steps=many"])
def test_a_wrong_option_is_named(word):
    with pytest.raises(PodiumError, match=word.partition("=")[0]):
        options_and_recipe(speed.Speed, [word])


def test_durations_are_those_of_the_trainer():
    assert yardstick.duration(90061) == "01:01:01:01"
    assert yardstick.duration(600) == "00:00:10:00"


def test_original_is_the_experiment_of_that_name_or_else_its_views(words, tmp_path):
    if not (CONF / "experiment" / "calligraphy_original.yaml").exists():
        assert speed._original(words) == ["views=calligraphy_original"]
    folder.write_text(tmp_path / "conf" / "experiment" / "calligraphy_original.yaml", "seed: 3\n")
    assert speed._original(words) == ["experiment=calligraphy_original"]


def test_markdown_columns_line_up():
    lines = table.markdown([{"a": 1, "long name": None}, {"a": "three", "long name": 0.5}]).splitlines()
    assert lines == [
        "| a     | long name |",
        "| ----- | --------- |",
        "| 1     |           |",
        "| three | 0.5       |",
    ]


def test_the_verb_names_its_benchmarks(capsys):
    assert main(["bench", "competition=calligraphy", "bench=sped"]) == 2
    assert "speed, yardstick" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_distillation_compares_all_rows_on_images_that_no_model_saw(tmp_path, monkeypatch):
    from benchmarks import distillation
    from tests.conftest import toy_composer

    toy_composer(tmp_path)
    write_images(tmp_path / "more", per_class=40)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    words = ["competition=toy", f"--config-dir={tmp_path / 'conf'}", f"data.root={tmp_path / 'more'}"]
    distillation.main([*words, "per_class=16", "choose=8", "trainer.max_epochs=1", "seeds=[0]"])
    (found,) = (tmp_path / "runs" / "bench").iterdir()
    rows = pd.read_csv(found / "distillation.csv").set_index("row")
    assert {"supervised", "+ OHEM", "out-of-fold ensemble", "distilled student", "best blend of ≤ 3"} <= set(
        rows.index
    )
    split = pd.read_csv(found / "split0.csv")
    counts = split["part"].value_counts().to_dict()
    assert (counts["score"], counts["choose"], counts["train"] + counts["valid"]) == (64, 32, 64)
    for file in found.glob("seed0/**/folds.csv"):
        assert pd.read_csv(file).set_index("id")["part"].to_dict() == split.set_index("id")["part"].to_dict()


def test_many_classes_compares_heads_and_times_scores(tmp_path, monkeypatch):
    from benchmarks import many_classes

    monkeypatch.chdir(tmp_path)
    options = ["classes=600", "features=16", "batch=32", "chunk=8", "images=3000", "threads=1"]
    many_classes.main(options)
    (out,) = folder.RUNS.glob("bench/*")
    found = pd.read_csv(out / "many_classes.csv").set_index("what")
    assert list(found.index) == [*many_classes.LEARN, *many_classes.SCORE]
    assert (found["peak MB"] > 0).all() and (found["seconds"] >= 0).all()
    plain, deferred = (found.loc[what, "loss"] for what in many_classes.LEARN)
    assert plain == pytest.approx(deferred, rel=1e-4)
    arrays, written = (found.loc[what, "gap"] for what in many_classes.SCORE)
    assert arrays == pytest.approx(written) and 0 < arrays < 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_at_full_size_deferred_logits_take_half_the_memory_and_scores_are_quick():
    from benchmarks import many_classes

    options = many_classes.ManyClasses()
    plain, deferred = (many_classes.measured(what, options) for what in many_classes.LEARN)
    assert deferred["above MB"] <= plain["above MB"] / 2
    assert deferred["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    for what in many_classes.SCORE:
        found = many_classes.measured(what, options)
        assert found["above MB"] <= 500, found
