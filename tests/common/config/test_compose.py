"""Layers, choices and the rules of composition."""

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import common
from common.config.compose import compose, compose_layers, compose_with_sources, layers
from common.config.layers import Layer, search_path
from common.errors import PodiumError
from tests.common.config.sample_conf import Conf

# Layers ----------------------------------------------------------------


def test_each_layer_wins_over_those_below(conf: Conf) -> None:
    conf.write("competition/plain", "{}")
    conf.write("competition/own", "optimizer: {lr: 0.2}")
    conf.write("experiment/fast", "optimizer: {lr: 0.3}")
    conf.write("experiment/faster", "optimizer: {lr: 0.4}")
    words = ["competition=own", "experiment=[fast,faster]", "optimizer.lr=0.5"]
    rates = [conf.compose("competition=plain"), *(conf.compose(*words[:n]) for n in (1, 2, 3))]
    assert [config.optimizer.lr for config in rates] == [0.001, 0.2, 0.4, 0.5]


def test_a_later_experiment_wins_and_a_later_word_wins(conf: Conf) -> None:
    conf.write("experiment/a", "seed: 1")
    conf.write("experiment/b", "seed: 2")
    assert conf.compose("experiment=[b,a]").seed == 1
    assert conf.compose("experiment=b", "seed=3", "seed=4").seed == 4


def test_files_of_the_defaults_list_come_before_the_file_itself(conf: Conf) -> None:
    conf.write("experiment/base", "{seed: 1, model: {width: 9}}")
    conf.write("experiment/child", "{defaults: [base, _self_], seed: 2}")
    config = conf.compose("experiment=child")
    assert (config.seed, config.model.width, list(config.experiment)) == (2, 9, ["child"])


def test_a_file_that_leads_back_to_itself_is_refused(conf: Conf) -> None:
    conf.write("experiment/a", "defaults: [b]")
    conf.write("experiment/b", "defaults: [a]")
    with pytest.raises(PodiumError, match=r"conf/experiment/a.yaml: its defaults lead back to itself"):
        conf.compose("experiment=a")


@pytest.mark.parametrize("file", ["loss/cross_entropy", "competition/plain", "experiment/own"])
def test_a_file_that_has_changed_is_read_again(conf: Conf, file: str) -> None:
    for name in ("competition/plain", "experiment/own"):
        conf.write(name, "{}")
    seen = []
    for number in (0.25, 0.75):  # of one length
        part = f"_target_: paper.parts.CrossEntropy, smoothing: {number}"
        conf.write(file, f"{{{part}}}" if file.startswith("loss") else f"loss: {{{part}}}")
        seen.append(conf.compose("competition=plain", "experiment=own").loss.smoothing)
    assert seen == [0.25, 0.75]


def test_an_experiment_may_name_its_competition_but_not_contradict_the_command_line(conf: Conf) -> None:
    conf.write("experiment/shop_only", "competition: shop")
    assert compose(["experiment=shop_only"], [conf.folder]).competition == "shop"
    with pytest.raises(
        PodiumError, match=r"shop_only.yaml is made for competition=shop, got competition=brush"
    ):
        conf.compose("competition=brush", "experiment=shop_only")


def test_a_group_file_may_build_on_another_option(conf: Conf) -> None:
    assert conf.compose("model=large").model == {"_target_": "paper.parts.Net", "width": 64}


def test_own_folders_come_before_podiums(tmp_path: Path, conf: Conf) -> None:
    mine = tmp_path / "我的 设置, 1"
    (mine / "competition").mkdir(parents=True)
    (mine / "loss").mkdir()
    (mine / "competition" / "mine.yaml").write_text("seed: 7")
    (mine / "loss" / "focal.yaml").write_text("{_target_: my.Focal}")
    config = compose(["competition=mine", "loss=focal"], [mine, conf.folder])
    assert (config.seed, config.loss) == (7, {"_target_": "my.Focal"})


def test_interpolations_are_resolved_to_plain_values(conf: Conf) -> None:
    config = conf.compose("data.side=${data.size.0}", "run_dir=runs/${competition}")
    assert (config.data.side, config.run_dir) == (32, "runs/brush")
    assert "${" not in OmegaConf.to_yaml(config)


def test_the_composed_configuration_refuses_unknown_keys_and_wrong_types(conf: Conf) -> None:
    config = conf.compose()
    with pytest.raises(Exception, match="max_epoch"):
        config.trainer.max_epoch = 3
    with pytest.raises(Exception, match="could not be converted"):
        config.trainer.max_epochs = "three"


def test_composing_the_saved_configuration_of_a_run_changes_nothing(conf: Conf) -> None:
    from common.config.typed import typed

    config = conf.compose("competition=shop", "views=flips", "callbacks.ohem={}")
    saved = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(config)))
    assert typed(saved) == config


# Swapping a part ----------------------------------------------------------------


