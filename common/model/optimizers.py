"""Optimizers, built from a part of the configuration over parameter groups.

A part is the optimizer's class and its own arguments, and keys of ours: how parameters are grouped, and what happens
to gradients:

    _target_: torch.optim.AdamW
    lr: 0.001
    weight_decay: 0.05
    no_decay_norm_and_bias: true   # normalisation layers and biases do not decay
    backbone_lr_scale: 1.0         # learning rate of the backbone, as a factor of lr, which is the head's
    centralize_gradients: none     # see common/model/gradient_centralization.py
"""

import inspect
from collections.abc import Mapping
from typing import Any

from pytorch_optimizer.base.exception import NegativeLRError
from torch import nn
from torch.optim import Optimizer

from common.config.nearest import listed, suggest
from common.errors import PodiumError
from common.model.gradient_centralization import centralize
from common.model.networks.backbone_parts import classifiers_of
from common.trust import resolve


def build_optimizer(part: Mapping[str, Any], module: nn.Module) -> Optimizer:
    """The optimizer that `part` describes, over the parameters of `module` that are not frozen.

    Raises PodiumError for a key that the optimizer does not have, and as `parameter_groups` and `centralize`.
    """
    arguments = {str(key): value for key, value in part.items()}
    if "lr" not in arguments:
        raise PodiumError("optimizer.lr is missing")
    optimizer = resolve(arguments.pop("_target_"), "optimizer")
    mode = arguments.pop("centralize_gradients", "none")
    lr = arguments.pop("lr")
    groups = parameter_groups(
        module,
        weight_decay=arguments.pop("weight_decay", 0.0),
        no_decay_norm_and_bias=arguments.pop("no_decay_norm_and_bias", True),
        lr=lr,
        backbone_lr_scale=arguments.pop("backbone_lr_scale", 1.0),
    )
    # Some optimizers swallow unknown keys in **kwargs.
    accepted = [name for name in inspect.signature(optimizer).parameters if name not in ("params", "kwargs")]
    if "degenerated_to_sgd" in accepted:  # without it some rectified Adams of pytorch-optimizer begin uphill
        arguments.setdefault("degenerated_to_sgd", True)
    for key in arguments:
        if key not in accepted:
            hint = suggest(key, accepted) or f"; it has {listed(accepted)}"
            raise PodiumError(f"optimizer.{key}: {optimizer.__name__} has no such argument{hint}")
    if "betas" in arguments:
        arguments["betas"] = tuple(arguments["betas"])
    try:
        built: Optimizer = optimizer(groups, lr=lr, **arguments)
    except (ValueError, RuntimeError, NegativeLRError) as error:
        raise PodiumError(f"optimizer: {optimizer.__name__} refuses its values: {error}") from error
    if hasattr(
        built, "_step_supports_amp_scaling"
    ):  # fused ones would unscale within their step, after the clipping
        built._step_supports_amp_scaling = False
    centralize(built, mode)
    return built


def parameter_groups(
    module: nn.Module,
    weight_decay: float,
    no_decay_norm_and_bias: bool = True,
    lr: float | None = None,
    backbone_lr_scale: float = 1.0,
) -> list[dict[str, Any]]:
    """Parameters of `module` by what differs in their training; frozen ones are left out, empty groups too.

    Each group has `params`, `weight_decay` and a `name`: "backbone" or "head" where `backbone_lr_scale` is
    not 1, else "all"; with ", no decay" where `no_decay_norm_and_bias` applies. It applies to vectors and
    scalars (biases, the scales of normalisation layers) and to what timm's `no_weight_decay()` names
    (position embeddings).

    lr: if given, each group has its `lr`; the backbone's is `lr * backbone_lr_scale`.
    Raises PodiumError if nothing can be trained, or a backbone is to be told from a head that is not known.
    """
    if weight_decay < 0:
        raise PodiumError(f"optimizer.weight_decay must be at least 0, got {weight_decay}")
    if lr is None and backbone_lr_scale != 1:
        raise ValueError("backbone_lr_scale needs lr")
    head = {id(p) for p in head_parameters(module)} if backbone_lr_scale != 1 else set()
    without_decay = _named_without_decay(module) if no_decay_norm_and_bias else set()
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "all" if backbone_lr_scale == 1 else "head" if id(parameter) in head else "backbone"
        decays = not no_decay_norm_and_bias or (parameter.ndim > 1 and name not in without_decay)
        group = groups.setdefault(part if decays else f"{part}, no decay", {"params": []})
        group["params"].append(parameter)
        group["weight_decay"] = weight_decay if decays else 0.0
        if lr is not None:
            group["lr"] = lr * backbone_lr_scale if part == "backbone" else lr
    if not groups:
        raise PodiumError("all parameters are frozen: there is nothing to train")
    return [{"name": name} | group for name, group in groups.items()]


def head_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of the classifier: of the first submodule that has timm's `get_classifier()`."""
    heads = classifiers_of(module)
    if not heads:
        raise PodiumError(
            "optimizer.backbone_lr_scale: the model does not say which part is its head; "
            "give it a method get_classifier() that returns it"
        )
    return [parameter for head in heads for parameter in head.parameters()]


def _named_without_decay(module: nn.Module) -> set[str]:
    names = set()
    for prefix, submodule in module.named_modules():
        if hasattr(submodule, "no_weight_decay"):
            names |= {f"{prefix}.{name}".lstrip(".") for name in submodule.no_weight_decay()}
    return names
