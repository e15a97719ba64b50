"""Margin losses against their formulas in double precision, and against pytorch-metric-learning."""

import math
from functools import partial

import pytest
import torch
from pytorch_metric_learning import losses as metric_losses
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor, nn

from common.config.check import check
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from common.model.losses import CrossEntropy
from common.model.margins import ArcFace, CosFace, NormFace, SphereFace, sine
from common.model.networks.backbones import timm_model
from common.model.networks.heads import CosineHead
from tests import toys

SCALE = 16.0
LOSSES = [
    ArcFace(SCALE),
    ArcFace(SCALE, margin=1.2, smoothing=0.1),
    ArcFace(SCALE, easy=True),
    CosFace(SCALE),
    CosFace(SCALE, margin=0.1, smoothing=0.2),
    SphereFace(SCALE),
    SphereFace(SCALE, margin=4),
    NormFace(SCALE),
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
LABELS = torch.tensor([0, 3, 2, 1, 1, 0])


def some_cosines(seed: int = 0) -> Tensor:
    return torch.rand(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def some_probabilities() -> Tensor:
    return (some_cosines(1) * 3).softmax(-1)


def reduced_by_hand(loss, cos: float) -> float:
    """ψ as in the papers, by the angle."""
    theta = math.acos(cos)
    if isinstance(loss, ArcFace):
        if loss.easy:
            return math.cos(theta + loss.margin) if theta < math.pi / 2 else cos
        past = theta + loss.margin > math.pi
        return cos - loss.margin * math.sin(loss.margin) if past else math.cos(theta + loss.margin)
    if isinstance(loss, CosFace):
        return cos - loss.margin
    if isinstance(loss, SphereFace):
        k = math.floor(loss.margin * theta / math.pi)
        return (-1) ** k * math.cos(loss.margin * theta) - 2 * k
    return cos


def loss_by_hand(loss, cosines: Tensor, target: Tensor) -> list[float]:
    values = []
    for row, t in zip(cosines.tolist(), target.tolist(), strict=True):
        if isinstance(t, int):
            t = [float(k == t) for k in range(len(row))]
        logits = [
            SCALE * (cos + share * (reduced_by_hand(loss, cos) - cos))
            for cos, share in zip(row, t, strict=True)
        ]
        total = math.log(sum(math.exp(x) for x in logits))
        t = [(1 - loss.smoothing) * share + loss.smoothing / len(row) for share in t]
        values.append(-sum(share * (x - total) for share, x in zip(t, logits, strict=True)))
    return values


@every_loss
@pytest.mark.parametrize("target", [LABELS, some_probabilities()], ids=["labels", "probabilities"])
def test_loss_is_its_formula_for_each_sample(loss, target):
    cosines = some_cosines()
    expected = torch.tensor(loss_by_hand(loss, cosines, target), dtype=torch.float64)
    torch.testing.assert_close(loss.train()(SCALE * cosines, target), expected)
    torch.testing.assert_close(loss(SCALE * cosines.float(), target), expected.float(), rtol=1e-4, atol=1e-4)


@every_loss
def test_label_is_a_probability_of_one(loss):
    logits = SCALE * some_cosines()
    torch.testing.assert_close(loss.train()(logits, LABELS), loss(logits, torch.eye(4)[LABELS].double()))


@every_loss
def test_margin_is_in_training_only(loss):
    logits = SCALE * some_cosines()
    plain = CrossEntropy(loss.smoothing)(logits, LABELS)
    torch.testing.assert_close(loss.eval()(logits, LABELS), plain, rtol=0, atol=0)
    assert type(loss) is NormFace or (loss.train()(logits, LABELS) > plain + 0.1).any()


@pytest.mark.parametrize("loss", [one for one in LOSSES if type(one) is not NormFace], ids=str)
def test_the_nearer_the_better_and_never_better_than_without_margin(loss):
    cos = torch.linspace(0, math.pi, 2001, dtype=torch.float64).cos()  # falling
    reduced = loss.reduced(cos)
    assert (reduced <= cos + 1e-3).all()
    if not (isinstance(loss, ArcFace) and loss.easy):  # which jumps up at a right angle
        assert (reduced.diff() < 1e-3).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_is_finite_at_the_ends(loss, dtype):
    cos = torch.tensor([[1.0, -1, 0, 1], [-1, 1, 1, -1], [1, 1, 1, 1]], dtype=dtype)
    for target in (torch.tensor([0, 0, 3]), torch.full((3, 4), 0.25)):
        logits = (SCALE * cos).requires_grad_()
        loss.train()(logits, target).sum().backward()
        assert logits.grad.isfinite().all()


@every_loss
def test_gradient_is_that_of_finite_differences(loss):
    logits = (SCALE * some_cosines()).requires_grad_()
    assert torch.autograd.gradcheck(partial(loss.train(), target=some_probabilities()), logits)


def test_sine_is_that_of_the_angle():
    theta = torch.linspace(0.01, 3.13, 100)
    torch.testing.assert_close(sine(theta.cos()), theta.sin(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "other"),
    [
        (
            ArcFace(SCALE, margin=0.5),
            partial(metric_losses.ArcFaceLoss, margin=math.degrees(0.5), scale=SCALE),
        ),
        (
            ArcFace(SCALE, margin=1.3),
            partial(metric_losses.ArcFaceLoss, margin=math.degrees(1.3), scale=SCALE),
        ),
        (CosFace(SCALE, margin=0.35), partial(metric_losses.CosFaceLoss, margin=0.35, scale=SCALE)),
        # there the length of the features is the scale
        (SphereFace(SCALE, margin=4), partial(metric_losses.SphereFaceLoss, margin=4, scale=1)),
        (NormFace(SCALE), partial(metric_losses.NormalizedSoftmaxLoss, temperature=1 / SCALE)),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_head_and_loss_equal_pytorch_metric_learning(loss, other):
    torch.manual_seed(0)
    features = torch.randn(40, 5)
    if isinstance(loss, SphereFace):
        features = SCALE * nn.functional.normalize(features)
    features.requires_grad_()
    labels = torch.arange(40) % 7
    head = CosineHead(5, 7, scale=SCALE)
    ours = loss.train()(head(features[:, :, None, None]), labels)
    theirs = other(num_classes=7, embedding_size=5, reducer=DoNothingReducer())
    with torch.no_grad():
        theirs.W.copy_(head.fc.weight.T)
    expected = theirs(features, labels)["loss"]["losses"]
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    found = torch.autograd.grad(ours.sum(), [features, head.fc.weight])
    wanted = torch.autograd.grad(expected.sum(), [features, theirs.W])
    if not isinstance(loss, SphereFace):  # whose own gradient goes through the length too
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(found[1], wanted[1].T, rtol=1e-2, atol=1e-2)


def test_low_precision_logits_are_computed_in_float32():
    logits = (SCALE * some_cosines()).bfloat16()
    for loss in (ArcFace(SCALE).train(), SphereFace(SCALE).train()):
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(loss(logits, LABELS), loss(logits.float(), LABELS), rtol=0, atol=0)


def classifier(model, loss) -> ImageClassifier:
    model = {"_target_": "common.model.networks.backbones.timm_model", "name": "test_resnet", **model}
    return toys.classifier(model, 32, loss=loss)


ARCFACE = {"_target_": "common.model.margins.ArcFace", "scale": 24.0}
HEAD = {"head": {"_target_": "common.model.networks.heads.CosineHead", "scale": 24.0}}


def test_the_rows_of_the_classes_are_in_the_checkpoint_and_the_margin_is_not_in_predictions():
    module = classifier(HEAD, ARCFACE).train()
    assert module.state_dict()["net.head.fc.weight"].shape[0] == 4
    assert not any(name.startswith("loss_fn") for name in module.state_dict())
    batch = {"image": torch.rand(3, 1, 32, 32), "label": torch.tensor([0, 1, 3])}
    training = module.training_step(batch, 0).item()
    module.eval()
    with torch.no_grad():
        logits = module(batch["image"])
        assert logits.abs().max() <= 24.001
        torch.testing.assert_close(module.predict_step(batch, 0), logits.softmax(1))
        plain = float(CrossEntropy()(logits, batch["label"]).mean())
    assert training > plain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: classifier({}, ARCFACE),
            "ArcFace needs a network with a cosine head: choose model=timm_cosine",
        ),
        (
            lambda: classifier(HEAD, {**ARCFACE, "scale": 30.0}),
            "loss.scale must be the head's, 24.0, got 30.0",
        ),
        (lambda: ArcFace(2.0)(torch.tensor([[1.0, -2.5]]), torch.tensor([0])), "reach from -2.5 to 1.0"),
        (lambda: ArcFace(32, margin=28.6), r"loss.margin must be an angle in \[0, 1.57\] radians, got 28.6"),
        (lambda: CosFace(32, margin=-0.1), r"loss.margin must be in \[0, 1\], got -0.1"),
        (
            lambda: SphereFace(32, margin=0.5),
            "loss.margin must be at least 1, the factor of the angle, got 0.5",
        ),
        (lambda: CosineHead(4, 3, scale=0), "model.head.scale must be above 0, got 0"),
        (
            lambda: timm_model("test_vit", num_classes=3, in_channels=3, image_size=(160, 160), **HEAD),
            "not a map",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(PodiumError, match=message):
        make()


@pytest.mark.parametrize("name", ["arcface", "cosface", "sphereface", "normface"])
def test_a_loss_takes_its_scale_from_the_head(name, toy):
    config = toy(f"loss={name}", "model=timm_cosine", "model.head.scale=20")
    assert config["loss"]["scale"] == 20
    check(config)


def test_a_scale_that_no_head_has_is_named(toy):
    wanted = "conf/loss/arcface.yaml: loss.scale is taken from model.head.scale, which is not there"
    with pytest.raises(PodiumError, match=wanted):
        toy("loss=arcface")


@pytest.mark.parametrize("scale", [1.0, 8.22, 20.0])
def test_without_a_scale_normalised_features_are_never_sure_however_long_they_are_trained(scale):
    """40 classes, features of one's own for each: the bound of NormFace, its proposition 2, is reached, and no more.

    With scale 1, where logits are plain cosines, a class that is found without fail still has no more than 7 %.
    """
    torch.manual_seed(0)
    classes = 40
    head, features = CosineHead(64, classes, scale=scale), nn.Parameter(torch.randn(classes, 64, 1, 1))
    optimizer = torch.optim.Adam([features, *head.parameters()], lr=0.05)
    labels = torch.arange(classes)
    for _ in range(300):
        optimizer.zero_grad()
        loss = NormFace(scale)(head(features), labels).mean()
        loss.backward()
        optimizer.step()
    bound = math.log1p((classes - 1) * math.exp(-scale * classes / (classes - 1)))
    assert bound <= loss.item() + 1e-6 and loss.item() <= 1.05 * bound + 0.01
    probabilities = head(features).softmax(1)
    assert (probabilities.argmax(1) == labels).all()
    sure = probabilities.diagonal().max().item()
    if scale == 1:
        assert sure < 0.07 and loss > 2.6
    else:
        assert sure > (0.98 if scale < 10 else 0.999)
