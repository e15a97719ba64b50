"""Networks with a classifier for every level of a class tree: normalised images → dict level → logits, leaves first."""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from common.config.nearest import listed, suggest
from common.errors import PodiumError
from common.model.networks.backbones import Head, WithHead, fitting_head, output_shape, timm_model
from common.task.hierarchy import LEAF


def level_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: Sequence[int],
    level_sizes: Mapping[str, int] = {},
    levels: Sequence[str] | None = None,
    pretrained: str | None = "none",
    dropout: float = 0.0,
    drop_path: float = 0.0,
    pool: str | None = None,
    head: Head | None = None,
    branch_from: Mapping[str, str] | None = None,
    zero_head: bool = False,
) -> nn.Module:
    """Any network of timm with one classifier for each level.

    level_sizes: coarser level → its number of classes, from fine to coarse; the data set's.
    levels: those of them that get a classifier; None: all.
    dropout: before each classifier, in [0, 1). Not used with `head`, which has its own.
    head: makes each classifier; called with in_features and num_classes. None: a linear layer on timm's own pooling.
    branch_from: level → the backbone's last stage, such as `layer4` of a ResNet or `blocks.6` of an EfficientNet:
        the level has a copy of it, and of all that follows it, with the same initial weights.
    zero_head: without `head`, each level's classifier begins with zeros: see `timm_model`.
    name, pretrained, drop_path, pool, image_size: as in `timm_model`; pool is not used with `head`.
    Raises PodiumError for a level or stage that is not there, and as `timm_model`.
    """
    sizes = {LEAF: num_classes} | _chosen(level_sizes, levels)
    make = partial(
        timm_model,
        name,
        in_channels=in_channels,
        image_size=image_size,
        pretrained=pretrained,
        drop_path=drop_path,
    )
    trunk: Any = make(num_classes=0, pool=pool) if head is None else make(num_classes=1, head=head).backbone
    shape = output_shape(trunk, (1, in_channels, *image_size))
    if head is None:
        heads = {level: _linear(shape[1], size, dropout, zero_head) for level, size in sizes.items()}
    else:
        heads = {level: fitting_head(head, shape, name, image_size, size) for level, size in sizes.items()}
    branches = dict(branch_from or {})
    for level in branches:
        if level not in sizes:
            raise PodiumError(
                f"model.branch_from.{level}: there is no level {level}{suggest(level, sizes)}; "
                f"levels with a classifier are {', '.join(sizes)}"
            )
    if branches:
        trunk = Branched(trunk, list(sizes), branches)
        trunk.check(
            torch.linspace(0, 1, in_channels * image_size[0] * image_size[1]).view(
                1, in_channels, *image_size
            )
        )
    return WithHead(trunk, LevelHead(heads))


