"""Freeze: modules that do not learn, BatchNorm statistics included."""

import difflib

import pytorch_lightning as pl
from torch import nn

from common.errors import PodiumError


class Freeze(pl.Callback):
    """Keeps modules bit-equal: no gradients, and eval mode, since BatchNorm statistics move in train mode.

    Args:
        modules: names below the network, such as `layer1` or `backbone.layer1`.
        until_epoch: from this epoch on they learn again; null for never.
    """

    def __init__(self, modules: list[str], until_epoch: int | None = None) -> None:
        if not modules:
            raise PodiumError("callbacks.freeze.modules is empty: name modules, or set callbacks.freeze=null")
        self.modules = list(modules)
        self.until_epoch = until_epoch

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        frozen = self._frozen(pl_module)
        if (
            stage == "fit" and self.until_epoch is None
        ):  # the optimizer, made later, leaves such parameters out
            for module in frozen:
                module.requires_grad_(False)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.until_epoch is not None and trainer.current_epoch >= self.until_epoch:
            self._learn(pl_module, True)
        else:
            self._learn(pl_module, False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run resumed in mid-epoch has no epoch start."""
        self.on_train_epoch_start(trainer, pl_module)

    def _learn(self, pl_module: pl.LightningModule, learn: bool) -> None:
        for module in self._frozen(pl_module):
            module.requires_grad_(learn)
            module.train(learn)

    def _frozen(self, pl_module: pl.LightningModule) -> list[nn.Module]:
        known = dict(pl_module.net.named_modules())  # type: ignore[union-attr, operator]
        for name in self.modules:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                top = ", ".join(child for child in known if child and "." not in child)
                raise PodiumError(
                    f"callbacks.freeze.modules: the network has no module «{name}»"
                    + (f"; did you mean «{near[0]}»?" if near else "")
                    + f" Its parts are {top}"
                )
        return [known[name] for name in self.modules]
