"""Networks that turn normalised images (B, C, H, W) into logits (B, K): timm's, and efficientnet-pytorch's.

Both return a module with timm's `get_classifier()`, by which the optimizer tells the head from the backbone.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import efficientnet_pytorch
import timm
import torch
from efficientnet_pytorch.utils import url_map, url_map_advprop
from torch import Tensor, nn
from torch.func import functional_call

from common.build import build
from common.config.nearest import listed
from common.errors import PodiumError
from common.model.networks.pretrained import from_hub, load_state, load_weights

# A part, or a function: head(in_features=…, num_classes=…) makes a module that takes (B, F, H, W).
Head = dict[str, Any] | Callable[..., nn.Module]


def timm_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: Sequence[int],
    pretrained: str | None = "none",
    dropout: float = 0.0,
    drop_path: float = 0.0,
    head: Head | None = None,
    pool: str | None = None,
    zero_head: bool = False,
) -> nn.Module:
    """Any network of timm.

    name: one of `timm.list_models()`; for "hub", a tag may choose among its weights: "resnet18.a1_in1k".
    image_size: (H, W). Networks with a fixed input (ViT, Swin, …) are built for it.
    pretrained: "none", "pip", "hub" or a file: see `common.model.networks.pretrained`.
    dropout: before the classifier, in [0, 1). Not used with `head`, which has its own.
    drop_path: stochastic depth, in [0, 1), for networks that have it (https://arxiv.org/abs/1603.09382).
    head: replaces timm's own pooling and classifier: a part, such as those of common/model/networks/heads.py, or a
        function; called with in_features and num_classes.
    pool: timm's pooling before its own classifier, such as "avg", "max" or "catavgmax", both side by side; None: as
        the network was published.
    zero_head: timm's own classifier begins with zeros. Its random start is large where classes are few (for 4 classes
        an EfficientNet's weights reach from -0.5 to 0.5), and what of it the few pictures do not contradict stays:
        good features are then read badly. Weights that are loaded for the classifier count.
    Raises PodiumError for what the network cannot do, with what it can.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        raise PodiumError(f"model.name: timm has no {name!r}; names like it: {listed(close)}")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag that this network does not have
        raise PodiumError(f"model.name: {error}") from None
    options: dict[str, Any] = {"in_chans": in_channels, "num_classes": num_classes}
    if head is not None:
        options |= {"num_classes": 0, "global_pool": ""}
    elif pool is not None:
        options["global_pool"] = pool
    if dropout:
        options["drop_rate"] = dropout
    if drop_path:
        options["drop_path_rate"] = drop_path
    if config is not None and config.fixed_input_size and tuple(image_size) != config.input_size[1:]:
        options["img_size"] = tuple(image_size)

    def create() -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained == "hub", **options)
        except TypeError as error:
            mends = {
                "drop_path_rate": "set model.drop_path=0",
                "drop_rate": "set model.dropout=0",
                "global_pool": "set model.head=null",
                "img_size": f"use images of {config.input_size[1:] if config else 'its own size'}",
            }
            mend = next((mend for option, mend in mends.items() if f"'{option}'" in str(error)), "")
            raise PodiumError(f"model.name: {name} cannot be built so: {error}; {mend}") from error

    model = from_hub(name, create) if pretrained == "hub" else create()
    check_patches(model, name, image_size)
    if (
        zero_head
        and head is None
        and not (pretrained == "hub" and config and num_classes == config.num_classes)
    ):
        for parameter in model.get_classifier().parameters():  # type: ignore[operator, union-attr]
            nn.init.zeros_(parameter)
    prefix = ""
    if head is not None:
        shape = output_shape(model, (1, in_channels, *image_size))
        model, prefix = WithHead(model, fitting_head(head, shape, name, image_size, num_classes)), "backbone."
    if pretrained != "hub":
        first_conv = None if config is None else config.first_conv
        conv = f"{prefix}{first_conv}" if isinstance(first_conv, str) else None
        load_weights(model, pretrained, name=name, first_conv=conv)
    return model


def efficientnet(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: Sequence[int],
    pretrained: str | None = "none",
    advprop: bool = False,
    dropout: float | None = None,
    drop_path: float | None = None,
) -> nn.Module:
    """EfficientNet B0 to B7 of efficientnet-pytorch (Tan and Le 2019, https://arxiv.org/abs/1905.11946).

    name: "efficientnet-b0" to "efficientnet-b7".
    image_size: (H, W); "same" padding is laid out for it.
    pretrained: "none", "hub" or a file; `advprop` takes the hub's weights trained with adversarial examples
    (https://arxiv.org/abs/1911.09665), which want images in [-1, 1]: mean and std 0.5.
    dropout, drop_path: in [0, 1); None is the value of the paper for this size.
    The swish is the plain one, so that the network can be exported.
    """
    if name not in url_map:
        raise PodiumError(f"model.name: efficientnet-pytorch has no {name!r}; it has {listed(url_map)}")
    rates = {"dropout_rate": dropout, "drop_connect_rate": drop_path}
    model = EfficientNet.from_name(
        name,
        in_channels=in_channels,
        num_classes=num_classes,
        image_size=tuple(image_size),
        **{key: rate for key, rate in rates.items() if rate is not None},
    )
    model.set_swish(memory_efficient=False)
    if pretrained == "hub":
        url = (url_map_advprop if advprop else url_map)[name]
        load = torch.hub.load_state_dict_from_url
        state = from_hub(name, lambda: load(url, map_location="cpu", check_hash=True, weights_only=True))
        load_state(model, state, origin=url, first_conv="_conv_stem")
    else:
        load_weights(model, pretrained, name=name, first_conv="_conv_stem")
    return model


class EfficientNet(efficientnet_pytorch.EfficientNet):
    def get_classifier(self) -> nn.Module:
        return self._fc


class WithHead(nn.Module):
    """A timm backbone without pooling and classifier, and a head of ours on its last map."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def get_classifier(self) -> nn.Module:
        return self.head


def fitting_head(
    head: Head, shape: Sequence[int], name: str, image_size: Sequence[int], classes: int
) -> nn.Module:
    """Build `head` for the output `shape` of the network `name`; PodiumError where it does not fit."""
    if len(shape) != 4:
        raise PodiumError(
            f"model.head: {name} gives {tuple(shape)}, not a map (B, F, H, W); use model.head=null"
        )
    given = {"in_features": shape[1], "num_classes": classes}
    module = build(head, "head", **given) if isinstance(head, Mapping) else head(**given)
    try:
        output_shape(module, shape)
    except RuntimeError as error:
        raise PodiumError(
            f"model.head: {type(module).__name__} does not fit {name}'s map of {shape[2]}x{shape[3]} "
            f"for images of {image_size[0]}x{image_size[1]}; use larger images or another head ({error})"
        ) from error
    return module


def check_patches(model: nn.Module, name: str, image_size: Sequence[int]) -> None:
    """Raise PodiumError where a transformer's patches would leave the edge of the image unseen."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and any(side % step for side, step in zip(image_size, patch, strict=True)):
        raise PodiumError(
            f"{name} sees patches of {patch} pixels: both sides of {tuple(image_size)} must be multiples"
        )


def output_shape(module: nn.Module, shape: Sequence[int]) -> torch.Size:
    """Shape that `module` makes of an input of `shape`, found on the meta device, without arithmetic."""
    training = module.training
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    with torch.no_grad():
        output = functional_call(module.eval(), meta, torch.empty(*shape, device="meta"))
    module.train(training)
    return output.shape