def plain_hydra(conf: Conf, recipe: str, *overrides: str) -> DictConfig:
    """What Hydra alone makes of a recipe that is appended to the defaults list, as its manual advises."""
    conf.write("recipe", f"# @package _global_\n{recipe}")
    text = (conf.folder / "train.yaml").read_text().replace("  - _self_", "  - _self_\n  - recipe")
    conf.write("plain", text)
    with initialize_config_dir(str(conf.folder), version_base="1.3"):
        return hydra_compose("plain", list(overrides))


def test_parameters_for_the_old_part_do_not_survive_a_swap_though_in_plain_hydra_they_do(conf: Conf) -> None:
    recipe = "loss: {smoothing: 0.1}"
    conf.write("experiment/smooth", recipe)
    assert conf.compose("experiment=smooth").loss == {
        "_target_": "paper.parts.CrossEntropy",
        "smoothing": 0.1,
    }
    assert conf.compose("experiment=smooth", "loss=focal").loss == {
        "_target_": "paper.parts.Focal",
        "gamma": 2.0,
    }
    assert "smoothing" in plain_hydra(conf, recipe, "loss=focal").loss


def test_a_recipes_parameters_for_its_own_choice_survive(conf: Conf) -> None:
    assert conf.compose("competition=shop").loss == {"_target_": "paper.parts.Focal", "gamma": 3.0}


def test_swapping_back_gives_the_part_as_its_file_has_it(conf: Conf) -> None:
    conf.write("competition/plain", "{}")
    conf.write("experiment/entropy", "{defaults: [override /loss: cross_entropy], loss: {smoothing: 0.3}}")
    words = ["competition=shop", "experiment=entropy"]
    assert conf.compose(*words).loss == {"_target_": "paper.parts.CrossEntropy", "smoothing": 0.3}
    plain = conf.compose("competition=plain", "loss=focal").loss
    assert (
        conf.compose(*words, "loss=focal").loss
        == conf.compose("competition=shop", "loss=focal").loss
        == plain
    )


def test_values_on_the_command_line_apply_to_the_part_chosen_in_the_end(conf: Conf) -> None:
    for words in (["loss=focal", "loss.gamma=5"], ["loss.gamma=5", "loss=focal"]):
        assert conf.compose(*words).loss == {"_target_": "paper.parts.Focal", "gamma": 5}


def test_swapping_the_views_drops_a_recipes_batch_views(conf: Conf) -> None:
    conf.write("experiment/noisy", "views: {batch: {noise: {sigma: 0.3}}}")
    assert conf.compose("experiment=noisy").views.batch.noise.sigma == 0.3
    swapped = conf.compose("experiment=noisy", "views=flips").views.batch
    assert (swapped.mixup.alpha, swapped.noise) == (0.4, None)


def test_choices_are_recorded(conf: Conf) -> None:
    choices = conf.compose("competition=shop", "model=large", "schedule=null").choices
    assert choices == {
        "model": "large",
        "loss": "focal",
        "optimizer": "adam",
        "views": "none",
        "trainer": "auto",
    }


def test_a_null_choice_leaves_no_part(conf: Conf) -> None:
    assert conf.compose("schedule=null").schedule is None


def test_the_trainer_is_no_part_so_a_recipes_settings_survive_its_presets(conf: Conf) -> None:
    conf.write("experiment/clipped", "trainer: {gradient_clip_val: 0.5, accelerator: gpu}")
    trainer = conf.compose("experiment=clipped", "trainer=cpu").trainer
    assert (trainer.gradient_clip_val, trainer.accelerator, trainer.devices) == (0.5, "cpu", 1)


def test_only_the_preset_chosen_in_the_end_counts(conf: Conf) -> None:
    conf.write("experiment/on_cpu", "defaults: [override /trainer: cpu]")
    trainer = conf.compose("experiment=on_cpu", "trainer=quick").trainer
    assert (trainer.devices, trainer.max_epochs) == ("auto", 1)


# The rules of merging (see test_merge), from files and words -------------------------------------------


def test_a_bound_on_the_command_line_lifts_the_recipes(conf: Conf) -> None:
    trainer = conf.compose("competition=shop", "trainer=quick", "trainer.max_time=00:00:10:00").trainer
    assert (trainer.max_epochs, trainer.max_steps, trainer.max_time) == (None, None, "00:00:10:00")


def test_a_run_without_an_end_is_refused_unless_it_is_a_trial_run(conf: Conf) -> None:
    with pytest.raises(PodiumError, match="training has no end"):
        conf.compose("trainer.max_epochs=null")
    assert conf.compose("trainer.max_epochs=null", "trainer.fast_dev_run=2").trainer.fast_dev_run == 2


