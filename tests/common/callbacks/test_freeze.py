import pytest
import torch

from common.callbacks.freeze import Freeze
from common.errors import PodiumError
from common.model.small_resnet import SmallResNet


class Module(torch.nn.Module):
    def __init__(self, net=None):
        super().__init__()
        self.net = net or SmallResNet(
            num_classes=3,
            in_channels=1,
            image_size=(16, 16),
            widths=(4, 4),
            depths=(1, 1),
            stem=4,
            dropout=0.5,
        )


def test_the_backbone_is_everything_but_the_classifier():
    module = Module()
    Freeze(["backbone"]).set_learning(module, False)
    assert {name for name, parameter in module.net.named_parameters() if parameter.requires_grad} == {
        "head.1.weight",
        "head.1.bias",
    }
    assert module.net.training and module.net.head[0].training  # dropout goes on
    state = {name: tensor.clone() for name, tensor in module.net.state_dict().items()}
    module.net(torch.rand(4, 1, 16, 16))
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.net.state_dict().items())
    Freeze(["backbone"]).set_learning(module, True)
    assert all(parameter.requires_grad for parameter in module.net.parameters())
    assert all(part.training for part in module.net.modules())


def test_a_network_without_a_named_classifier_has_no_backbone():
    with pytest.raises(PodiumError, match=r"modules: the network does not say .* get_classifier"):
        Freeze(["backbone"]).set_learning(Module(torch.nn.Sequential(torch.nn.Linear(2, 2))), False)
    with pytest.raises(PodiumError, match="no module «stagse»; did you mean «stages»"):
        Freeze(["stagse"]).set_learning(Module(), False)
