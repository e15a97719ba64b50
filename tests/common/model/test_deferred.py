"""Deferred logits give the losses and gradients of plain ones, and never exist all at once."""

import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from common.callbacks.hierarchical_loss import HierarchicalLoss
from common.callbacks.ohem import OHEM
from common.errors import PodiumError
from common.model.deferred import DeferredLogits, check_chunk, losses
from common.model.losses import CrossEntropy, Focal, KLDivergence, SoftCrossEntropy
from common.model.margins import ArcFace, CosFace, NormFace, SphereFace
from common.model.precision import without_autocast
from tests import toys
from tests.toys import random_images

B, K, F_ = 11, 7, 5
SCALE = 6.0
LINEAR = [CrossEntropy(), CrossEntropy(0.1), Focal(2.0), KLDivergence(), SoftCrossEntropy(2.0)]
COSINE = [ArcFace(SCALE), ArcFace(SCALE, easy=True), CosFace(SCALE), SphereFace(SCALE), NormFace(SCALE)]


def tensors(dtype=torch.float64, soft=False, unit_rows=False):
    torch.manual_seed(0)
    features = torch.randn(B, F_, dtype=dtype)
    weight = torch.randn(K, F_, dtype=dtype)
    bias = None if unit_rows else torch.randn(K, dtype=dtype)
    target = torch.randn(B, K, dtype=dtype).softmax(1) if soft else torch.arange(B) % K
    return [x if x is None else x.requires_grad_() for x in (features, weight, bias)], target


def plain(features, weight, bias, unit_rows):
    if unit_rows:
        with torch.autocast("cpu", enabled=False):
            return SCALE * F.linear(F.normalize(features.float()), F.normalize(weight))
    return F.linear(features, weight, bias)


def deferred(features, weight, bias, unit_rows, chunk=4):
    if unit_rows:
        with torch.autocast("cpu", enabled=False):
            features = SCALE * F.normalize(features.float())
    return DeferredLogits(features, weight, bias, unit_rows, chunk=chunk)


def losses_and_gradients(outputs, loss, target, inputs, reduce):
    found = losses(loss, outputs, target)
    given = [x for x in inputs if x is not None]
    return [found, *torch.autograd.grad(reduce(found), given)]


def weighted(found):
    return (found * torch.linspace(0.5, 2, len(found), dtype=found.dtype)).sum()


@pytest.mark.parametrize("chunk", [1, 4, 11, 64])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("loss", LINEAR, ids=lambda loss: type(loss).__name__)
def test_a_linear_heads_losses_and_gradients_are_the_plain_ones(loss, soft, chunk):
    inputs, target = tensors(soft=soft)
    ours = losses_and_gradients(deferred(*inputs, False, chunk), loss, target, inputs, weighted)
    theirs = losses_and_gradients(plain(*inputs, False), loss, target, inputs, weighted)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("loss", COSINE, ids=lambda loss: type(loss).__name__)
def test_a_cosine_heads_losses_and_gradients_are_the_plain_ones(loss, soft):
    inputs, target = tensors(torch.float32, soft, unit_rows=True)
    with torch.no_grad():
        inputs[1][2] = 0  # a class whose direction is not known yet
    ours = losses_and_gradients(deferred(*inputs, True), loss, target, inputs, weighted)
    theirs = losses_and_gradients(plain(*inputs, True), loss, target, inputs, weighted)
    for one, other in zip(ours, theirs, strict=True):  # the zero row's gradient is of the size of 1e12
        torch.testing.assert_close(one / one.abs().amax(-1, True), other / other.abs().amax(-1, True))


@pytest.mark.parametrize("unit_rows", [False, True])
def test_gradients_are_those_of_finite_differences(unit_rows):
    (features, weight, bias), target = tensors(unit_rows=unit_rows)

    def found(features, weight, *bias):
        return DeferredLogits(features, weight, *(bias or [None]), unit_rows, chunk=3).losses(Focal(), target)

    assert torch.autograd.gradcheck(found, (features, weight) if unit_rows else (features, weight, bias))