def test_named_parts_are_switched_on_and_off(conf: Conf) -> None:
    conf.write("experiment/hard", "callbacks: {ohem: {keep: 0.3}, freeze: {}}")
    words = ["experiment=hard", "callbacks.ohem.start=1", "callbacks.freeze=null", "logger.tensorboard={}"]
    config = conf.compose(*words)
    assert config.callbacks == {
        "ohem": {"_target_": "paper.parts.OHEM", "keep": 0.3, "start": 1},
        "freeze": None,
    }
    assert config.logger == {"tensorboard": {"_target_": "paper.parts.Board"}}


def test_batch_views_are_named_parts_in_the_order_of_their_set(conf: Conf) -> None:
    batch = conf.compose("views=flips", "views.batch.noise.sigma=0.5").views.batch
    assert list(batch.items()) == [
        ("mixup", {"_target_": "paper.parts.Mixup", "alpha": 0.4, "share": 1.0}),
        ("noise", {"_target_": "paper.parts.Noise", "sigma": 0.5}),
    ]


# Values ----------------------------------------------------------------


def test_a_single_item_of_a_list_can_be_set(conf: Conf) -> None:
    assert conf.compose("views=flips", "views.image.0.p=0.1").views.image == [
        {"_target_": "paper.parts.Flip", "p": 0.1}
    ]
    assert conf.compose("data.size.1=48").data.size == [32, 48]


def test_paths_arrive_as_they_were_written(conf: Conf) -> None:
    paths = ["/photos/my cat", "/数据/书法", "/a=b/c", "~/photos (2)"]
    quoted = {"'/图片, 2026/a=b'": "/图片, 2026/a=b", r"'/it\'s'": "/it's", "''": ""}
    words = [f"data.p{i}={word}" for i, word in enumerate([*paths, *quoted])]
    data = conf.compose(*words).data
    assert [data[f"p{i}"] for i in range(len(words))] == [*paths, *quoted.values()]


# For callers ----------------------------------------------------------------


def test_sources_tell_where_each_key_was_set(conf: Conf) -> None:
    conf.write("experiment/e", "{seed: 3, callbacks: {ohem: {keep: 0.3}}}")
    words = ["competition=brush", "experiment=e", "model.width=3"]
    sources = compose_with_sources(words, [conf.folder]).sources
    assert sources["seed"] == "conf/experiment/e.yaml"
    assert sources["loss.smoothing"] == "conf/competition/brush.yaml"
    assert sources["model.width"] == "command line"
    assert sources["optimizer"] == "conf/optimizer/adam.yaml"
    assert sources["trainer.max_epochs"] == "conf/train.yaml"
    assert sources["callbacks.ohem"] == "conf/callbacks/ohem.yaml"
    assert sources["callbacks.ohem.keep"] == "conf/experiment/e.yaml"


def test_a_caller_may_put_a_layer_of_its_own_on_top(conf: Conf) -> None:
    path = search_path([conf.folder])
    stage = Layer("stage 2", {"loss": "focal"}, {"trainer": {"max_steps": 7}})
    config = compose_layers(path, [*layers(path, ["competition=brush"]), stage]).config
    assert config.loss == {"_target_": "paper.parts.Focal", "gamma": 2.0}
    assert (config.trainer.max_steps, config.trainer.max_epochs) == (7, None)


ROOT_CONF = Path(common.__file__).parents[1] / "conf"
RECIPES = sorted(path.stem for path in (ROOT_CONF / "experiment").glob("*.yaml"))
SWAPPED = ("model", "optimizer", "schedule", "loss", "views")


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_option_chosen_by_hand_is_that_option_whole_also_where_the_recipe_had_chosen_it(recipe):
    """Nothing of what the recipe said for the part is left; words of the command line are."""
    words = ["competition=garbage"] if recipe == "self_distillation" else []
    words.append(f"experiment={recipe}")
    chosen = compose(words).choices
    last = {group: sorted(path.stem for path in (ROOT_CONF / group).glob("*.yaml"))[-1] for group in SWAPPED}
    for options in ({group: chosen.get(group) for group in SWAPPED}, last):
        expected = {}
        for group, option in options.items():
            file = OmegaConf.load(ROOT_CONF / group / f"{option}.yaml") if option else {"defaults": []}
            if "defaults" not in file and "${" not in OmegaConf.to_yaml(file):
                expected[group] = OmegaConf.to_container(file)
        if "views" in expected:
            expected["views"] = {"image": [], "batch": {}} | expected["views"]
        config = compose([*words, *(f"{group}={options[group]}" for group in expected)])
        assert {group: OmegaConf.to_container(config[group], resolve=True) for group in expected} == expected


def test_what_recipes_said_goes_and_what_stands_above_the_choice_stays():
    assert not compose(["experiment=smoking_calling_original", "views=none"]).views.image
    plain = OmegaConf.load(ROOT_CONF / "optimizer" / "sgd.yaml")
    config = compose(["experiment=hccr_original", "optimizer=sgd", "optimizer.momentum=0.5"])
    assert OmegaConf.to_container(config.optimizer) == OmegaConf.to_container(plain) | {"momentum": 0.5}
