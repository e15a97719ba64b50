from functools import partial

import pytest
import torch
from torch import nn

from common.model.networks.backbones import timm_model
from common.model.networks.carry_over import Classes, count_carried, rows_by_level, rows_of_tensors
from common.model.networks.heads import ConvHead, CosineHead, LinearHead
from common.model.networks.level_heads import level_model
from common.model.networks.pretrained import load_state
from common.model.networks.small_resnet import SmallResNet

BEFORE = ["ant", "bee", "cat", "dog"]
NOW = ["dog", "elk", "bee"]  # another order, one that is new, two that are gone


def resnet(classes, head=None, size=64):
    return timm_model("resnet18", num_classes=classes, in_channels=1, image_size=(size, size), head=head)


def small(classes):
    return SmallResNet(
        num_classes=classes, in_channels=1, image_size=(16, 16), widths=(4, 4), depths=(1, 1), stem=4
    )


NETS = {  # name → (classes → network, size of its images); hidden layers have as many rows as there are classes now
    "timm's linear layer": (resnet, 64),
    "linear head": (partial(resnet, head=LinearHead), 64),
    "cosine head": (partial(resnet, head=CosineHead), 64),
    "convolution": (partial(resnet, head=partial(ConvHead, hidden=3), size=160), 160),
    "small network": (small, 16),
    "no classifier named": (
        lambda k: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, k)),
        2,
    ),
}


@pytest.mark.parametrize(("make", "size"), NETS.values(), ids=NETS)
def test_a_class_has_the_logit_that_it_had_before(make, size):
    before, now, image = make(4), make(3), torch.rand(2, 1, size, size)
    fresh = {name: tensor.clone() for name, tensor in now.state_dict().items()}
    rows = rows_of_tensors(now, Classes(BEFORE, {}), Classes(NOW, {}))
    loaded = load_state(now, before.state_dict(), "before", rows=rows)
    assert count_carried(rows, loaded.fitted, Classes(NOW, {})) == {"leaf": {"carried": 2, "fresh": 1}}
    with torch.no_grad():
        old, new = before.eval()(image), now.eval()(image)
    torch.testing.assert_close(new[:, [0, 2]], old[:, [3, 1]])
    for name in rows:  # the new class has its own, fresh row
        assert torch.equal(now.state_dict()[name][1], fresh[name][1])


def test_the_same_classes_in_another_order_are_not_taken_by_position():
    before, now = small(4), small(4)
    order = [2, 0, 3, 1]
    classes = Classes([BEFORE[label] for label in order], {})
    loaded = load_state(
        now, before.state_dict(), "before", rows=rows_of_tensors(now, Classes(BEFORE, {}), classes)
    )
    assert not loaded.left_out and not loaded.missing
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(now.eval()(image), before.eval()(image)[:, order])


def test_coarser_classes_are_told_by_their_leaves():
    """Insects and mammals swap their numbers, birds are new: brute force over all pairs of leaves."""
    before = Classes(["ant", "bee", "cat"], {"order": [0, 0, 1], "kind": [0, 0, 0]})
    now = Classes(["owl", "cat", "bee", "dog"], {"order": [0, 1, 2, 1], "other": [0, 0, 1, 1]})
    rows = rows_by_level(before, now)
    assert {level: found.tolist() for level, found in rows.items()} == {
        "leaf": [-1, 2, 1, -1],
        "order": [-1, 1, 0],
    }


def test_every_level_of_a_network_has_its_own_rows():
    make = partial(level_model, "resnet18", in_channels=1, image_size=(64, 64))
    before = Classes(["ant", "bee", "cat"], {"order": [0, 0, 1]})
    now = Classes(["cat", "bee"], {"order": [0, 1]})
    old = make(num_classes=3, level_sizes={"order": 2}).eval()
    new = make(num_classes=2, level_sizes={"order": 2}).eval()
    rows = rows_of_tensors(new, before, now)
    load_state(new, old.state_dict(), "before", rows=rows)
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        was, found = old(image), new(image)
    torch.testing.assert_close(found["leaf"], was["leaf"][:, [2, 1]])
    torch.testing.assert_close(found["order"], was["order"][:, [1, 0]])


def test_a_head_of_another_kind_carries_nothing():
    before, now = resnet(4), resnet(3, head=ConvHead, size=160)
    rows = rows_of_tensors(now, Classes(BEFORE, {}), Classes(NOW, {}))
    loaded = load_state(now, before.state_dict(), "before", rows=rows)
    assert count_carried(rows, loaded.fitted, Classes(NOW, {})) == {"leaf": {"carried": 0, "fresh": 3}}
