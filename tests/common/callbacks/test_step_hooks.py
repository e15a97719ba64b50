"""The four shared callbacks, alone and in all sixteen combinations, against loops over single images."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer
from scipy import ndimage

from common.callbacks.class_weights import ClassWeights, effective_number_weights
from common.callbacks.hierarchical_loss import HierarchicalLoss
from common.callbacks.logit_adjustment import LogitAdjustment
from common.callbacks.ohem import OHEM, hardest
from common.callbacks.soft_labels import SoftLabels
from common.callbacks.triplet import Triplet, batch_hard
from common.callbacks.tta import TTA, Cropped, Inverted, Mirrored, Moved, Raw
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from common.model.step_hooks import StepHooks, compose
from common.run.components import make_callbacks, make_data, make_module
from tests import toys
from tests.toys import CLASSES, random_images

PARENTS = [0, 0, 1, 1]
IDS = [f"{number}.png" for number in range(10)]


def classifier() -> ImageClassifier:
    return toys.classifier("tests.toys.TwoLevels", 6)


@pytest.fixture
def teacher(tmp_path):
    """A table that knows the even images only."""
    rows = torch.rand(len(IDS), len(CLASSES), generator=torch.Generator().manual_seed(3)).softmax(1)
    path = tmp_path / "predictions.parquet"
    pd.DataFrame({"id": IDS[::2], "probabilities": rows[::2].tolist()}).to_parquet(path)
    return path, rows


def batch() -> dict[str, torch.Tensor]:
    index = torch.tensor([7, 2, 4, 9, 0, 1])
    return {
        "image": random_images(6),
        "label": torch.tensor([0, 1, 2, 3, 1, 2]),
        "index": index,
        "key": index,
    }


def entropy(target: list[float]) -> float:
    """What the cross-entropy with a target cannot fall below."""
    return -sum(t * math.log(t) for t in target if t > 0)


COUNTS = np.array([40, 25, 10, 3])


def losses_by_loop(module, data, rows, soft, levels, adjustment=False, weights=False, triplet=False):
    """(excess over what a perfect prediction costs, loss) of each image of the batch."""
    with torch.no_grad():
        outputs = module(data["image"])
        normalised = ((data["image"] - module.mean) / module.std).flatten(1)
        pulls = batch_hard(torch.nn.functional.normalize(normalised), data["label"], 0.5).tolist()
    losses = []
    for row in range(6):
        target = [float(k == data["label"][row]) for k in range(4)]
        if soft:
            index = int(data["index"][row])
            target = [
                0.6 * hard + 0.4 * float(rows[index][k]) if index % 2 == 0 else 0.8 * hard + 0.2 / 4
                for k, hard in enumerate(target)
            ]
        logits = outputs["label"][row].tolist()
        if adjustment:
            logits = [
                x + 0.8 * math.log(count / sum(COUNTS)) for x, count in zip(logits, COUNTS, strict=True)
            ]
        total = math.log(sum(math.exp(x) for x in logits))
        loss, floor = -sum(t * (x - total) for t, x in zip(target, logits, strict=True)), entropy(target)
        if levels:
            group_logs = outputs["group"][row].log_softmax(0)
            loss += 0.5 * -sum(t * float(group_logs[PARENTS[k]]) for k, t in enumerate(target))
            floor += 0.5 * entropy([sum(t for k, t in enumerate(target) if PARENTS[k] == g) for g in (0, 1)])
        if weights:
            weight = sum(t * w for t, w in zip(target, effective_number_weights(COUNTS, 0.9), strict=True))
            loss, floor = loss * weight, floor * weight
        loss += 0.3 * pulls[row] if triplet else 0
        losses.append((loss - floor, loss))
    return losses


def soft_labels(path) -> SoftLabels:
    callback = SoftLabels(str(path), hard_weight=0.6, smoothing=0.2)
    callback.read(IDS, len(CLASSES))
    return callback


@pytest.mark.parametrize("switches", list(itertools.product([False, True], repeat=4)))
def test_every_combination_equals_a_loop_over_images(switches, teacher):
    soft, levels, ohem, tta = switches
    path, rows = teacher
    module, data = classifier(), batch()
    callbacks = [
        *([soft_labels(path)] if soft else []),
        *([HierarchicalLoss({"group": PARENTS}, {"leaf": 1.0, "group": 0.5})] if levels else []),
        *([OHEM(keep=0.5)] if ohem else []),
        *([TTA({"raw": Raw(), "inverted": Inverted()})] if tta else []),
    ]
    module.compose(callbacks)
    module.compose(callbacks)  # composing twice must not stack anything up
    losses = losses_by_loop(module, data, rows, soft, levels)
    kept = [loss for _, loss in (sorted(losses, reverse=True)[:3] if ohem else losses)]
    assert float(module.training_step(data, 0)) == pytest.approx(sum(kept) / len(kept), rel=1e-5)

    views = [data["image"], 1 - data["image"]] if tta else [data["image"]]
    for row in range(6):
        expected = [0.0] * 4
        for view in views:
            logits = module(view)["label"][row].tolist()
            total = sum(math.exp(value) for value in logits)
            expected = [
                p + math.exp(value) / total / len(views) for p, value in zip(expected, logits, strict=True)
            ]
        assert module.predict_step(data, 0)[row].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("switches", list(itertools.product([False, True], repeat=5)))
def test_what_changes_the_loss_adds_up_in_the_order_of_the_recipe(switches, teacher):
    soft, levels, adjustment, weights, triplet = switches
    path, rows = teacher
    module, data = classifier(), batch()
    callbacks = [
        *([soft_labels(path)] if soft else []),
        *([HierarchicalLoss({"group": PARENTS}, {"leaf": 1.0, "group": 0.5})] if levels else []),
    ]
    if adjustment:
        callbacks.append(LogitAdjustment(0.8))
        callbacks[-1].count(COUNTS)
    if weights:
        callbacks.append(ClassWeights(0.9))
        callbacks[-1].count(COUNTS)
    if triplet:
        callbacks.append(Triplet(weight=0.3, margin=0.5))
        callbacks[-1].listen(module.net)
    callbacks.append(OHEM(keep=0.5))
    module.compose(callbacks)
    module.compose(callbacks)
    losses = losses_by_loop(module, data, rows, *switches)
    kept = [loss for _, loss in sorted(losses, reverse=True)[:3]]
    assert float(module.training_step(data, 0)) == pytest.approx(sum(kept) / 3, rel=1e-5)


LONG_TAIL = "callbacks={logit_adjustment: {tau: 0.5}, class_weights: {}, triplet: {}, mix: {mixup: 0.2}}"


def test_a_training_counts_its_own_classes_and_samples_them_alike(toy, tmp_path):
    config = toy(LONG_TAIL, "data.sampling=balanced", "callbacks.soft_labels=null", "trainer.max_epochs=1")
    for name in (3, 4, 5, 6, 7, 8):
        (Path(config["data"]["root"]) / "bar" / f"{name}.png").unlink()
    data, callbacks = make_data(config, tmp_path / "run"), make_callbacks(config)
    data.setup()
    module = make_module(config, data)
    Trainer(
        max_epochs=1, accelerator="cpu", callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    ).fit(module, datamodule=data)  # fmt: skip
    counts = [int((data.train_images.labels[data.rows("train")] == label).sum()) for label in range(4)]
    assert data.class_counts.tolist() == counts and counts[0] < counts[1]
    found = {type(callback).__name__: callback for callback in callbacks}
    shares = np.array(counts) / sum(counts)
    np.testing.assert_allclose(found["LogitAdjustment"].start.numpy(), 0.5 * np.log(shares), rtol=1e-5)
    np.testing.assert_allclose(
        found["ClassWeights"].weights.numpy(), effective_number_weights(np.array(counts), 0.999), rtol=1e-5
    )
    assert found["Triplet"].hook is None  # taken off when training has ended


def test_hardest_equals_sorting():
    losses = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0])
    for keep, count in [(0.01, 1), (0.2, 1), (0.5, 3), (1.0, 5)]:
        assert hardest(losses, keep).tolist() == sorted(losses.tolist(), reverse=True)[:count]


def test_a_share_keeps_as_many_images_as_it_says():
    """Exactly, in decimal: 0.55 · 100 is a little more than 55 in binary."""
    for percent in range(1, 101):
        for images in (1, 7, 32, 100, 1000):
            kept = len(hardest(torch.arange(float(images)), percent / 100))
            assert kept == -(-percent * images // 100), (percent, images)


def test_ohem_keeps_what_is_wrong_and_not_what_is_mixed():
    """Half a batch is mixed, and all pictures are predicted about equally well: the entropy of a mix is no mistake."""
    generator = torch.Generator().manual_seed(0)
    labels, partner = (torch.randint(4, (1000,), generator=generator) for _ in range(2))
    mixed = torch.arange(1000) % 2 == 1
    own = torch.where(mixed, 0.5, 1.0)[:, None]
    target = own * torch.eye(4)[labels] + (1 - own) * torch.eye(4)[partner]
    logits = target.clamp_min(0.02).log() + 0.5 * torch.randn(1000, 4, generator=generator)
    module = classifier()
    module.compose([OHEM(keep=0.3)])
    hooks = module.step_hooks
    losses = hooks.loss({"label": logits}, target)
    loss = hooks.reduce(
        losses.requires_grad_(), lambda: losses.detach() - hooks.floor({"label": logits}, target)
    )
    (gradient,) = torch.autograd.grad(loss, losses)
    kept = gradient > 0
    excess = (target * (target.clamp_min(1e-30).log() - logits.log_softmax(1))).sum(1)  # the KL divergence
    assert kept.sum() == 300 and kept.nonzero()[:, 0].tolist() == sorted(excess.topk(300).indices.tolist())
    by_loss = torch.zeros(1000, dtype=torch.bool)
    by_loss[losses.detach().topk(300).indices] = True
    assert mixed[by_loss].float().mean() > mixed[kept].float().mean() + 0.15


def test_ohem_learns_from_the_kept_images_only():
    losses = torch.tensor([1.0, 4.0, 2.0, 3.0], requires_grad=True)
    hardest(losses, 0.5).mean().backward()
    assert losses.grad.tolist() == [0, 0.5, 0, 0.5]


@pytest.mark.parametrize("keep", [0, -0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_names_the_key(keep):
    with pytest.raises(PodiumError, match=r"callbacks\.ohem\.keep must be in \(0, 1\]"):
        OHEM(keep=keep)


def test_temperature_softens_the_teacher_to_the_power(teacher):
    path, rows = teacher
    callback = SoftLabels(str(path), hard_weight=0.0, temperature=2.0)
    callback.read(IDS, 4)
    powers = [float(p) ** 0.5 for p in rows[4]]
    expected = [power / sum(powers) for power in powers]
    assert callback.teacher(torch.tensor([4]))[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_teacher_of_other_images_or_classes_is_refused(teacher):
    path, _ = teacher
    with pytest.raises(PodiumError, match="none of its ids"):
        SoftLabels(str(path)).read(["other.png"], 4)
    with pytest.raises(PodiumError, match="4 probabilities, the data set has 5 classes"):
        SoftLabels(str(path)).read(IDS, 5)


def test_levels_without_heads_are_refused():
    module = classifier()
    module.compose([HierarchicalLoss({"group": PARENTS})])
    with pytest.raises(PodiumError, match="one head per level"):
        module.step_hooks.loss(torch.zeros(2, 4), torch.tensor([0, 1]))


def test_views_keep_shape_and_a_centred_crop_is_the_centre_enlarged():
    images = random_images(2, size=20)
    for view in (Raw(), Inverted(), Mirrored(), Cropped(0.1), Moved(x=0.1, scale=1.1, rotate=5)):
        assert view(images).shape == images.shape
    flat = torch.zeros(1, 1, 20, 20)
    flat[..., 2:18, 2:18] = 1
    assert Cropped(0.1)(flat).min() > 0.999


@pytest.mark.parametrize("sides", [(8, 8), (12, 30), (30, 12)])
def test_a_turned_picture_is_not_sheared(sides):
    """Against scipy's rotation by pixels, away from the border; and a right angle moves whole pixels."""
    picture = torch.rand(1, 1, *sides, generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    ours = Moved(rotate=20)(picture)[0, 0].numpy()
    theirs = ndimage.rotate(picture[0, 0].numpy(), 20, reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(ours[2:-2, 2:-2], theirs[2:-2, 2:-2], atol=1e-4)
    turned = Moved(rotate=90)(picture)
    side, (height, width) = min(sides), sides
    middle = (
        slice(None),
        slice(None),
        slice((height - side) // 2, (height + side) // 2),
        slice((width - side) // 2, (width + side) // 2),
    )
    torch.testing.assert_close(turned[middle], picture[middle].rot90(1, (-2, -1)), atol=1e-4, rtol=0)


def test_moved_shifts_by_whole_pixels_and_turns_counter_clockwise():
    images = random_images(1, size=8)
    shifted = Moved(x=2 / 8, y=-1 / 8)(images)
    torch.testing.assert_close(shifted[..., :7, 2:], images[..., 1:, :6])
    torch.testing.assert_close(Moved(rotate=90)(images), images.rot90(1, (-2, -1)), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        Moved(scale=2.0)(images).mean(), images[..., 2:6, 2:6].mean(), atol=0.15, rtol=0
    )


def test_a_callback_that_was_written_for_the_former_name_is_refused():
    class Mine:
        def wrap(self, seams):
            return seams

    with pytest.raises(PodiumError, match=r"Mine\.wrap is called step_hooks now"):
        compose(StepHooks(*[None] * 5), [Mine()])
