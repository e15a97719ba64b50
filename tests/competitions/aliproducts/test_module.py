"""GAP and the mean accuracy over classes, at every level, in validation and from stored predictions."""

import numpy as np
import pandas as pd
import pytest
import torch

from common.task.metrics import ValidationMetrics
from competitions.aliproducts.module import AliproductsModule
from tests.toys import classifier

LEVELS = {"level2": [0, 0, 1, 1, 2], "level1": [0, 0, 0, 0, 1]}


@pytest.fixture
def module():
    return classifier(channels=3, kind=AliproductsModule, class_names=list("abcde"), levels=LEVELS)


def naive_gap(right, confidence):
    """By the definition, for confidences that all differ."""
    order = sorted(range(len(right)), key=lambda n: -confidence[n])
    hits, total = 0, 0.0
    for place, n in enumerate(order, start=1):
        hits += bool(right[n])
        total += hits / place * bool(right[n])
    return total / len(right)


def some_predictions():
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 60, p=[0.6, 0.2, 0.1, 0.1, 0.0])  # a class without images
    probabilities = rng.dirichlet(np.ones(5), 60)
    probabilities[np.arange(60), labels] += rng.uniform(0, 1, 60)
    return labels, (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)


def test_validation_measures_gap_and_class_accuracy_over_the_whole_pass(module):
    labels, probabilities = some_predictions()
    metrics = ValidationMetrics(module.task, module.all_measures())
    for part in np.array_split(np.arange(60), 7):
        metrics.update(torch.from_numpy(probabilities[part]), torch.from_numpy(labels[part]))
    found = {name: float(value) for name, value in metrics.compute().items()}
    predicted = probabilities.argmax(axis=1)
    assert found["valid_gap"] == pytest.approx(naive_gap(predicted == labels, probabilities.max(axis=1)))
    recalls = [(predicted[labels == label] == label).mean() for label in range(4)]
    assert found["valid_class_accuracy"] == pytest.approx(np.mean(recalls))
    assert set(found) <= set(metrics.names)


def test_stored_predictions_score_the_same_and_at_every_level(module):
    labels, probabilities = some_predictions()
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    scores = module.extra_scores(
        pd.DataFrame({"label": labels, "predicted": predicted, "probability": confidence})
    )
    assert scores["gap"] == pytest.approx(naive_gap(predicted == labels, confidence))
    assert scores["mean_error"] == pytest.approx(1 - scores["class_accuracy"])
    for level, parents in LEVELS.items():
        right = np.asarray(parents)[predicted] == np.asarray(parents)[labels]
        assert scores["levels"][level]["top1"] == right.mean()
        assert scores["levels"][level]["gap"] == pytest.approx(naive_gap(right, confidence))
    metrics = ValidationMetrics(module.task, module.all_measures())
    metrics.update(torch.from_numpy(probabilities), torch.from_numpy(labels))
    for name, value in metrics.compute().items():  # whatever may choose has its score, by one name
        if name not in ("valid_loss", "valid_top1", "valid_top5"):
            assert scores[name.removeprefix("valid_")] == pytest.approx(float(value), rel=1e-5), name
