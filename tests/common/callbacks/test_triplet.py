"""Batch-hard triplets against a loop and pytorch-metric-learning, and where the features come from."""

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers
from torch import nn
from torch.nn import functional as F

from common.callbacks.triplet import Triplet, batch_hard
from common.errors import PodiumError
from common.model.networks.backbones import timm_model
from common.model.networks.heads import CosineHead, LinearHead
from common.model.step_hooks import StepHooks


def some_batch(count=24, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(count, 6, generator=generator))
    return features, torch.randint(classes, (count,), generator=generator)


def by_hand(features, labels, margin):
    found = []
    for a, label in enumerate(labels):
        to = [float((features[a] - other).norm()) for other in features]
        own = [to[b] for b in range(len(labels)) if labels[b] == label and b != a]
        others = [to[b] for b in range(len(labels)) if labels[b] != label]
        found.append(max(0.0, margin + max(own) - min(others)) if own and others else 0.0)
    return found


@pytest.mark.parametrize(("count", "classes"), [(24, 5), (12, 30), (6, 1), (1, 1)])
@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_it_equals_a_loop_over_the_batch(count, classes, margin):
    features, labels = some_batch(count, classes)
    expected = torch.tensor(by_hand(features, labels, margin))
    torch.testing.assert_close(batch_hard(features, labels, margin), expected, rtol=1e-4, atol=1e-5)


def test_it_equals_pytorch_metric_learning():
    features, labels = some_batch()
    distance = distances.LpDistance(normalize_embeddings=True, p=2)
    triplets = miners.BatchHardMiner(distance=distance)(features, labels)
    theirs = losses.TripletMarginLoss(0.5, distance=distance, reducer=reducers.DoNothingReducer())
    found = theirs(features, labels, triplets)["loss"]
    ours = batch_hard(features, labels, 0.5)
    torch.testing.assert_close(ours[triplets[0]], found["losses"], rtol=1e-4, atol=1e-5)
    assert set(ours.nonzero()[:, 0].tolist()) <= set(triplets[0].tolist())


def test_gradient_is_finite_where_images_are_the_same():
    features = torch.ones(4, 3, requires_grad=True)
    batch_hard(features, torch.tensor([0, 0, 1, 1]), 0.2).sum().backward()
    assert features.grad.isfinite().all()


PLAIN = StepHooks(
    target=lambda batch: batch["label"],
    loss=lambda outputs, target: outputs.float().logsumexp(1),
    reduce=torch.mean,
    probabilities=lambda outputs: outputs,
    predict=lambda images: images,
)  # fmt: skip


class Bare(nn.Sequential):
    """A network that names its classifier, which sees vectors."""

    def get_classifier(self):
        return self[-1]


def networks():
    task = {"num_classes": 4, "in_channels": 3, "image_size": (64, 64)}
    yield Bare(nn.Flatten(), nn.Linear(3 * 64 * 64, 5), nn.Linear(5, 4)), lambda net, x: net[1](net[0](x))
    for head in (LinearHead, CosineHead):
        net = timm_model(
            "test_resnet", head=head, **task
        ).eval()  # batch norm by its statistics, the head as trained
        net.head.train()
        yield net, lambda net, x: net.backbone(x).mean((-2, -1))


@pytest.mark.parametrize(("network", "sees"), list(networks()))
def test_the_features_are_those_that_the_classifier_sees(network, sees):
    callback = Triplet(weight=0.5, margin=0.7)
    callback.listen(network)
    images, labels = torch.rand(8, 3, 64, 64), torch.arange(8) % 3
    features = F.normalize(sees(network, images))
    expected = 0.5 * batch_hard(features, labels, 0.7)
    hooks = callback.step_hooks(PLAIN)
    for target in (labels, 0.6 * F.one_hot(labels, 4) + 0.1):
        outputs = network(images)
        torch.testing.assert_close(hooks.loss(outputs, target) - PLAIN.loss(outputs, target), expected)
    assert callback.features is None  # the graph is let go
    network.eval()(images)
    assert callback.features is None  # nothing is kept of what is only looked at
    callback.teardown(None, None, "fit")
    network.train()(images)
    assert callback.features is None


def test_low_precision_features_are_compared_in_float32():
    network = Bare(nn.Linear(6, 4))
    callback = Triplet(weight=1.0, margin=0.3)
    callback.listen(network)
    features, labels = some_batch()
    zero = PLAIN.loss(torch.zeros(len(labels), 4), labels)
    with torch.autocast("cpu", torch.bfloat16):
        network(features.bfloat16())
        found = callback.step_hooks(PLAIN).loss(torch.zeros(len(labels), 4), labels) - zero
    expected = by_hand(F.normalize(features.bfloat16().float()), labels, 0.3)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Triplet(weight=-1), "callbacks.triplet.weight must be at least 0, got -1"),
        (lambda: Triplet(margin=0), r"callbacks.triplet.margin must be in \(0, 2\], got 0"),
        (
            lambda: Triplet().listen(nn.Linear(2, 2)),
            r"callbacks.triplet: the model does not say .* get_classifier\(\)",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(PodiumError, match=message):
        make()
