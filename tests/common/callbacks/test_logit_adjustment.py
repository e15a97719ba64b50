"""Logit adjustment: its formula, and that it finds what it promises."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.callbacks.logit_adjustment import LogitAdjustment
from common.errors import PodiumError
from common.model import deferred
from common.model.deferred import DeferredLogits
from common.model.margins import ArcFace, NormFace
from common.model.step_hooks import StepHooks

COUNTS = np.array([70, 20, 10, 0])


def entropy(outputs, target):
    logits = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
    return deferred.losses(lambda x, t: F.cross_entropy(x, t, reduction="none"), logits, target)


PLAIN = StepHooks(target=None, loss=entropy, reduce=torch.mean, probabilities=None, predict=None)  # type: ignore[arg-type]


def adjusted(tau: float) -> StepHooks:
    callback = LogitAdjustment(tau)
    callback.count(COUNTS)
    return callback.step_hooks(PLAIN)


@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
def test_it_is_the_formula_of_the_paper(tau):
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    shares = [count / 101 for count in (70, 20, 10, 1)]  # a class without an image counts as one
    expected = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shifted = [x + tau * math.log(share) for x, share in zip(row, shares, strict=True)]
        expected.append(math.log(sum(math.exp(x) for x in shifted)) - shifted[label])
    assert adjusted(tau).loss(logits, labels).tolist() == pytest.approx(expected, rel=1e-4)


def test_leaves_alone_are_adjusted_and_come_first():
    seen = {}
    callback = LogitAdjustment(1.0)
    callback.count(COUNTS)
    hooks = callback.step_hooks(
        StepHooks(
            target=None,
            loss=lambda outputs, target: seen.update(outputs),
            reduce=torch.mean,
            probabilities=None,
            predict=None,
        )  # type: ignore[arg-type]
    )
    outputs = {"leaf": torch.zeros(2, 4), "group": torch.zeros(2, 2)}
    hooks.loss(outputs, torch.tensor([0, 1]))
    assert list(seen) == ["leaf", "group"] and not seen["group"].any() and (seen["leaf"] < 0).all()
    assert not outputs["leaf"].any()


def test_deferred_logits_are_adjusted_alike():
    features, weight, labels = torch.randn(5, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 1, 0])
    hooks = adjusted(1.0)
    torch.testing.assert_close(
        hooks.loss(DeferredLogits(features, weight, chunk=2), labels), hooks.loss(features @ weight.T, labels)
    )


def test_logits_alone_become_blind_to_how_frequent_classes_are():
    """With nothing to see but the class's share, plain training learns log π, adjusted training learns nothing."""
    labels = torch.from_numpy(np.repeat(np.arange(3), COUNTS[:3]))
    callback = LogitAdjustment(1.0)
    callback.count(COUNTS[:3])
    for hooks, expected in ((PLAIN, np.log(COUNTS[:3] / 100)), (callback.step_hooks(PLAIN), np.zeros(3))):
        bias = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.LBFGS([bias], max_iter=100, line_search_fn="strong_wolfe")

        def loss(hooks=hooks, bias=bias, optimizer=optimizer):
            optimizer.zero_grad()
            value = hooks.loss(bias.expand(100, 3), labels).mean()
            value.backward()
            return value

        optimizer.step(loss)
        found = bias.detach().numpy()
        np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-2)


def test_a_negative_tau_is_named():
    with pytest.raises(PodiumError, match=r"callbacks.logit_adjustment.tau must be at least 0, got -1"):
        LogitAdjustment(-1)


def test_a_margin_needs_cosines_and_is_refused():
    module = SimpleNamespace(loss_fn=ArcFace(24.0))
    with pytest.raises(PodiumError, match=r"callbacks.logit_adjustment .* ArcFace"):
        LogitAdjustment().setup(None, module, "fit")
    counted = LogitAdjustment()
    trainer = SimpleNamespace(datamodule=SimpleNamespace(class_counts=COUNTS))
    counted.setup(trainer, SimpleNamespace(loss_fn=NormFace(24.0)), "fit")
    assert len(counted.start) == 4
