import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor

import common
from common.errors import PodiumError
from common.model.losses import CrossEntropy, Focal, KLDivergence, SoftCrossEntropy, least, smoothed

LOSSES = [
    CrossEntropy(),
    CrossEntropy(smoothing=0.1),
    SoftCrossEntropy(),
    SoftCrossEntropy(temperature=3.0),
    KLDivergence(),
    KLDivergence(smoothing=0.1),
    Focal(),
    Focal(gamma=0.5, alpha=[0.5, 1.0, 2.0, 1.0], smoothing=0.1),
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


def some_logits(seed: int = 0) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) * 3


def some_probabilities(seed: int = 1) -> Tensor:
    return some_logits(seed).softmax(-1)


LABELS = torch.tensor([0, 3, 2, 1, 1, 0])


def softmax(row: list[float]) -> list[float]:
    exps = [math.exp(x) for x in row]
    return [e / sum(exps) for e in exps]


def loss_by_hand(loss, logits: Tensor, target: Tensor) -> list[float]:
    """The formulas of the docstrings, one sample and one class at a time."""
    values = []
    for row, t in zip(logits.tolist(), target.tolist(), strict=True):
        if isinstance(t, int):
            t = [float(k == t) for k in range(len(row))]
        alpha = getattr(loss, "alpha", None)
        weight = 1.0 if alpha is None else sum(x * w for x, w in zip(t, alpha.tolist(), strict=True))
        s = getattr(loss, "smoothing", 0.0)
        t = [(1 - s) * x + s / len(row) for x in t]
        temperature = getattr(loss, "temperature", 1.0)
        p = softmax([x / temperature for x in row])
        value = 0.0
        for k in range(len(row)):
            term = -t[k] * math.log(p[k])
            if isinstance(loss, KLDivergence) and t[k] > 0:
                term += t[k] * math.log(t[k])
            if isinstance(loss, Focal):
                term *= (1 - p[k]) ** loss.gamma
            value += term
        values.append(value * temperature**2 * weight)
    return values


@every_loss
@pytest.mark.parametrize("target", [LABELS, some_probabilities()], ids=["labels", "probabilities"])
def test_loss_is_its_formula_for_each_sample(loss, target):
    logits = some_logits()
    torch.testing.assert_close(loss(logits, target), torch.tensor(loss_by_hand(loss, logits, target)))


@every_loss
def test_label_is_a_probability_of_one(loss):
    one_hot = torch.eye(4)[LABELS]
    torch.testing.assert_close(loss(some_logits(), LABELS), loss(some_logits(), one_hot))


@every_loss
def test_gradient_is_that_of_finite_differences(loss):
    logits = some_logits().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, some_probabilities().double()), logits)


