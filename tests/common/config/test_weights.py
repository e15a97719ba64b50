"""Pictures are prepared as the pretrained weights want it, unless somebody says otherwise."""

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from PIL import Image as Pil
from timm.data import create_transform, resolve_data_config

from common.config.compose import compose, compose_with_sources
from common.config.weights import demanded, otherwise
from common.model.classifier import ImageClassifier
from common.run.jobs import jobs_of
from common.train.train import train, with_weights

NETWORKS = [
    "resnet50.a1_in1k", "resnet50.fb_swsl_ig1b_ft_in1k", "vit_base_patch16_224.augreg_in21k", "inception_v3.tf_in1k",
    "vit_base_patch16_clip_224.openai", "tf_efficientnet_b0.ap_in1k", "mobilenetv3_small_050.lamb_in1k",
    "convnext_tiny.fb_in22k", "swin_tiny_patch4_window7_224.ms_in1k", "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "mixer_b16_224.goog_in21k", "nfnet_l0.ra2_in1k", "densenet121.tv_in1k",
]  # fmt: skip


def words(name: str, *further: str) -> list[str]:
    return ["competition=garbage", "model=timm", f"model.name={name}", "model.pretrained=hub", *further]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("source", ["hub", "weights.safetensors"])
def test_mean_std_and_interpolation_are_timms(name, source):
    expected = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    config = compose(words(name, f"model.pretrained={source}"))
    assert config.module.mean == pytest.approx(expected["mean"])
    assert config.module.std == pytest.approx(expected["std"])
    assert config.data.interpolation == expected["interpolation"]
    assert otherwise(config, demanded(config)) == []


def test_the_networks_differ_in_what_they_want():
    assert len({str(demanded({"model": {"name": name, "pretrained": "hub"}})) for name in NETWORKS}) >= 4


def test_without_weights_nothing_is_said_of_them():
    for some in (
        ["competition=garbage"],
        ["competition=garbage", "model=timm"],
        ["experiment=garbage_original"],
    ):
        composed = compose_with_sources([*some, "model.pretrained=none"])
        assert "the pretrained weights" not in composed.sources.values()


def test_what_is_chosen_wins_and_is_said():
    config = compose(words("resnet50.a1_in1k", "module.mean=[0.4]", "data.interpolation=area"))
    assert config.module.mean == [0.4] and config.data.interpolation == "area"
    assert config.module.std == pytest.approx([0.229, 0.224, 0.225])
    said = otherwise(config, demanded(config))
    assert [line.split("=")[0] for line in said] == ["module.mean", "data.interpolation"]
    assert "0.485" in said[0] and "bicubic" in said[1]
    strokes = compose(
        ["competition=calligraphy", "model=timm", "model.pretrained=hub"]
    )  # its file has a mean of its own
    assert strokes.module.mean == [0.3]
    assert otherwise(strokes, demanded(strokes))[0].startswith("module.mean=")
    same = compose(words("vit_base_patch16_224.augreg_in21k", "module.mean=[0.5]"))
    assert otherwise(same, demanded(same)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tf_efficientnet_b0_ap", "tf_efficientnet_b0.ap_in1k"),
        ("vit_base_patch16_224_in21k", "vit_base_patch16_224.augreg_in21k"),
        ("convnext_tiny_in22ft1k", "convnext_tiny.fb_in22k_ft_in1k"),
    ],
)
def test_a_name_that_timm_has_renamed_is_that_of_its_weights(old, new):
    assert timm.is_model(old)  # so a network of this name is built, with the weights of the new one
    wanted = demanded({"model": {"name": new, "pretrained": "hub"}})
    assert wanted and demanded({"model": {"name": old, "pretrained": "hub"}}) == wanted


def test_grey_pictures_have_one_mean_and_std():
    config = compose(words("resnet50.a1_in1k", "data.channels=1"))
    assert config.module.mean == pytest.approx([np.mean([0.485, 0.456, 0.406])])
    assert config.module.std == pytest.approx([np.mean([0.229, 0.224, 0.225])])


@pytest.mark.parametrize(
    ("further", "mean"),
    [
        (["model=efficientnet_b4", "model.pretrained=hub"], [0.485, 0.456, 0.406]),
        (["model=efficientnet_b4", "model.pretrained=hub", "model.advprop=true"], [0.5] * 3),
        (["model=efficientnet_lite0", "model.pretrained=pip"], [0.5] * 3),
        (["model=timm_levels", "model.name=resnet18", "model.pretrained=hub"], [0.485, 0.456, 0.406]),
    ],
    ids=str,
)
def test_other_sources_of_weights_are_known_too(further, mean):
    assert compose(["competition=garbage", *further]).module.mean == pytest.approx(mean)


def test_a_stage_with_other_weights_has_its_own(tmp_path):
    stages = "stages={plain: {}, fine: {recipe: {model: {pretrained: hub}}}}"
    composed = compose_with_sources(["competition=garbage", "model=timm", stages])
    assert "mean" not in composed.stages["plain"].config.module
    assert composed.stages["fine"].config.module.mean == pytest.approx([0.485, 0.456, 0.406])
    assert composed.config.stages["fine"].recipe["module"]["mean"] == pytest.approx([0.485, 0.456, 0.406])


