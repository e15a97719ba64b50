"""One's own folder: what is taken below the competition's file, and that anything chosen by hand wins."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from common.config.compose import compose_with_sources, layers
from common.config.layers import search_path
from common.config.own import FOLDER_DATA, VIEWS, Facts, own_layers

SCRATCH = Facts(pretrained=False, views="strokes")


@pytest.fixture
def composed(tmp_path):
    """(words, facts, text of the competition's file) → the composition of one's own folder."""
    for folder in ("competition", "experiment"):
        (tmp_path / folder).mkdir()

    def composed(*words: str, facts: Facts = Facts(), file: str = "", experiment: str | None = None):  # noqa: B008
        root = "" if "data:" in file else "data: {root: /data/flowers}\n"
        (tmp_path / "competition" / "flowers.yaml").write_text(root + file)
        if experiment is not None:
            (tmp_path / "experiment" / "mine.yaml").write_text(experiment)
            words = ("experiment=mine", *words)
        return compose_with_sources(["competition=flowers", *words], [tmp_path], facts)

    return composed


def plain(composed, *words: str) -> dict:
    """What conf/train.yaml alone makes of these words: a data class that is nobody's own folder gets nothing else."""
    of_another = composed("data._target_=some.Data", "data.size=[128,128]", *words)
    assert of_another.open == frozenset()
    values = OmegaConf.to_container(of_another.config)
    values["data"] |= {"_target_": FOLDER_DATA, "near_duplicates": True, "turned_duplicates": True}
    return values


def test_a_root_alone_is_a_whole_recipe(composed):
    own = composed()
    assert own.open == {"size", "views", "weights"}
    assert (own.config.data.size, own.sources["data.size"]) == ([128, 128], "conf/own/pictures.yaml")
    assert (own.config.model.name, own.config.model.pretrained) == ("tf_efficientnet_lite0", "pip")
    assert own.sources["model.pretrained"] == "conf/own/pretrained.yaml"
    assert own.config.optimizer.backbone_lr_scale < 1


def test_mirrored_pictures_are_copies_unless_they_are_strokes(composed):
    for own, turned in [
        (composed(facts=Facts(views="photos")), True),
        (composed(facts=Facts(views="light")), True),
        (composed(facts=Facts(views="strokes")), False),
        (composed("views=strokes", facts=Facts(views="photos")), False),
        (composed("data.turned_duplicates=true", facts=Facts(views="strokes")), True),
    ]:
        assert own.config.data.near_duplicates and own.config.data.turned_duplicates == turned


@pytest.mark.parametrize("views", VIEWS)
def test_the_pictures_choose_the_views(composed, views):
    by_pictures = composed(facts=Facts(views=views)).config.views
    assert by_pictures == composed(f"views={views}").config.views
    assert ("flip" in by_pictures.batch) == (
        views == "photos"
    )  # strokes, and what is not clear, are not mirrored


@pytest.mark.parametrize(
    "words",
    [
        ["model=resnet18"],
        ["model.name=resnet50"],
        ["model._target_=my.Net"],
        ["model.pretrained=none"],
        ["model=timm"],
    ],
)
def test_a_network_by_hand_leaves_nothing_of_the_pretrained_recipe(composed, words):
    own = composed(*words, "views=none")
    assert OmegaConf.to_container(own.config) == plain(composed, *words, "views=none")
    assert own.open == {"size"}


def test_weights_that_cannot_be_had_leave_the_network_of_the_root(composed):
    own = composed("views=none", facts=SCRATCH).config
    assert OmegaConf.to_container(own) == plain(composed, "views=none")


@pytest.mark.parametrize(
    "group", ["loss=focal", "optimizer=sgd", "schedule=constant", "model=efficientnet_b4"]
)
def test_a_part_that_is_swapped_is_as_its_own_file_has_it(composed, group):
    name = group.partition("=")[0]
    assert composed(group).config[name] == plain(composed, group)[name]


BY_HAND = {
    "data": {"size": [32, 48], "batch_size": 7},
    "optimizer": {"lr": 0.5, "backbone_lr_scale": 1.0},
    "loss": {"smoothing": 0.0},
    "schedule": {"warmup": 0.0},
    "model": {"dropout": 0.9, "pretrained": "my.pt"},
    "trainer": {"max_epochs": 3},
}


@pytest.mark.parametrize("facts", [Facts(), SCRATCH])
def test_values_by_hand_win_wherever_they_are_given(composed, facts):
    of_file = BY_HAND | {"data": {"root": "/data/flowers", **BY_HAND["data"]}}
    words = [f"{part}.{key}={value}" for part, values in BY_HAND.items() for key, value in values.items()]
    for own in (
        composed(*words, facts=facts),
        composed(facts=facts, experiment=yaml.safe_dump(BY_HAND)),
        composed(facts=facts, file=yaml.safe_dump(of_file)),
    ):
        values = OmegaConf.to_container(own.config)
        assert {part: {key: values[part][key] for key in given} for part, given in BY_HAND.items()} == BY_HAND


def test_a_file_of_weights_begins_the_pretrained_recipe_and_asks_for_no_package(composed):
    own = composed("model.pretrained=my.pt", facts=SCRATCH)
    assert "weights" not in own.open
    ours, packaged = (
        OmegaConf.to_container(own.config),
        OmegaConf.to_container(composed("views=strokes").config),
    )
    assert ours["model"].pop("pretrained") == "my.pt" and packaged["model"].pop("pretrained") == "pip"
    assert ours == packaged


@pytest.mark.parametrize(
    ("words", "still_open"),
    [
        (["views=none"], False),
        (["views.batch.move={_target_: common.data.augmentation.batch_views.Affine, shift: 0.1}"], False),
        (["views.image=[{Fliplr: 0.5}]"], False),
        (["views.batch.flip=null"], True),  # of the chosen ones, one is switched off
    ],
)
def test_views_by_hand_are_the_only_ones(composed, words, still_open):
    own = composed(*words, facts=Facts(views="photos"))
    assert ("views" in own.open) == still_open
    if still_open:
        assert own.config.views.batch.flip is None and own.config.views.batch.crop is not None
    else:
        assert own.config.views == plain(composed, *words)["views"]


def test_a_stage_with_a_network_of_its_own_has_nothing_of_the_recipe(composed):
    stages = """
stages:
  large: {}
  small:
    recipe:
      defaults: [override /model: resnet18]
"""
    own = composed("views=none", file=stages)
    assert "weights" in own.open
    assert own.stages["large"].config.model.pretrained == "pip"
    small, expected = own.stages["small"].config, plain(composed, "views=none")
    assert {key: small[key] for key in ("model", "optimizer", "loss", "schedule", "data")} == {
        key: expected[key] for key in ("model", "optimizer", "loss", "schedule", "data")
    }


def test_competitions_with_a_data_class_get_nothing():
    path = search_path([])
    competitions = path.options("competition")
    assert competitions
    for name in competitions:
        assert own_layers(path, layers(path, [f"competition={name}"]), Facts()) == ([], frozenset())


def test_own_files_are_found_from_anywhere(composed, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert composed().config.model.pretrained == "pip"
