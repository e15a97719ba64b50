"""The recipes: those of the original are its numbers, and every row of its path of scores can be composed."""

import cv2
import numpy as np
import pytest
import timm

from common.callbacks.freeze import Freeze
from common.config.check import check
from common.config.compose import compose
from common.config.layers import search_path
from common.errors import PodiumError
from common.run.components import make_callbacks
from common.run.jobs import jobs_of
from common.sweep.sweep import _row, read_table
from competitions.garbage.pictures import StretchedCentre

EXPERIMENTS = ["cpu", "original", "vgg16", "senet50", "finetuning", "balanced", "self_distillation"]


@pytest.fixture(scope="module")
def recipes():
    return {name: compose([f"experiment=garbage_{name}"]) for name in EXPERIMENTS}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_recipe_fits_the_code(recipes, name):
    check(recipes[name])
    make_callbacks({"callbacks": {key: part for key, part in recipes[name].callbacks.items() if part}})


def test_the_original_has_the_numbers_of_the_contest_entry(recipes):
    original = recipes["original"]
    assert (original.model.name, original.data.batch_size, original.trainer.max_epochs) == (
        "resnet50",
        64,
        40,
    )
    assert (original.optimizer.lr, list(original.optimizer.betas)) == (1e-3, [0.9, 0.999])
    assert original.schedule.decay == pytest.approx(5e-4 * (14802 * 0.9 // 64), rel=0.01)
    assert original.loss.smoothing == 0.05 and original.views.batch == {} and list(original.views.image) == []
    views = {name for name, part in original.callbacks.tta.views.items() if part}
    assert views == {"crops"} and original.callbacks.tta.views.crops.count == 10
    assert (recipes["vgg16"].model.name, recipes["vgg16"].model.dropout) == ("vgg16", 0.5)
    assert recipes["senet50"].model.name == "seresnet50" and recipes["senet50"].optimizer.lr == 1e-3


def test_its_picture_is_the_centre_of_a_stretched_square():
    picture = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    square = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(StretchedCentre()(picture), square[16:240, 16:240])
    with pytest.raises(
        PodiumError, match=r"data.picture.centre must be in 1..100, data.picture.size, got 224"
    ):
        StretchedCentre(size=100)


def test_each_stage_opens_more_of_the_network(recipes):
    stages = recipes["finetuning"].stages
    assert [stages[name].init_from for name in stages] == [None, "dense", "last_five"]
    counts = []
    for name in ("dense", "last_five", "all"):
        module = type("Module", (), {"net": timm.create_model("tf_efficientnet_lite0")})()
        freeze = stages[name].recipe.get("callbacks", {}).get("freeze")
        if freeze:
            Freeze(freeze["modules"], freeze.get("but_last", 0)).set_learning(module, False)
        layers = [part for part in module.net.modules() if hasattr(part, "weight") and part.weight.ndim > 1]
        counts.append(sum(layer.weight.requires_grad for layer in layers))
    assert counts == [1, 6, len(layers)]  # the classifier, five more, all


def test_five_teachers_teach_five_students_of_the_same_folds(recipes):
    stages = recipes["self_distillation"].stages
    assert stages.teacher.folds == stages.student.folds == 5 and stages.student.soft_labels_from == "teacher"
    assert (
        recipes["self_distillation"].model.pretrained == "pip"
        and recipes["self_distillation"].data.score == 0.1
    )


def last_stages(*names, sweep="garbage_path"):
    """Row → the configuration of its last stage, and the names of all its stages."""
    path = search_path([])
    table, file = read_table(path, sweep), path.file("sweep", sweep)
    found = {}
    for name in names or table.rows:
        row = _row(table, name, [], [], file).config
        waves = jobs_of({**row, "data": {**row["data"], "root": "."}})
        found[name] = waves[-1][0].config, [wave[0].stage for wave in waves]
    return found


def loss_of(config):
    return config["loss"]["_target_"].rpartition(".")[2]


def test_the_path_of_scores_begins_with_the_mistaken_loss_and_opens_the_network_step_by_step():
    rows = last_stages("binary", "last_five", "balanced_disk")
    (binary, stages), (_, first_two), (balanced, all_three) = rows.values()
    assert loss_of(binary) == "BinaryOnSoftmax" and stages == ["all"]
    assert binary["callbacks"].get("freeze") is None and binary["model"]["pretrained"] == "pip"
    assert first_two == ["dense", "last_five"] and all_three == ["dense", "last_five", "all"]
    assert balanced["data"]["copies"]["views"] and loss_of(balanced) == "CrossEntropy"


def changed(one, other, at=""):
    """Where two configurations are not the same: dotted keys."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return set() if one == other else {at}
    keys = one.keys() | other.keys()
    return set().union(*(changed(one.get(key), other.get(key), f"{at}.{key}".lstrip(".")) for key in keys))


MARGIN = ("loss", "model._target_", "model.head", "model.dropout", "model.pool", "model.zero_head")
DIFFERENCES = {
    "smoothing": ("loss.smoothing",),
    "normface": MARGIN,
    "arcface": MARGIN,
    "cosface": MARGIN,
    "sphereface": MARGIN,
    "balanced_sampler": ("data.sampling",),
    "balanced_disk": ("data.copies",),
    "crops": ("callbacks.tta",),
    "pyramid": ("callbacks.tta",),
    "distilled": ("callbacks.soft_labels",),
    "group": (
        "callbacks.hierarchical_loss",
        "model._target_",
        "model.levels",
        "model.branch_from",
        "model.head",
    ),
    "mirrored": ("callbacks.tta",),
}


def test_rows_of_the_table_differ_from_plain_by_what_they_are_called():
    rows = {name: config for name, (config, _) in last_stages(sweep="garbage_table").items()}
    plain = rows.pop("plain")
    assert plain["model"]["pool"] is None and rows.keys() == DIFFERENCES.keys()
    modules = dict(timm.create_model("tf_efficientnet_lite0").named_modules())
    assert set(plain["callbacks"]["freeze"]["modules"]) <= set(modules)
    for name, config in rows.items():
        parts = ("data", "views", "model", "loss", "optimizer", "schedule", "callbacks", "trainer")
        keys = set().union(*(changed(plain[part], config[part], part) for part in parts))
        assert keys and all(key.startswith(DIFFERENCES[name]) for key in keys), (name, keys)
        model = config["model"]
        assert (model["head"] if model.get("head") else model)["dropout"] == 0.3


@pytest.mark.slow
def test_every_row_of_the_path_of_scores_is_what_it_says():
    rows = last_stages()
    last = {name: config for name, (config, _) in rows.items()}
    assert {name: loss_of(last[name]) for name in ("categorical", "all", "dense")} == dict.fromkeys(
        ("categorical", "all", "dense"), "CrossEntropy"
    )
    margins = {"normface": "NormFace", "arcface": "ArcFace", "cosface": "CosFace", "sphereface": "SphereFace"}
    assert {name: loss_of(last[name]) for name in margins} == margins
    assert (last["normface"]["loss"]["scale"], last["arcface"]["loss"]["margin"]) == (50, 0.5)
    assert (last["cosface"]["loss"]["margin"], last["sphereface"]["loss"]["margin"]) == (0.35, 1.35)
    heads = {name: last[name]["model"]["head"] for name in ("all", "fused", "group")}
    assert heads["fused"] == heads["group"] == heads["all"]
    assert rows["categorical"][1] == ["all"] and rows["dense"][1] == ["dense"]
    assert all(config["model"]["pretrained"] == "pip" for config in last.values())
    views = {name: make_callbacks(last[name])[0] for name in ("crops", "pyramid")}
    assert [len(view.names) for view in views.values()] == [10, 3]
    assert [round(view.cost, 1) for view in views.values()] == [10, 3.2]
