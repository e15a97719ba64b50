"""Tau-normalisation against classifiers whose weights are changed by hand, and its place in predicting."""

import pytest
import torch
from torch import nn

from common.callbacks.tau_normalisation import TauNormalisation
from common.errors import PodiumError
from common.model.networks.heads import ConvHead, CosineHead, LinearHead
from common.run.components import load_module, make_data, make_module


class Module(nn.Module):
    class_names = ("a", "b", "c")

    def __init__(self, net):
        super().__init__()
        self.net = net


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 3)),
        LinearHead(8, 3),
        ConvHead(8, 3),
        nn.Linear(8, 3, bias=False),
    ],
    ids=["sequence", "linear head", "convolution", "no bias"],
)
def test_it_equals_a_classifier_with_changed_weights(net, tau):
    features = torch.randn(5, 8, 7, 7) if isinstance(net, LinearHead | ConvHead) else torch.randn(5, 8)
    net.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    TauNormalisation(tau).before_predicting(Module(net))
    found = net(features)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    layer = [one for one in net.modules() if isinstance(one, nn.Linear | nn.Conv2d)][-1]
    layer._forward_hooks.clear()
    with torch.no_grad():
        for row in layer.weight:
            row /= row.norm() ** tau
        if layer.bias is not None:
            layer.bias.zero_()
    torch.testing.assert_close(found, net(features))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TauNormalisation(1.5), r"callbacks.tau_normalisation.tau must be in \[0, 1\], got 1.5"),
        (lambda: TauNormalisation().before_predicting(Module(CosineHead(4, 3))), "the rows of a cosine head"),
        (
            lambda: TauNormalisation().before_predicting(Module(nn.Linear(4, 2))),
            "a row for each of the 3 classes",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(PodiumError, match=message):
        make()


def test_a_checkpoint_is_loaded_with_it_and_stays_as_it_is(toy, tmp_path):
    config = toy("callbacks.tau_normalisation.tau=1.0")
    data = make_data(config, tmp_path / "run")
    data.setup()
    module = make_module(config, data).eval()
    checkpoint = tmp_path / "best.ckpt"
    kept = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    torch.save({**kept, "pytorch-lightning_version": "2.6.6"}, checkpoint)
    images = torch.rand(6, 1, 16, 16)
    plain = load_module({**config, "callbacks": {}}, checkpoint).step_hooks.predict(images)
    found = load_module(config, checkpoint).step_hooks.predict(images)
    torch.testing.assert_close(plain, module(images).softmax(1))
    last = module.net[-1]
    with torch.no_grad():
        logits = (module(images) - last.bias) / last.weight.norm(dim=1)
    torch.testing.assert_close(found, logits.softmax(1))
    assert (plain - found).abs().max() > 1e-3