def test_weights_of_ones_own_run_bring_what_they_were_trained_by(toy, tmp_path, capsys):
    began = ["module.mean=[0.2]", "module.std=[0.3]", "data.interpolation=bilinear"]
    train(toy(*began, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"))
    checkpoint = tmp_path / "run" / "jobs" / "train_fold0" / "best.ckpt"
    further = ["model._target_=tests.toys.Begun", f"+model.pretrained={checkpoint}", "trainer.max_epochs=1"]
    further = [word.lstrip("+") for word in further]
    train(toy(*further, "module.std=[0.4]", f"run_dir={tmp_path / 'further'}"))
    module = torch.load(tmp_path / "further" / "jobs" / "train_fold0" / "best.ckpt", weights_only=True)[
        "hyper_parameters"
    ]
    assert module["mean"] == [0.2] and module["std"] == [0.4]
    assert module["preprocessing"]["interpolation"] == "bilinear"
    assert "module.std=[0.4] is taken" in capsys.readouterr().out


BEGAN = ["module.mean=[0.2]", "module.std=[0.3]", "data.interpolation=bilinear"]


@pytest.fixture(scope="module")
def began(toy_module, tmp_path_factory):
    """The folder of a run whose pictures were prepared otherwise than by default."""
    run = tmp_path_factory.mktemp("began") / "run"
    return train(toy_module(*BEGAN, "trainer.max_epochs=1", f"run_dir={run}"))


def prepared_as(config):
    return config["module"].get("mean"), config["module"].get("std"), config["data"].get("interpolation")


@pytest.mark.parametrize("begin", ["init_from run", "init_from file", "recipe", "renamed", "earlier stage"])
def test_each_stage_is_prepared_as_the_weights_that_it_begins_from(toy_module, began, tmp_path, begin):
    checkpoint = began / "jobs" / "train_fold0" / "best.ckpt"
    words, stages = (
        ["model._target_=tests.toys.Begun"],
        f"{{recipe: {{model: {{pretrained: {checkpoint}}}}}}}",
    )
    if begin.startswith("init_from"):
        words, stages = [], f"{{init_from: {began if begin.endswith('run') else checkpoint}}}"
    if begin == "renamed":
        (tmp_path / "weights.pt").write_bytes(checkpoint.read_bytes())
        stages = stages.replace(str(checkpoint), str(tmp_path / "weights.pt"))
    if begin == "earlier stage":
        words, stages = [], "{init_from: plain}"
        words.append(
            "stages.plain.recipe={module: {mean: [0.2], std: [0.3]}, data: {interpolation: bilinear}}"
        )
    waves = with_weights(jobs_of(toy_module(*words, f"stages={{plain: {{}}, fine: {stages}}}", *words[-1:])))
    plain, fine = (wave[0].config for wave in waves)
    assert prepared_as(fine) == ([0.2], [0.3], "bilinear")
    assert begin == "earlier stage" or prepared_as(plain) == (None, None, None)


def test_a_stage_that_says_one_value_keeps_the_others_of_its_weights(toy_module, began, capsys):
    words = ["model._target_=tests.toys.Begun", f"model.pretrained={began}/jobs/train_fold0/best.ckpt"]
    waves = with_weights(jobs_of(toy_module(*words, "stages={a: {}, b: {recipe: {module: {std: [0.7]}}}}")))
    assert [prepared_as(wave[0].config)[:2] for wave in waves] == [([0.2], [0.3]), ([0.2], [0.7])]
    assert capsys.readouterr().out.count("module.std=[0.7] is taken") == 1


def test_weights_that_are_only_measured_see_pictures_as_they_were_trained(toy_module, began, capsys):
    """Mean and std come with the checkpoint, so nothing is said of them."""
    ((job,),) = with_weights(jobs_of(toy_module(f"weights_from={began}", "module.mean=[0.9]")))
    assert prepared_as(job.config) == ([0.9], None, "bilinear")
    assert "module.mean" not in capsys.readouterr().out


def test_a_checkpoint_of_others_is_what_timm_says_of_its_network(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / "theirs.ckpt")
    config = compose(words("resnet50", f"model.pretrained={tmp_path / 'theirs.ckpt'}"))
    ((job,),) = with_weights(jobs_of({**OmegaConf.to_container(config), "data": {"root": "."}}))
    assert job.config["module"]["mean"] == pytest.approx([0.485, 0.456, 0.406])


def test_colour_weights_make_one_mean_for_grey_pictures(toy_module, began, tmp_path):
    content = torch.load(began / "jobs" / "train_fold0" / "best.ckpt", weights_only=True)
    content["hyper_parameters"] |= {"mean": [0.1, 0.2, 0.6], "std": [0.2, 0.3, 0.4]}
    torch.save(content, tmp_path / "colour.ckpt")
    stage = f"stages={{a: {{init_from: {tmp_path / 'colour.ckpt'}}}}}"
    ((job,),) = with_weights(jobs_of(toy_module(stage)))
    assert prepared_as(job.config)[:2] == ([0.3], [0.3])


@pytest.mark.parametrize(
    "name", ["resnet50.a1_in1k", "vit_base_patch16_clip_224.openai", "inception_v3.tf_in1k"]
)
def test_the_network_sees_what_timms_own_transform_makes(name):
    """Of a picture that needs no resizing; and the checkpoint holds it."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    config = compose(words(name))
    module = ImageClassifier(
        model={"_target_": "tests.toys.Straight"}, loss={"_target_": "common.model.losses.CrossEntropy"},
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.1}, schedule=None, class_names=["a", "b"],
        preprocessing={"size": [64, 64], "channels": 3, "fit": "stretch", "pad_value": 0, "interpolation": "area"},
        mean=list(config.module.mean), std=list(config.module.std),
    )  # fmt: skip
    seen = []
    module.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    module(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
    wanted = resolve_data_config(
        {"input_size": (3, 64, 64), "crop_pct": 1.0}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
    )
    torch.testing.assert_close(
        seen[0][0], create_transform(**wanted)(Pil.fromarray(picture)), atol=1e-5, rtol=1e-5
    )
    assert module.hparams["mean"] == pytest.approx(wanted["mean"])
