"""A graph says what its models say, in any batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.callbacks.tta import TTA, Pyramid, RandomCrops
from common.config.compose import compose
from common.deliver.exported import KEYS, Exported
from common.deliver.graph import PixelsToProbabilities, trace, write_onnx, write_program
from common.run.components import load_module, make_data, make_module
from common.run.members import Member
from common.run.predictor import Ensemble

ROOT = Path(__file__).parents[3]
COMPETITIONS = sorted(path.stem for path in (ROOT / "conf" / "competition").glob("*.yaml"))


def about(module) -> dict:
    """Metadata as `export` writes them."""
    values = (
        1,
        "toy",
        "run",
        "one model",
        module.class_names,
        module.preprocessing,
        {},
        None,
        {"draw": False},
        False,
    )
    return dict(zip(KEYS, values, strict=True))


def pixels(preprocessing, count: int) -> np.ndarray:
    size = (count, *preprocessing["size"], preprocessing["channels"])
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def as_onnx(modules, folder, mean="arithmetic") -> Exported:
    program = trace(PixelsToProbabilities(modules, mean), modules[0].preprocessing)
    write_onnx(program, folder / "model.onnx", about(modules[0]))
    return Exported(folder / "model.onnx", threads=1)


@pytest.fixture(scope="module")
def job(run):
    return run / "jobs" / "train_fold0"


@pytest.fixture(scope="module")
def module(run, job):
    from common.run import folder

    return load_module({**folder.load_config(job), "callbacks": {}}, job / "best.ckpt")


def test_a_graph_has_no_layout_of_memory_and_the_model_keeps_its_own(module):
    before, module.memory_format = module.memory_format, torch.channels_last
    program = trace(PixelsToProbabilities([module]), module.preprocessing)
    assert module.memory_format == torch.channels_last and "channels_last" not in str(program.graph)
    module.memory_format = before


def test_graphs_take_any_batch_and_say_what_the_checkpoint_says(module, tmp_path):
    program = trace(PixelsToProbabilities([module]), module.preprocessing)
    write_program(program, tmp_path / "model.pt2", about(module))
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    onnx = as_onnx([module], tmp_path)
    for count in (1, 2, 5, 33):
        images = pixels(module.preprocessing, count)
        with torch.inference_mode():
            floats = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
            expected = module.net((floats - 0.5) / 0.5).softmax(dim=1).numpy()
            program_says = loaded(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(program_says, expected, atol=1e-5)
        np.testing.assert_allclose(onnx.probabilities(images), expected, atol=1e-5)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_views_and_the_mean_over_members_are_inside(job, mean, tmp_path):
    ensemble = Ensemble(mean, [Member(job), Member(job, "last.ckpt")], tta=True)
    for module in ensemble.modules[1:]:
        torch.nn.init.normal_(module.net[-1].weight)  # members that agree would hide the mean
    images = pixels(ensemble.preprocessings[0], 4)
    expected = ensemble.probabilities([images])
    graph = as_onnx(ensemble.modules, tmp_path, mean)
    np.testing.assert_allclose(graph.probabilities(images), expected, atol=1e-5)
    plain = Ensemble(mean, [Member(job)], tta=False).probabilities([images])
    assert np.abs(expected - plain).max() > 1e-2


def test_crops_and_sizes_are_inside(module, tmp_path):
    views = {"crops": RandomCrops(3, share=0.75), "sizes": Pyramid([0.75, 1.0, 1.25])}
    images = pixels(module.preprocessing, 3)
    with torch.inference_mode():
        floats = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
        seen = [view for several in views.values() for view in several(floats)]
        expected = sum(module.net((view - 0.5) / 0.5).softmax(dim=1) for view in seen) / 6
    module.compose([TTA(views)])
    try:
        graph = as_onnx([module], tmp_path)
    finally:
        module.compose([])
    np.testing.assert_allclose(graph.probabilities(images), expected.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("competition", COMPETITIONS)
def test_the_default_network_of_each_competition_has_a_graph(competition, tmp_path):
    config = compose([f"competition={competition}", f"data.root={tmp_path}"])
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(config)
    if "pretrained" in config["model"]:
        config["model"]["pretrained"] = "none"
    torch.manual_seed(0)
    data = make_data(config, tmp_path)
    data.class_names = [f"类{number}" for number in range(40)]
    module = make_module(config, data).eval()
    images = pixels(module.preprocessing, 3)
    images[1] = images[1] // 4  # dark
    images[2] = 255 - images[2] // 4  # light
    graph = as_onnx([module], tmp_path)
    with torch.inference_mode():
        floats = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
        expected = module.step_hooks.predict(floats).numpy()
    spread = np.ptp(expected, axis=0).max()
    for batch in (images[:1], images):
        found = graph.probabilities(batch)
        assert np.abs(found - expected[: len(batch)]).max() <= 1e-3 * spread
    assert graph.class_names == data.class_names and graph.preprocessing == module.preprocessing
