"""The recipes: they fit the code, the original's has its numbers and networks, and its views run on photographs."""

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf

from common.build import build
from common.config.check import check
from common.config.compose import compose
from common.config.layers import search_path
from common.data.augmentation.image_views import ImageViews
from common.model.networks.backbones import output_shape, timm_model
from common.run.components import make_callbacks
from common.run.jobs import jobs_of
from common.sweep.sweep import _row, read_table
from competitions.aliproducts.module import AliproductsModule

NETWORKS = ["res2net50d", "resnest101e", "legacy_senet154", "senet154"]


@pytest.fixture(scope="module")
def original():
    config = compose(["experiment=aliproducts_original"])
    check(config)
    return config


def test_the_original_has_the_numbers_of_the_contest_entry(original):
    assert (original.model.name, original.model.pretrained) == ("res2net50d", "hub")
    assert list(original.data.size) == [224, 224] and original.data.fit == "pad"
    optimizer = original.optimizer
    assert optimizer._target_ == "torch.optim.Adam" and (optimizer.lr, optimizer.weight_decay) == (1e-3, 0)
    schedule = original.schedule
    assert (list(schedule.boundaries), list(schedule.factors), schedule.unit) == (
        [4, 8],
        [1, 0.5, 0.25],
        "epoch",
    )
    assert (original.data.batch_size, original.trainer.max_epochs, original.loss.smoothing) == (96, 10, 0)
    assert list(original.module.mean) == [0.485, 0.456, 0.406]


def test_the_originals_views_draw_from_the_key_alone_and_keep_the_size():
    views = ImageViews(
        list(compose(["experiment=aliproducts_original", "views=products_original"]).views.image)
    )
    picture = np.random.default_rng(0).integers(1, 256, (90, 60, 3), np.uint8)
    forward = [views(picture, key) for key in range(40)]
    backward = [views(picture, key) for key in reversed(range(40))][::-1]
    np.testing.assert_array_equal(forward, backward)
    plain = sum(np.array_equal(view, picture) for view in forward)
    black = sum(bool((view[0, 0] == 0).all()) for view in forward)  # a turned corner
    assert 3 <= plain <= 20 and 10 <= black <= 30  # a quarter is as it was, half are turned


@pytest.mark.parametrize("name", ["aliproducts_cpu", "aliproducts_original"])
def test_the_recipes_fit_the_code(name):
    config = compose([f"experiment={name}"])
    check(config)
    make_callbacks({"callbacks": {name: part for name, part in config.callbacks.items() if part}})
    if config.callbacks.freeze:
        parts = dict(timm.create_model(config.model.name).named_modules())
        assert set(config.callbacks.freeze.modules) <= set(parts) and config.model.pretrained == "pip"


def task(classes: int = 7) -> dict:
    return {"num_classes": classes, "in_channels": 3, "image_size": (224, 224)}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_entrys_networks_are_there(name):
    with torch.device("meta"):
        model = timm_model(name, **task())
    assert output_shape(model, (2, 3, 224, 224)) == (2, 7)


def test_res2net50d_is_the_entrys_v1b_with_a_deep_stem_and_pooled_shortcuts():
    with torch.device("meta"):
        model = timm_model("res2net50d", **task())
    assert [conv.kernel_size for conv in model.conv1 if isinstance(conv, torch.nn.Conv2d)] == [(3, 3)] * 3
    block = model.layer2[0]
    assert (
        isinstance(block.downsample[0], torch.nn.AvgPool2d) and len(block.convs) == 3
    )  # four scales, one passed on
    assert (
        block.convs[0].in_channels == 52 and model.num_features == 2048
    )  # 26 wide, doubled in the second stage


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["res2net50d", "resnest101e", "legacy_senet154"])
def test_one_training_step_at_224_pixels(name):
    config = compose(["experiment=aliproducts_original", f"model.name={name}", "model.pretrained=none"])
    parts = {key: dict(config[key]) for key in ("model", "loss", "optimizer")}
    shape = {"size": [224, 224], "channels": 3, "fit": "pad", "pad_value": 0, "interpolation": "bilinear"}
    torch.manual_seed(0)
    module = AliproductsModule(**parts, schedule=None, class_names=list("abcdefg"), preprocessing=shape)
    for part in module.net.modules():
        if isinstance(part, torch.nn.BatchNorm2d) and not part.weight.any():
            # the last of a block begins with 0: nothing would reach those before it
            torch.nn.init.ones_(part.weight)
    optimizer = torch.optim.SGD(module.net.parameters(), lr=1e-3)
    before = {key: value.clone() for key, value in module.net.named_parameters()}
    batch = {"image": torch.rand(2, 3, 224, 224), "label": torch.tensor([1, 5])}
    loss = module.train().training_step(batch, 0)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    same = [key for key, value in module.net.named_parameters() if torch.equal(value, before[key])]
    assert not same


@pytest.mark.parametrize("model", ["timm_cosine", "timm_levels"])
def test_the_pretrained_recipe_freezes_the_same_layers_behind_heads_of_ours(model):
    words = [f"model={model}", "model.name=tf_efficientnet_lite0"]
    config = compose(["experiment=aliproducts_cpu", *words])
    check(config)
    network = {
        **OmegaConf.to_container(config.model),
        "num_classes": 3,
        "in_channels": 3,
        "image_size": (64, 64),
    }
    if model == "timm_levels":
        network |= {"level_sizes": {"level1": 2}, "zero_head": True}
    module = torch.nn.Module()
    module.net = build(network)
    build(OmegaConf.to_container(config.callbacks.freeze)).set_learning(module, False)
    frozen = [name for name, parameter in module.net.named_parameters() if not parameter.requires_grad]
    assert frozen and {name.split(".")[1] for name in frozen} == {"conv_stem", "bn1", "blocks"}


def test_every_row_of_the_table_is_what_it_says():
    path = search_path([])
    table, file = read_table(path, "aliproducts_table"), path.file("sweep", "aliproducts_table")
    rows = {name: _row(table, name, [], [], file).config for name in table.rows}
    assert table.baseline == "plain" and rows["plain"]["model"]["pretrained"] == "pip"
    assert rows["hierarchy"]["callbacks"]["hierarchical_loss"] and rows["hierarchy"]["model"]["zero_head"]
    assert rows["arcface"]["loss"]["_target_"].endswith("ArcFace")
    assert rows["gc"]["optimizer"]["centralize_gradients"] == "all"
    assert rows["scratch"]["model"]["_target_"].endswith("SmallResNet")
    staged = jobs_of({**rows["staged"], "data": {**rows["staged"]["data"], "root": "."}})
    (head, opened), names = [wave[0].config for wave in staged], [wave[0].stage for wave in staged]
    assert names == ["head", "open"] and opened["job"]["init_from"] == "head"
    assert head["callbacks"]["freeze"]["modules"] == ["backbone"]
    assert opened["callbacks"]["freeze"] == rows["plain"]["callbacks"]["freeze"]
    same_epochs = rows.keys() - {"staged", "scratch"}  # the small network's epochs are a quarter as long
    assert {rows[name]["trainer"]["max_epochs"] for name in same_epochs} == {4}
    assert {tuple(rows[name]["data"]["size"]) for name in rows.keys() - {"scratch"}} == {(128, 128)}
    assert head["trainer"]["max_epochs"] + opened["trainer"]["max_epochs"] == 4
