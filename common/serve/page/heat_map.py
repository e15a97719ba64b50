"""What a network looked at: Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391), by grad-cam."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from common.model.classifier import ImageClassifier, leaf
from common.model.networks.backbone_parts import classifiers_of

STRENGTH = 0.65  # of the colours where the heat is 1
HOTTEST = 225  # of 255 colours: those beyond are too dark to look hot


class NoMap(Exception):
    """The network has no map of features on which a place in the picture could be seen."""


class HeatMap:
    """Which places of a picture speak for a class, on the last map of features before the classifier.

    Args:
        module: a trained model. It is put into eval mode, and its weights take no gradients from now on.

    Raises NoMap.
    """

    def __init__(self, module: ImageClassifier) -> None:
        self.logits = _Logits(module.eval().requires_grad_(False))
        self.device = module.device
        size, channels = module.preprocessing["size"], module.preprocessing["channels"]
        self.layer, self.as_map = last_map(self.logits, module.net, (1, channels, *size))

    def __call__(self, image: np.ndarray, label: int) -> np.ndarray:
        """uint8 (H, W, C), fitted → float32 (H, W) in [0, 1], 1 where most speaks for the class `label`."""
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]  # (1, C, H, W)
        batch = pixels.to(self.device).float().div_(255).requires_grad_()
        with GradCAM(self.logits, [self.layer], self.as_map) as grad_cam:
            return grad_cam(batch, [ClassifierOutputTarget(label)])[0]


def last_map(
    logits: nn.Module, net: nn.Module, shape: tuple[int, ...]
) -> tuple[nn.Module, Callable[[Tensor], Tensor] | None]:
    """The last layer whose output is a map that the logits depend on, and what makes its output (B, F, H, W).

    It is found by looking: one forward pass of a blank picture, `shape` (1, C, H, W). Transformers of patches have no
    such layer; what enters their last block counts, since behind it only the class token need reach the classifier.
    """
    if found := _last_tokens(net):
        return found
    classifier = {id(layer) for part in classifiers_of(net) for layer in part.modules()}
    maps: list[tuple[nn.Module, Tensor]] = []

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.requires_grad:
            maps.append((layer, output))

    watched = [layer for layer in net.modules() if layer is not net and id(layer) not in classifier]
    hooks = [layer.register_forward_hook(note) for layer in watched]
    try:
        with torch.enable_grad():
            device = next(net.parameters()).device
            outputs = logits(torch.zeros(shape, device=device, requires_grad=True))
    finally:
        for hook in hooks:
            hook.remove()
    last_channels = any(getattr(part, "output_fmt", None) == "NHWC" for part in net.modules())
    as_map = _channels_first if last_channels else None
    calls = Counter(id(layer) for layer, _ in maps)  # a layer may be shared, as activations are
    maps = [
        (layer, output)
        for layer, output in maps
        if calls[id(layer)] == 1 and (as_map(output) if as_map else output).shape[2:].numel() > 1
    ]
    gradients = (
        torch.autograd.grad(outputs.sum(), [output for _, output in maps], allow_unused=True) if maps else []
    )
    reached = [layer for (layer, _), gradient in zip(maps, gradients, strict=True) if gradient is not None]
    if not reached:
        raise NoMap
    return reached[-1], as_map


def _last_tokens(net: nn.Module) -> tuple[nn.Module, Callable[[Tensor], Tensor]] | None:
    """timm's transformers of patches: the norm before the last attention, and its tokens as a map."""
    for part in net.modules():
        blocks = getattr(part, "blocks", None)
        grid = getattr(getattr(part, "patch_embed", None), "grid_size", None)
        if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) and grid:
            norm = getattr(blocks[-1], "norm1", None)
            if isinstance(norm, nn.Module):
                return norm, partial(_patches, others=getattr(part, "num_prefix_tokens", 0), grid=grid)
    return None


def _patches(tokens: Tensor, others: int, grid: tuple[int, int]) -> Tensor:
    """(B, N, F) → (B, F, H, W), without the first tokens: the class token, registers."""
    return tokens[:, others:].transpose(1, 2).unflatten(2, grid)


def _channels_first(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


class _Logits(nn.Module):
    """The logits of the leaves, (B, K), of images in [0, 1]."""

    def __init__(self, module: ImageClassifier) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return leaf(self.module(images))


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Heat as colours over a picture: blue where there is a little, red where there is most, none where there is none.

    picture: uint8 (H, W, 3); heat: float (h, w) in [0, 1] → uint8 (H, W, 3).
    """
    height, width = picture.shape[:2]
    smooth = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((smooth * HOTTEST).round().astype(np.uint8), cv2.COLORMAP_TURBO)[:, :, ::-1]
    alpha = STRENGTH * smooth[:, :, None]
    return (picture * (1 - alpha) + colours * alpha).round().astype(np.uint8)
