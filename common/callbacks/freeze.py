"""Freeze: modules that do not learn, BatchNorm statistics included."""

import difflib

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from common.errors import PodiumError
from common.model.networks.backbone_parts import WRAPPERS, backbone_of, classifiers_of

BACKBONE = "backbone"


class Freeze(pl.Callback):
    """Keeps modules bit-equal: no gradients, and eval mode, since BatchNorm statistics move in train mode.

    Args:
        modules: names below the network, such as `layer1` or `blocks.0`, also where heads of ours stand before them
            (`backbone.layer1`); `backbone` is everything but the classifier, whatever the network calls it.
        but_last: of their layers, as many at the end learn all the same, with the normalisation that follows them.
            Layers are convolutions and linear maps, in the order in which the network lists them.
        until_epoch: from this epoch on they learn again; null for never.
    """

    def __init__(self, modules: list[str], but_last: int = 0, until_epoch: int | None = None) -> None:
        if not modules:
            raise PodiumError("callbacks.freeze.modules is empty: name modules, or set callbacks.freeze=null")
        if but_last < 0:
            raise PodiumError(f"callbacks.freeze.but_last must be at least 0, got {but_last}")
        self.modules = list(modules)
        self.but_last = but_last
        self.until_epoch = until_epoch

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _, parameters = self._frozen(pl_module)
        if stage == "fit" and self.until_epoch is None:
            for parameter in parameters:  # the optimizer, made later, leaves them out
                parameter.requires_grad_(False)
        if stage == "fit" and self.until_epoch is not None and isinstance(trainer.strategy, DDPStrategy):
            # processes wait for each other's gradients, of which these have none for some epochs
            trainer.strategy._ddp_kwargs["find_unused_parameters"] = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        learn = self.until_epoch is not None and trainer.current_epoch >= self.until_epoch
        self.set_learning(pl_module, learn)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run resumed in mid-epoch has no epoch start."""
        self.on_train_epoch_start(trainer, pl_module)

    def set_learning(self, pl_module: pl.LightningModule, learn: bool) -> None:
        """Freeze the modules, or let them learn."""
        modules, parameters = self._frozen(pl_module)
        for parameter in parameters:
            parameter.requires_grad_(learn)
        for module in modules:
            module.train(learn)

    def _frozen(self, pl_module: pl.LightningModule) -> tuple[list[nn.Module], list[nn.Parameter]]:
        net: nn.Module = pl_module.net  # type: ignore[assignment]
        named = dict(net.named_modules())
        modules: list[nn.Module] = []
        parameters: list[nn.Parameter] = []
        for name in self.modules:
            if name == BACKBONE and classifiers_of(net):
                parts, all_but_classifier = backbone_of(net)
                modules += parts
                parameters += all_but_classifier
            else:
                matches = [named[before + name] for before in WRAPPERS if before + name in named]
                if not matches:
                    raise PodiumError(_unknown(name, named))
                modules.append(matches[0])
                parameters += matches[0].parameters()
        return _without_last(modules, parameters, self.but_last) if self.but_last else (modules, parameters)


def _without_last(
    modules: list[nn.Module], parameters: list[nn.Parameter], count: int
) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """The same without the last `count` layers and what comes after them."""
    # timm's norms have an activation inside, so a leaf is a module none of whose children has a state
    leaves: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        if any(child.state_dict() for child in module.children()):
            for child in module.children():
                visit(child)
        else:
            leaves.append(module)

    for module in modules:
        visit(module)
    layers = [
        place for place, leaf in enumerate(leaves) if isinstance(leaf, nn.modules.conv._ConvNd | nn.Linear)
    ]
    if count >= len(layers):
        raise PodiumError(
            f"callbacks.freeze.but_last={count}: the modules have {len(layers)} layers, so nothing would be frozen; "
            "set callbacks.freeze=null for that"
        )
    first = layers[-count]
    learning = {id(parameter) for leaf in leaves[first:] for parameter in leaf.parameters()}
    return leaves[:first], [parameter for parameter in parameters if id(parameter) not in learning]


def _unknown(name: str, named: dict[str, nn.Module]) -> str:
    if name == BACKBONE:
        return (
            "callbacks.freeze.modules: the network does not say which part is its classifier, all the rest being the "
            "backbone; give it a method get_classifier() that returns it, or name modules"
        )
    names = [child.removeprefix(before) for before in WRAPPERS for child in named if child.startswith(before)]
    near = difflib.get_close_matches(name, names, n=1)
    top = ", ".join(child for child in named if child and "." not in child)
    return (
        f"callbacks.freeze.modules: the network has no module «{name}»"
        + (f"; did you mean «{near[0]}»?" if near else ".")
        + f" Its parts are {top}; backbone is everything but the classifier"
    )
