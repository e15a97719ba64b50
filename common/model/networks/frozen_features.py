"""Features of a frozen backbone: what its classifier is given for an image, and the classifier applied to that.

While the classifier alone learns and every image looks the same in each epoch, the backbone says the same each time:
it need be asked only once.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.model.networks.backbone_parts import classifiers_of
from common.model.step_hooks import Outputs

PROBE_SEED = 0
RTOL, ATOL = 1e-4, 1e-5  # what counts as rounding


class Unlike(Exception):
    """The classifier on features would not compute what the network computes on images; the message says why."""


class FromFeatures:
    """A network's classifier, applied to features as the network applies it, the dropout before it included.

    Args:
        net: the network, whose mode (train or eval) decides on dropout.
        dropout: share of the features set to 0 in training, in [0, 1).
    """

    def __init__(self, net: nn.Module, dropout: float) -> None:
        self.net = net
        self.classifier = classifiers_of(net)[0]
        self.dropout = dropout

    def __call__(self, features: Tensor) -> Outputs:
        """features: float32 (B, …), as `features_of` gives them → logits (B, K), or a dict of them by level."""
        return self.classifier(F.dropout(features, self.dropout, self.net.training))


def features_of(module: Any, images: Tensor) -> Tensor:
    """What the classifier of `module.net` is given for images (B, C, H, W) in [0, 1]: float32 (B, …).

    Of a head that looks only at the mean of each feature map, the means, (B, F, 1, 1), are enough.
    """
    classifier = classifiers_of(module.net)[0]
    features: list[Tensor] = []

    def take(_: nn.Module, given: tuple[Any, ...]) -> None:
        features.append(given[0])
        raise _Enough  # what the classifier makes of it is not asked for

    handle = classifier.register_forward_pre_hook(take)
    try:
        module(images)
    except _Enough:
        pass
    finally:
        handle.remove()
    return _pooled(classifier, features[0])


def head_on_features(module: Any, images: Tensor) -> FromFeatures:
    """The classifier of a module whose backbone is frozen, tried on a few images (B, C, H, W) in [0, 1].

    Whatever a network does between backbone and classifier, features are used only where they give the same logits,
    and the same dropout of the same features while training. Raises Unlike if they do not. The module is left as it
    was.
    """
    net: nn.Module = module.net
    parts = classifiers_of(net)
    if len(parts) != 1:
        raise Unlike(
            "the network has two classifiers" if parts else "the network does not name its classifier"
        )
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    modes = {part: part.training for part in net.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(PROBE_SEED)
            while_training, _ = _both(module, images)
            net.eval()
            plain, logits = _both(module, images)
            head = FromFeatures(net, _dropout(plain, while_training))
            if not _same(head(plain), logits):
                raise Unlike("the network does more with its images than its classifier sees")
            torch.manual_seed(PROBE_SEED)
            if not _same(F.dropout(plain, head.dropout), while_training):
                raise Unlike(
                    "while it trains, the network does more than dropout between backbone and classifier"
                )
    finally:
        for part, mode in modes.items():
            part.training = mode
        for name, buffer in net.named_buffers():
            buffer.copy_(buffers[name])
    return head


class _Enough(Exception):
    """The features have been seen."""


def _both(module: Any, images: Tensor) -> tuple[Tensor, Outputs]:
    """(what the classifier is given, what the network returns)."""
    classifier = classifiers_of(module.net)[0]
    given: list[tuple[Any, ...]] = []
    handle = classifier.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    try:
        outputs = module(images)
    finally:
        handle.remove()
    if len(given) != 1 or len(given[0]) != 1 or not isinstance(given[0][0], Tensor):
        raise Unlike("the classifier is not given one tensor, once")
    return _pooled(classifier, given[0][0]), outputs


def _pooled(classifier: nn.Module, features: Tensor) -> Tensor:
    """The mean of each map, where that is all that the classifier sees: a head of ours says so by `pools`."""
    if getattr(classifier, "pools", False) and features.ndim == 4:
        return features.float().mean((-2, -1), keepdim=True)
    return features.float()


def _dropout(plain: Tensor, while_training: Tensor) -> float:
    """The share of features that training sets to 0: the others are 1 / (1 - share) times as large."""
    kept = (plain.abs() > 1e-6) & (while_training != 0)
    if torch.equal(plain, while_training) or not kept.any():
        return 0.0
    scale = float((while_training[kept] / plain[kept]).median())
    return round(1 - 1 / scale, 5) if scale > 1 else 0.0


def _same(one: Outputs, other: Outputs) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[level], other[level]) for level in one)
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=RTOL, atol=ATOL)
