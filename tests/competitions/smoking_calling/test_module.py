"""The contest's measure reaches validation, checkpoints' scores and early stopping by name."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from common.task.mean_ap import average_precisions
from common.task.metrics import ValidationMetrics
from competitions.smoking_calling.module import SmokingCallingModule
from tests.toys import classifier

NAMES = ["calling", "normal", "smoking", "smoking_calling"]


@pytest.fixture(scope="module")
def module():
    return classifier(channels=3, kind=SmokingCallingModule, class_names=NAMES)


def test_validation_measures_map_beside_the_others_and_starts_over(module):
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 0])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 8).astype(np.float32)
    metrics = ValidationMetrics(module.task, module.all_measures())
    for _ in range(2):
        for rows in (slice(0, 5), slice(5, 8)):
            metrics.update(torch.tensor(probabilities[rows]), torch.tensor(labels[rows]))
        found = metrics.compute()
        assert list(found) == metrics.names == ["valid_loss", "valid_top1", "valid_map"]
        assert float(found["valid_map"]) == pytest.approx(
            np.nanmean(average_precisions(labels, probabilities.argmax(1), probabilities.max(1), 4))
        )
        metrics.reset()
        assert float(found["valid_top1"]) == pytest.approx((probabilities.argmax(1) == labels).mean())


def test_scores_name_the_classes_leave_absent_ones_empty_and_tell_sources_apart(module):
    table = pd.DataFrame(
        {
            "id": [
                "train/calling/v1_a.jpg",
                "train/normal/v2_b.jpg",
                "train/smoking/c.jpg",
                "train/calling/v2_d.jpg",
            ],
            "label": [0, 1, 2, 0],
            "predicted": [0, 1, 2, 1],
            "probability": [0.7, 0.6, 0.9, 0.7],
        }
    )
    scores = module.extra_scores(table)
    assert scores["average_precision"] == {
        "calling": 0.5, "normal": 0.5, "smoking": 1.0, "smoking_calling": None,
    }  # fmt: skip
    assert scores["map"] == pytest.approx(2 / 3)
    by_source = scores["by_source"]
    assert {source: found["images"] for source, found in by_source.items()} == {"none": 1, "v1": 1, "v2": 2}
    assert by_source["v1"]["map"] == by_source["v1"]["top1"] == 1
    assert by_source["v2"]["average_precision"]["calling"] == 0 and by_source["v2"]["top1"] == 0.5
    json.dumps(scores, allow_nan=False)
