import timm
import torch

from common.model.networks.backbone_parts import backbone_of, classifiers_of
from common.model.networks.small_resnet import SmallResNet


def test_the_backbone_is_all_that_the_classifier_is_not():
    for name, size in (
        ("resnet18", 64),
        ("vit_tiny_patch16_224", 224),
        ("regnety_002", 64),
        ("mobilenetv3_small_050", 64),
    ):
        options = {"img_size": size} if name.startswith("vit") else {}
        net = timm.create_model(name, num_classes=3, **options)
        modules, parameters = backbone_of(net)
        (classifier,) = classifiers_of(net)
        assert {*parameters} | {*classifier.parameters()} == {*net.parameters()}
        assert not {*parameters} & {*classifier.parameters()}
        inside = {id(inner) for module in modules for inner in module.modules()}
        assert not inside & {id(inner) for inner in classifier.modules()}
        for module in net.modules():  # all that has statistics is frozen with its module
            if isinstance(module, torch.nn.BatchNorm2d):
                assert id(module) in inside


def test_dropout_before_the_classifier_is_not_of_the_backbone():
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, drop_rate=0.5)
    modules, _ = backbone_of(net)
    assert net.head_drop not in modules and net.norm in modules


def test_a_network_that_names_no_classifier_has_none():
    assert classifiers_of(torch.nn.Sequential(torch.nn.Linear(2, 2))) == []
    net = SmallResNet(num_classes=2, in_channels=1, image_size=(16, 16), widths=(4,), depths=(1,), stem=4)
    assert classifiers_of(net) == [net.head]
