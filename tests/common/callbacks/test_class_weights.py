"""Class weights against the paper's formula, one class and one image at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.callbacks.class_weights import ClassWeights, effective_number_weights
from common.errors import PodiumError
from common.model.step_hooks import StepHooks

COUNTS = np.array([500, 40, 1, 0, 3_000_000])


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.99999])
def test_weights_are_the_inverse_of_the_effective_numbers(beta):
    numbers = [sum(beta**k for k in range(max(1, n))) for n in COUNTS[:4].tolist()] + [1 / (1 - beta)]
    expected = [1 / number for number in numbers]
    expected = [weight * len(COUNTS) / sum(expected) for weight in expected]
    assert effective_number_weights(COUNTS, beta).tolist() == pytest.approx(expected, rel=1e-6)


def test_beta_of_one_is_inverse_frequency_and_its_limit():
    weights = effective_number_weights(COUNTS, 1.0)
    np.testing.assert_allclose(weights * np.maximum(COUNTS, 1), weights[2])
    assert weights.sum() == pytest.approx(len(COUNTS))
    np.testing.assert_allclose(effective_number_weights(COUNTS, 1 - 1e-12), weights, rtol=1e-4)


def test_each_loss_is_weighed_by_its_class_and_soft_targets_by_the_mean():
    plain = StepHooks(
        target=None,
        loss=lambda outputs, target: outputs.sum(1),
        reduce=torch.mean,
        probabilities=None,
        predict=None,
    )  # type: ignore[arg-type]
    callback = ClassWeights(0.99)
    callback.count(COUNTS)
    hooks = callback.step_hooks(replace(plain))
    weights = effective_number_weights(COUNTS, 0.99)
    outputs, labels = torch.rand(4, 5), torch.tensor([0, 2, 1, 4])
    losses = outputs.sum(1).tolist()
    expected = [loss * weights[label] for loss, label in zip(losses, labels, strict=True)]
    assert hooks.loss(outputs, labels).tolist() == pytest.approx(expected, rel=1e-5)
    soft = torch.rand(4, 5).softmax(1)
    expected = [
        loss * sum(float(t) * w for t, w in zip(row, weights, strict=True))
        for loss, row in zip(losses, soft, strict=True)
    ]
    assert hooks.loss(outputs, soft).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beta", [-0.1, 1.5, float("nan")])
def test_a_beta_outside_its_range_is_named(beta):
    with pytest.raises(PodiumError, match=r"callbacks.class_weights.beta must be in \[0, 1\]"):
        ClassWeights(beta)
