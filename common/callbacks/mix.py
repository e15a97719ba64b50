"""Mix: two pictures of a batch become one, and their targets with them (mixup, CutMix)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from scipy.stats import beta
from torch import Tensor
from torch.nn import functional as F

from common.data.augmentation.randomness import derive, uniform
from common.errors import PodiumError
from common.model.step_hooks import Batch, StepHooks

TABLE = 4096  # quantiles of the beta distribution that are kept: λ is off by less than anyone sees


class Mix(pl.Callback):
    """While training, pictures are mixed with a partner in their batch, and targets in the same proportion.

    mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) blends: λ · own + (1 − λ) · partner's. CutMix (Yun et
    al. 2019, https://arxiv.org/abs/1905.04899) copies a rectangle of 1 − λ of the area from the partner; what is cut
    off at the border counts as one's own. λ is drawn for each picture from Beta(α, α), partner and place likewise,
    by the pictures' keys alone, so that a resumed run mixes the same. With both, each takes half.

    It stands after callbacks that want labels as a target, such as SoftLabels; the loss must take probabilities.

    Args:
        mixup: α of mixup, ≥ 0; 0 switches it off.
        cutmix: α of CutMix, ≥ 0; 0 switches it off.
        share: of the pictures that are mixed, in (0, 1].
    """

    def __init__(self, mixup: float = 0.2, cutmix: float = 0.0, share: float = 1.0) -> None:
        for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
            if not alpha >= 0:
                raise PodiumError(f"callbacks.mix.{name} must be at least 0, got {alpha}")
        if mixup == cutmix == 0:
            raise PodiumError("callbacks.mix: set mixup or cutmix above 0, or callbacks.mix=null")
        if not 0 < share <= 1:
            raise PodiumError(f"callbacks.mix.share must be in (0, 1], got {share}")
        self.cutmix_share = 0.0 if not cutmix else 0.5 if mixup else 1.0
        self.share = share
        self.quantiles = torch.stack([_quantiles(mixup), _quantiles(cutmix)])
        self.classes = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.classes = len(pl_module.class_names)  # type: ignore[arg-type]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.mix(batch)

    def mix(self, batch: Batch) -> None:
        """Replace `image` in place, and add `partner` int64 (B,) and `own` float (B,): the share of one's own."""
        images, keys = batch["image"], derive(batch["key"], "mix")
        drawn = uniform(keys, 6)
        order = drawn[:, 0].argsort(stable=True)
        partner = torch.empty_like(order).scatter_(
            0, order, order.roll(-1)
        )  # a ring: nobody's own, if there are two
        is_cutmix = drawn[:, 1] < self.cutmix_share
        own = self._quantile(drawn[:, 2], is_cutmix)
        own = torch.where(drawn[:, 3] < self.share, own, torch.ones_like(own))
        pasted = _rectangle(own, drawn[:, 4:], images.shape[-2], images.shape[-1])
        own = torch.where(is_cutmix, 1 - pasted.mean(dim=(1, 2)), own)
        weight = torch.where(is_cutmix[:, None, None], 1 - pasted, own[:, None, None])[:, None].to(
            images.dtype
        )
        batch["image"] = torch.lerp(images[partner], images, weight)
        batch |= {"partner": partner, "own": own}

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        def target(batch: Batch) -> Tensor:
            given = hooks.target(batch)
            if "partner" not in batch:
                return given
            soft = given if given.is_floating_point() else F.one_hot(given, self.classes).float()
            return torch.lerp(soft[batch["partner"]], soft, batch["own"][:, None].to(soft.dtype))

        return replace(hooks, target=target)

    def _quantile(self, drawn: Tensor, is_cutmix: Tensor) -> Tensor:
        """λ at these quantiles of each picture's own distribution, between two entries of the table."""
        table = self.quantiles.to(drawn.device)
        place = drawn * (TABLE - 1)
        low, row = place.long(), is_cutmix.long()
        return torch.lerp(table[row, low], table[row, (low + 1).clamp_max(TABLE - 1)], place - low)


def _quantiles(alpha: float) -> Tensor:
    if alpha == 0:
        return torch.ones(TABLE)
    return torch.from_numpy(beta.ppf(np.linspace(0, 1, TABLE), alpha, alpha)).float()


def _rectangle(own: Tensor, middle: Tensor, height: int, width: int) -> Tensor:
    """1 in a rectangle of 1 − `own` of the area around `middle` (B, 2), cut at the border: float (B, H, W)."""
    half = (1 - own).clamp_min(0).sqrt() / 2
    inside = []
    for axis, side in enumerate((height, width)):
        at = (torch.arange(side, device=own.device) + 0.5) / side
        inside.append((at - middle[:, axis : axis + 1]).abs() < half[:, None])
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :]).float()
