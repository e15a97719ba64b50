"""The baseline's mistaken loss, by its formula, and the accuracy that was reported with it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from competitions.garbage.losses import BinaryOnSoftmax, binary_accuracy
from competitions.garbage.module import GarbageModule
from competitions.garbage.sample import CLASSES
from tests.toys import classifier


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_loss_is_the_mean_over_classes_of_yes_and_no(smoothing, soft):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 5, generator=generator) * 3, torch.tensor([0, 4, 2, 1, 1, 3])
    target = torch.randn(6, 5, generator=generator).softmax(1) if soft else labels
    found = BinaryOnSoftmax(smoothing)(logits, target)
    for row in range(6):
        p = logits[row].softmax(0).tolist()
        t = target[row].tolist() if soft else [float(k == labels[row]) for k in range(5)]
        t = [(1 - smoothing) * share + smoothing / 5 for share in t]
        expected = -sum(a * math.log(b) + (1 - a) * math.log(1 - b) for a, b in zip(t, p, strict=True)) / 5
        assert found[row].item() == pytest.approx(expected, rel=1e-4)


def test_a_certain_mistake_has_a_finite_loss_and_gradient():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = BinaryOnSoftmax()(logits, torch.tensor([1]))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


def test_binary_accuracy_counts_every_answer():
    generator = torch.Generator().manual_seed(1)
    p = (torch.randn(50, 4, generator=generator) * 2).softmax(1)
    labels = torch.randint(4, (50,), generator=generator)
    answers = (p > 0.5) == torch.nn.functional.one_hot(labels, 4).bool()
    found = binary_accuracy(p.argmax(1) == labels, p.amax(1), 4)
    assert found == pytest.approx(answers.float().mean().item())
    assert binary_accuracy(torch.tensor([False]), torch.tensor([0.4]), 40) == 0.975


def module(loss: str) -> GarbageModule:
    model = {"_target_": "common.model.networks.backbones.timm_model", "name": "test_resnet"}
    return classifier(model, 32, 3, loss, GarbageModule, class_names=CLASSES)


def test_the_score_of_the_group_is_by_the_bin_and_the_mistaken_one_only_by_the_mistaken_loss():
    table = pd.DataFrame(
        {"label": [0, 1, 6, 39], "predicted": [0, 5, 5, 38], "probability": np.float32([0.9, 0.6, 0.3, 0.4])}
    )
    scores = module("common.model.losses.CrossEntropy").extra_scores(table)
    assert scores == {"group_top1": 0.75}  # 0→0, 1→5 and 39→38 stay within their group
    wrong = module("competitions.garbage.losses.BinaryOnSoftmax").extra_scores(table)
    assert wrong["binary_accuracy"] == pytest.approx(1 - (0 + 2 + 1 + 1) / 4 / 40)
