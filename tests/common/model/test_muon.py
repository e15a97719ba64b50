"""Muon: orthogonal updates for hidden convolutions, AdamW for the rest."""

import torch
from torch import nn

from common.model.muon import Muon
from common.model.optimizers import build_optimizer, parameter_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.LazyLinear(5)
    )


def ready(**options):
    net = network()
    net(torch.rand(4, 1, 8, 8)).square().mean().backward()
    groups = parameter_groups(net, weight_decay=0.0, lr=options.get("lr", 0.02))
    return net, Muon(groups, weight_decay=0.0, **options)


def test_a_hidden_convolution_moves_by_a_nearly_orthogonal_matrix():
    """The first step of momentum is the gradient itself; its nearest orthogonal matrix is U Vᵀ of its SVD."""
    net, optimizer = ready(lr=0.1)
    before, gradient = net[2].weight.detach().clone(), net[2].weight.grad.clone()
    optimizer.step()
    update = ((before - net[2].weight) / 0.1).reshape(16, -1)
    u, values, vt = torch.linalg.svd(gradient.reshape(16, -1).double(), full_matrices=False)
    clear = values > values.max() / 20  # the iteration lifts tiny directions only in part
    singular = (u[:, clear].T @ update.double() @ vt[clear].T).diagonal()
    assert singular.min() > 0.6 and singular.max() < 1.25


def test_the_rest_moves_as_under_adamw():
    net, optimizer = ready(lr=0.1, adamw_lr=0.01)
    other = network()
    other(torch.rand(4, 1, 8, 8))
    other.load_state_dict(net.state_dict())
    for one, copy in zip(net.parameters(), other.parameters(), strict=True):
        copy.grad = one.grad.clone()
    optimizer.step()
    torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.0).step()
    for name in ("0.weight", "0.bias", "1.weight", "4.weight", "4.bias"):
        torch.testing.assert_close(net.get_parameter(name), other.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_the_part_builds_it_and_a_schedule_scales_both_rates():
    net = network()
    net(torch.rand(1, 1, 8, 8))
    optimizer = build_optimizer({"_target_": "common.model.muon.Muon", "lr": 0.04, "adamw_lr": 0.004}, net)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.5)
    assert schedule.get_last_lr() and {group["lr"] for group in optimizer.param_groups} == {0.02, 0.002}
    hidden = [group for group in optimizer.param_groups if group["use_muon"]]
    assert [tuple(p.shape) for group in hidden for p in group["params"]] == [(16, 8, 3, 3)]
