"""Mixing against a loop over single pictures, its distributions, and its place among the hooks."""

import math

import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback, Trainer
from scipy import stats
from torch.nn import functional as F

from common.callbacks.mix import Mix
from common.callbacks.soft_labels import SoftLabels
from common.data.augmentation.randomness import derive, uniform, view_key
from common.errors import PodiumError
from common.model.classifier import ImageClassifier
from common.run.components import make_callbacks, make_data, make_module
from tests import toys
from tests.toys import CLASSES


def batch(count=12, height=6, width=9, epoch=0):
    index = torch.arange(count)
    return {
        "image": torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)),
        "label": index % len(CLASSES),
        "index": index,
        "key": view_key(1, epoch, index),
    }


def mixed(mix, **shape):
    data = batch(**shape)
    mix.mix(data)
    return data


def classifier() -> ImageClassifier:
    return toys.classifier(channels=3)


@pytest.mark.parametrize(("mixup", "cutmix", "share"), [(0.4, 0, 1.0), (0, 1.0, 1.0), (0.4, 0.7, 0.6)])
def test_it_equals_a_loop_over_pictures(mixup, cutmix, share):
    before, after = batch(), mixed(Mix(mixup, cutmix, share))
    height, width = before["image"].shape[-2:]
    drawn = uniform(derive(before["key"], "mix"), 6).tolist()
    ring = sorted(range(12), key=lambda row: drawn[row][0])
    for row, (_, kind, quantile, applied, y, x) in enumerate(drawn):
        other = ring[(ring.index(row) + 1) % 12]
        cuts = cutmix > 0 and (mixup == 0 or kind < 0.5)
        own = stats.beta.ppf(quantile, *[cutmix if cuts else mixup] * 2) if applied < share else 1.0
        expected, ones = before["image"][row].clone(), 0
        if cuts:
            half = math.sqrt(1 - own) / 2
            for i in range(height):
                for j in range(width):
                    if abs((i + 0.5) / height - y) < half and abs((j + 0.5) / width - x) < half:
                        expected[:, i, j] = before["image"][other, :, i, j]
                        ones += 1
            own = 1 - ones / (height * width)
        else:
            expected = own * expected + (1 - own) * before["image"][other]
        assert int(after["partner"][row]) == other
        assert float(after["own"][row]) == pytest.approx(own, abs=2e-3)
        torch.testing.assert_close(after["image"][row], expected, rtol=0, atol=2e-3)


def test_targets_are_mixed_like_the_pictures_and_with_a_teachers_too(tmp_path):
    rows = torch.rand(12, 4, generator=torch.Generator().manual_seed(3)).softmax(1)
    path = tmp_path / "predictions.parquet"
    pd.DataFrame({"id": [str(n) for n in range(12)], "probabilities": rows.tolist()}).to_parquet(path)
    teacher = SoftLabels(str(path), hard_weight=0.6)
    teacher.read([str(n) for n in range(12)], 4)
    mix, module = Mix(1.0), classifier()
    mix.setup(None, module, "fit")
    data = mixed(mix)
    hard = F.one_hot(data["label"], 4).float()
    for callbacks, own in (([mix], hard), ([teacher, mix], 0.6 * hard + 0.4 * rows)):
        module.compose(callbacks)
        share = data["own"][:, None]
        expected = share * own + (1 - share) * own[data["partner"]]
        torch.testing.assert_close(module.step_hooks.target(data), expected)
        plain = batch()
        torch.testing.assert_close(
            module.step_hooks.target(plain).float(), own if teacher in callbacks else plain["label"].float()
        )


def test_the_shares_follow_the_beta_distribution_and_the_share_of_pictures_is_kept():
    own = mixed(Mix(0.3, share=0.5), count=4000)["own"]
    changed = own[own < 1]
    assert abs(len(changed) / 4000 - 0.5) < 0.05
    assert stats.kstest(changed.numpy(), stats.beta(0.3, 0.3).cdf).pvalue > 1e-3


def test_partners_are_a_ring_and_depend_on_the_keys_alone():
    first, again, later = mixed(Mix(1.0)), mixed(Mix(1.0)), mixed(Mix(1.0), epoch=1)
    assert torch.equal(first["image"], again["image"]) and not torch.equal(first["image"], later["image"])
    place, seen = 0, set()
    for _ in range(12):
        place = int(first["partner"][place])
        seen.add(place)
    assert len(seen) == 12
    alone = mixed(Mix(1.0), count=1)
    torch.testing.assert_close(alone["image"], batch(count=1)["image"])


class Look(Callback):
    """Keeps what each batch looked like, and the target that it trained on."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained.append(pl_module.step_hooks.target(batch))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.validated.append(set(batch))


def test_training_sees_mixed_batches_and_validation_plain_ones(toy, tmp_path):
    config = toy("callbacks.mix={mixup: 1.0}")
    data, look = make_data(config, tmp_path / "run"), Look()
    data.setup()
    Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[*make_callbacks(config), look], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(make_module(config, data), datamodule=data)  # fmt: skip
    assert look.trained and all(((target > 0) & (target < 1)).any() for target in look.trained)
    assert look.validated and all("partner" not in keys for keys in look.validated)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mixup": -1}, "callbacks.mix.mixup must be at least 0, got -1"),
        ({"mixup": 0}, "set mixup or cutmix above 0, or callbacks.mix=null"),
        ({"share": 0}, r"callbacks.mix.share must be in \(0, 1\], got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(PodiumError, match=message):
        Mix(**arguments)