class LevelHead(nn.Module):
    """A classifier for each level, on the same features or on each level's own: level → logits (B, K_level)."""

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)

    @property
    def level_names(self) -> list[str]:
        return list(self.heads)

    @property
    def pools(self) -> bool:
        """Whether all of them look only at the mean of each feature map."""
        return all(getattr(head, "pools", False) for head in self.heads.values())

    def forward(self, features: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        if isinstance(features, Tensor):
            features = dict.fromkeys(self.heads, features)
        return {level: head(features[level]) for level, head in self.heads.items()}


class Branched(nn.Module):
    """A backbone of which some levels have their own copy of the last stage: images → level → features.

    Args:
        trunk: the backbone.
        levels: all of them; those without a branch get the trunk's features.
        branch_from: level → name of the last stage.
    """

    def __init__(self, trunk: nn.Module, levels: Sequence[str], branch_from: Mapping[str, str]) -> None:
        super().__init__()
        for level, stage in branch_from.items():
            check_stage(trunk, stage, f"model.branch_from.{level}")
        self.trunk = trunk
        self.levels = list(levels)
        self.branch_from = dict(branch_from)
        self.branches = nn.ModuleDict(
            {level: _from_stage(trunk, stage) for level, stage in branch_from.items()}
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        entered: dict[str, Tensor] = {}
        hooks = [
            self.trunk.get_submodule(stage).register_forward_pre_hook(partial(_keep, entered, stage))
            for stage in set(self.branch_from.values())
        ]  # for this pass only: hooks that stay would be copied with the network, and keep its tensors
        try:
            features = self.trunk(images)
        finally:
            for hook in hooks:
                hook.remove()
        own = {level: self.branches[level](entered[stage]) for level, stage in self.branch_from.items()}
        return {level: own.get(level, features) for level in self.levels}

    def check(self, images: Tensor) -> None:
        """Raise PodiumError unless every branch, still a copy, makes of these images what the trunk makes."""
        training = self.training
        try:
            with torch.no_grad():
                outputs = self.eval()(images)
                expected = self.trunk(images)
            same = all(torch.allclose(outputs[level], expected, atol=1e-5) for level in self.branches)
        except (RuntimeError, TypeError, AttributeError, ValueError):
            same = False
        self.train(training)
        if not same:
            raise PodiumError(
                "model.branch_from: this network cannot be entered at its last stage: more than the map before it goes "
                "in; take a convolutional network, or model.branch_from=null"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Weights of a network without this branch are the trunk's, for the branch too."""
        for level, branch in self.branches.items():
            here = f"{prefix}branches.{level}."
            if not any(name.startswith(here) for name in state_dict):
                own = {name: f"{prefix}trunk.{name}" for name in branch.state_dict()}
                state_dict |= {
                    here + name: state_dict[there] for name, there in own.items() if there in state_dict
                }
        super()._load_from_state_dict(state_dict, prefix, *others)


def check_stage(backbone: nn.Module, stage: str, key: str) -> None:
    """Raise PodiumError unless `stage` names a stage of this network and none like it comes after."""
    rows: dict[str, list[int]] = {}  # what stages are called, such as `layer` or `blocks.` → their numbers
    modules = dict(backbone.named_modules())
    for name, module in modules.items():
        row, number = _numbered(name)
        if number is not None and not re.search(r"\d\.", row) and len(list(module.children())):
            rows.setdefault(row, []).append(number)
    rows = {row: numbers for row, numbers in rows.items() if len(numbers) > 1}
    if not stage or stage not in modules:
        ends = [f"{row}{max(numbers)}" for row, numbers in rows.items()]
        raise PodiumError(
            f"{key}: the network has no stage «{stage}»{suggest(stage, ends)}; the last is {listed(ends)}"
        )
    row, number = _numbered(stage)
    if number is None or row not in rows or number != max(rows[row]):
        last = f"; that is {row}{max(rows[row])}" if row in rows else ""
        raise PodiumError(f"{key}: «{stage}» is not the network's last stage{last}")


def _chosen(sizes: Mapping[str, int], levels: Sequence[str] | None) -> dict[str, int]:
    if not sizes:
        raise PodiumError(
            "model: a network with several levels needs a data set with a class tree, and this one has none; "
            "choose model=timm"
        )
    for level in levels or ():
        if level not in sizes:
            raise PodiumError(
                f"model.levels: the data set has no level {level}{suggest(level, sizes)}; it has {', '.join(sizes)}"
            )
    return {level: size for level, size in sizes.items() if levels is None or level in levels}


def _linear(in_features: int, num_classes: int, dropout: float, zero: bool) -> nn.Module:
    layers = {"dropout": nn.Dropout(dropout), "fc": nn.Linear(in_features, num_classes)}
    if zero:
        for parameter in layers["fc"].parameters():
            nn.init.zeros_(parameter)
    return nn.Sequential(OrderedDict(layers))


def _from_stage(trunk: nn.Module, stage: str) -> nn.Module:
    """A copy of the trunk from `stage` on: what comes before is the identity."""
    copied = node = deepcopy(trunk)
    for name in stage.split("."):
        for earlier, _ in list(node.named_children()):
            if earlier == name:
                break
            setattr(node, earlier, nn.Identity())
        node = node.get_submodule(name)
    return copied


def _keep(entered: dict[str, Tensor], stage: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    entered[stage] = inputs[0]


def _numbered(name: str) -> tuple[str, int | None]:
    """(`layer`, 4) of `layer4`; (name, None) where it ends with no number."""
    match = re.fullmatch(r"(.*?)(\d+)", name)
    return (match[1], int(match[2])) if match else (name, None)