@pytest.mark.parametrize("unit_rows", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_losses_are_the_plain_ones_and_the_gradients_as_good(unit_rows, dtype):
    inputs, target = tensors(torch.float32, unit_rows=unit_rows)
    loss = CosFace(SCALE) if unit_rows else CrossEntropy()
    exact = losses_and_gradients(plain(*inputs, unit_rows), loss, target, inputs, torch.sum)
    with torch.autocast("cpu", dtype):
        outputs = deferred(*inputs, unit_rows)
        ours = losses(loss, outputs, target)
        with without_autocast(target.device):  # as heads compute that keep their logits
            logits = plain(*inputs, unit_rows)
        theirs = losses(loss, logits, target)
        assert outputs.logits().dtype == torch.float32
    torch.testing.assert_close(ours, theirs)
    given = [x for x in inputs if x is not None]
    ours, theirs = torch.autograd.grad(ours.sum(), given), torch.autograd.grad(theirs.sum(), given)
    for one, other, true in zip(ours, theirs, exact[1:], strict=True):
        assert one.dtype == torch.float32
        assert (one - true).abs().max() <= 1.5 * (other - true).abs().max() + 1e-5


def test_a_shift_of_the_classes_counts_and_leaves_the_rest_as_it_is():
    shift = torch.linspace(-2, 1, K, dtype=torch.float64)
    for unit_rows in (False, True):
        inputs, target = tensors(unit_rows=unit_rows)
        whole = DeferredLogits(*inputs, unit_rows, chunk=4)
        moved = whole + shift / 2 + shift / 2
        ours = losses_and_gradients(moved, CrossEntropy(), target, inputs, weighted)
        theirs = losses_and_gradients(whole.logits() + shift, CrossEntropy(), target, inputs, weighted)
        torch.testing.assert_close(ours, theirs)
        assert moved.shape == whole.logits().shape == (B, K)


def test_images_that_ohem_leaves_out_get_no_gradient_and_are_not_computed_again():
    inputs, target = tensors()
    seen = []

    def loss(logits, wanted):
        seen.append(len(logits))
        return CrossEntropy()(logits, wanted)

    def hardest(found):
        return found.topk(3).values.mean()

    ours = losses_and_gradients(deferred(*inputs, False), loss, target, inputs, hardest)
    assert sum(seen) == B + 3
    theirs = losses_and_gradients(plain(*inputs, False), CrossEntropy(), target, inputs, hardest)
    torch.testing.assert_close(ours, theirs)


def test_what_is_frozen_gets_no_gradient():
    (features, weight, bias), target = tensors()
    for frozen in (features, weight, bias):
        frozen.requires_grad_(False)
        DeferredLogits(features, weight, bias).losses(CrossEntropy(), target).sum().backward()
        assert frozen.grad is None
        for other in (features, weight, bias):
            other.requires_grad_(True).grad = None
    with torch.no_grad():
        assert not DeferredLogits(features, weight, bias).losses(CrossEntropy(), target).requires_grad


class Sizes(TorchDispatchMode):
    """Counts the new arrays of each number of elements."""

    def __init__(self):
        super().__init__()
        self.new = Counter()
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)}
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in given:
                self.new[one.numel()] += 1
        return found


@pytest.mark.parametrize("unit_rows", [False, True])
def test_no_array_is_as_large_as_all_logits_and_one_as_the_weight(unit_rows):
    batch, classes, features, chunk = 32, 50, 19, 4
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(classes, features))
    bias = None if unit_rows else nn.Parameter(torch.zeros(classes))
    inputs = torch.randn(batch, features, requires_grad=True)
    loss = CosFace(100.0) if unit_rows else CrossEntropy()
    with Sizes() as sizes:
        outputs = DeferredLogits(inputs, weight, bias, unit_rows, chunk=chunk)
        outputs.losses(loss, torch.arange(batch)).mean().backward()
    assert sizes.new[chunk * classes] > 0
    assert sizes.new[batch * classes] == 0
    assert sizes.new[classes * features] == 1  # the gradient, which is handed over without a copy
    assert weight.grad is not None


class TwoLevelsDeferred(nn.Module):
    """As tests.toys.TwoLevels, with deferred logits in training."""

    def __init__(self, *, num_classes, in_channels, image_size, num_parents=2, chunk=None):
        super().__init__()
        features = in_channels * image_size[0] * image_size[1]
        self.heads = nn.ModuleDict(
            {"label": nn.Linear(features, num_classes), "group": nn.Linear(features, num_parents)}
        )
        self.chunk = chunk

    def forward(self, images):
        flat = images.flatten(1)
        if self.training and self.chunk:
            return {
                level: DeferredLogits(flat, head.weight, head.bias, chunk=self.chunk)
                for level, head in self.heads.items()
            }
        return {level: head(flat) for level, head in self.heads.items()}


def classifier(chunk):
    model = {"_target_": f"{__name__}.TwoLevelsDeferred", "chunk": chunk}
    return toys.classifier(model, 6, loss="common.model.losses.Focal")


def test_ohem_and_the_hierarchy_train_alike_with_either_kind():
    batch = {"image": random_images(10), "label": torch.arange(10) % 4}
    found = []
    for chunk in (None, 3):
        module = classifier(chunk)
        module.compose([HierarchicalLoss({"group": [0, 0, 1, 1]}, {"group": 0.5}), OHEM(keep=0.5)])
        loss = module.training_step(batch, 0)
        loss.backward()
        found.append([loss, *(weight.grad for weight in module.parameters())])
        module.eval()
        assert isinstance(module(batch["image"])["label"], torch.Tensor)
    torch.testing.assert_close(found[0], found[1])


def test_a_loss_with_weights_of_its_own_is_refused():
    class Learnt(CrossEntropy):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

    inputs, target = tensors()
    with pytest.raises(PodiumError, match=r"Learnt has weights of its own.*chunk to null"):
        deferred(*inputs, False).losses(Learnt(), target)


def test_labels_outside_the_classes_are_said():
    inputs, target = tensors()
    with pytest.raises(PodiumError, match=r"labels must be in \[0, 6\], got .* to 7"):
        deferred(*inputs, False).losses(CrossEntropy(), target + 1)


def test_chunks_are_of_at_least_one_image():
    assert check_chunk(None) is None and check_chunk(64) == 64
    with pytest.raises(PodiumError, match=r"model\.head\.chunk must be a number of images, .*got 0"):
        check_chunk(0)


def test_the_loss_is_finite_where_all_images_are_easy():
    weight = torch.eye(3) * 100
    inputs = torch.eye(3).requires_grad_()
    found = DeferredLogits(inputs, weight).losses(CrossEntropy(), torch.arange(3))
    (gradient,) = torch.autograd.grad(found.sum(), inputs)
    assert math.isclose(found.sum().item(), 0, abs_tol=1e-6) and gradient.isfinite().all()
