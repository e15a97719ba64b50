"""The graph that serves a run says what the run says, or there is none."""

import numpy as np
import pytest
import torch
from torch import nn

from common.run.predictor import Ensemble
from common.serve.graphed import graphed


@pytest.fixture
def ensemble(run):
    return Ensemble.of_run(run)


def pixels(ensemble, count: int) -> np.ndarray:
    (preprocessing,) = ensemble.preprocessings
    size = (count, *preprocessing["size"], preprocessing["channels"])
    return np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)


def test_it_answers_any_batch_as_the_models_do_views_included(ensemble):
    batches = [pixels(ensemble, count) for count in (1, 3, 16)]
    expected = [ensemble.probabilities([images]) for images in batches]
    graph = graphed(ensemble, 1)
    for images, says in zip(batches, expected, strict=True):
        np.testing.assert_allclose(graph([images]), says, atol=1e-5)
        np.testing.assert_allclose(ensemble.probabilities([images]), says, atol=1e-6)  # left as they were


class Asks(nn.Module):
    """A layer that looks at values, which no graph can."""

    def forward(self, images):
        return images if images.mean() > 0 else -images


class Differs(nn.Module):
    """A layer that is another one in a graph."""

    def forward(self, images):
        return -images if torch.compiler.is_compiling() else images


@pytest.mark.parametrize(("layer", "why"), [(Asks(), "data-dependent"), (Differs(), "something else")])
def test_what_has_no_graph_or_a_wrong_one_is_told_and_served_by_its_layers(ensemble, layer, why, caplog):
    module = ensemble.modules[0]
    module.net = nn.Sequential(layer, module.net)
    assert graphed(ensemble, 1) is None
    assert "no graph" in caplog.text and why in caplog.text


def test_pictures_prepared_in_two_ways_have_no_graph(ensemble):
    ensemble.preprocessings.append({**ensemble.preprocessings[0], "fit": "pad"})
    assert graphed(ensemble, 1) is None