@every_loss
def test_gradient_is_finite_however_sure_the_model_is(loss):
    logits = torch.tensor([[1e4, 0, 0, 0], [-1e4, 0, 0, 0], [80.0, 0, 0, 0]], requires_grad=True)
    loss(logits, torch.tensor([0, 0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@every_loss
def test_low_precision_logits_are_computed_in_float32(loss):
    logits = some_logits().bfloat16()
    torch.testing.assert_close(loss(logits, LABELS), loss(logits.float(), LABELS), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(logits, LABELS), loss(logits.float(), LABELS), rtol=0, atol=0)


def test_focal_without_gamma_is_cross_entropy():
    torch.testing.assert_close(Focal(gamma=0)(some_logits(), LABELS), CrossEntropy()(some_logits(), LABELS))


def test_focal_takes_its_factor_per_sample_not_on_the_mean():
    easy_and_hard = torch.tensor([[8.0, 0, 0, 0], [-2.0, 0, 0, 0]])
    labels = torch.tensor([0, 0])
    share = Focal()(easy_and_hard, labels) / CrossEntropy()(easy_and_hard, labels)
    assert share[0] < 1e-5 < 0.9 < share[1] < 1


@pytest.mark.parametrize(
    "target", [torch.tensor([0, 1]), torch.tensor([[0.7, 0.3], [0.2, 0.8]])], ids=["labels", "mixed"]
)
def test_a_class_weight_does_not_move_what_is_best_to_say(target):
    """Without gamma the optimum is the smoothed target itself, however heavy the other class is."""
    loss, logits = Focal(gamma=0.0, alpha=[1.0, 50.0], smoothing=0.1), torch.zeros(2, 2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9)

    def closure():
        optimizer.zero_grad()
        (total := loss(logits, target).sum()).backward()
        return total

    optimizer.step(closure)
    torch.testing.assert_close(logits.softmax(-1), smoothed(target, logits, 0.1), atol=1e-4, rtol=0)


@every_loss
@pytest.mark.parametrize("target", [LABELS, some_probabilities()], ids=["labels", "probabilities"])
def test_the_least_is_the_loss_of_a_prediction_equal_to_the_target(loss, target):
    goal = smoothed(target, torch.empty(6, 4), getattr(loss, "smoothing", 0.0))
    perfect = goal.clamp_min(1e-30).log() * getattr(loss, "temperature", 1.0)
    torch.testing.assert_close(least(loss, target, 4), loss(perfect, target), atol=1e-6, rtol=1e-5)


def test_kl_divergence_has_the_gradient_of_cross_entropy():
    gradients = []
    for loss in (KLDivergence(), CrossEntropy()):
        logits = some_logits().requires_grad_()
        loss(logits, some_probabilities()).sum().backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients)


@settings(deadline=None, max_examples=50)
@given(scale=st.floats(0, 100), seed=st.integers(0, 2**31), smoothing=st.sampled_from([0.0, 0.1]))
def test_kl_divergence_is_never_negative_and_zero_for_a_perfect_prediction(scale, seed, smoothing):
    logits = some_logits(seed) * scale
    assert (KLDivergence(smoothing)(some_logits(seed + 1), logits.softmax(-1)) >= 0).all()
    assert (KLDivergence(smoothing)(logits, LABELS) >= 0).all()
    perfect = KLDivergence()(logits, logits.softmax(-1))
    assert ((perfect >= 0) & (perfect < 1e-4)).all()


def test_other_convention_of_smoothing_is_another_value_of_it():
    """1 - s on the class and s / (K - 1) elsewhere, as the docstring of the module promises."""
    s, classes = 0.05, 4
    other = torch.full((6, classes), s / (classes - 1)).scatter(1, LABELS[:, None], 1 - s)
    torch.testing.assert_close(smoothed(LABELS, other, s * classes / (classes - 1)), other)


@every_loss
@pytest.mark.parametrize("label", [-1, 4])
def test_label_out_of_range_is_named(loss, label):
    with pytest.raises(
        PodiumError, match=rf"labels must be in \[0, 3\], got {min(label, 0)} to {max(label, 0)}"
    ):
        loss(some_logits()[:2], torch.tensor([0, label]))


@every_loss
@pytest.mark.parametrize(
    "target", [LABELS[:5], LABELS[:, None], LABELS.int(), some_probabilities()[:, :3]], ids=str
)
def test_target_of_another_shape_or_type_is_refused(loss, target):
    with pytest.raises(ValueError, match=r"target|probabilities"):
        loss(some_logits(), target)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropy(smoothing=1), r"loss.smoothing must be in \[0, 1\), got 1"),
        (lambda: KLDivergence(smoothing=-0.1), "loss.smoothing"),
        (lambda: Focal(gamma=-1), "loss.gamma must be at least 0, got -1"),
        (lambda: Focal(alpha=[1, 0]), "loss.alpha must be positive"),
        (lambda: Focal(alpha=[]), "loss.alpha must be positive"),
        (lambda: Focal(alpha=[1, 2])(some_logits(), LABELS), "loss.alpha has 2 weights for 4 classes"),
        (lambda: SoftCrossEntropy(temperature=0), "loss.temperature must be above 0, got 0"),
    ],
)
def test_bad_setting_is_named(build, message):
    with pytest.raises(PodiumError, match=message):
        build()


@pytest.mark.parametrize(
    "file", sorted((Path(common.__file__).parents[1] / "conf/loss").glob("*.yaml")), ids=str
)
def test_every_file_of_the_group_builds_a_loss_per_sample(file):
    whole = OmegaConf.create({"loss": OmegaConf.load(file), "model": {"head": {"scale": 32.0}}})
    loss = instantiate(whole.loss, _convert_="all")
    assert loss(some_logits(), LABELS).shape == (6,)
