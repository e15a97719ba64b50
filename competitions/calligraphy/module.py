"""The module of calligraphy: Podium's classifier, and one look at which side is the ink."""

from typing import Any

import torch
from torch import Tensor

from common.model.classifier import ImageClassifier
from common.model.step_hooks import Outputs


class CalligraphyModule(ImageClassifier):
    """Brush characters, scored by top-1 and top-5 accuracy.

    Args:
        light_on_dark: show the network light strokes on a dark ground only, whether a picture is a rubbing (as it
            is) or ink on paper (inverted). The network then need not learn every character twice.
        others: see ImageClassifier.
    """

    def __init__(self, *, light_on_dark: bool = True, **others: Any) -> None:
        super().__init__(**others)
        self.save_hyperparameters()
        self.light_on_dark = light_on_dark

    def forward(self, images: Tensor) -> Outputs:
        return super().forward(strokes_light(images) if self.light_on_dark else images)


def strokes_light(images: Tensor) -> Tensor:
    """Invert the pictures whose border is light on average: (B, C, H, W) in [0, 1] → the same."""
    border = (images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1])
    light = torch.stack([side.mean(dim=(1, 2)) for side in border]).mean(dim=0) > 0.5
    return images.lerp(1 - images, light.to(images.dtype)[:, None, None, None])
