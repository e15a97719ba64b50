"""The two kinds of view that a recipe may use, built from its `views` node."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from common.build import build
from common.data.augmentation.batch_views import BatchViews

ImageView = Callable[[np.ndarray, int], np.ndarray]
BatchView = Callable[[Tensor, Tensor], Tensor]


def make_views(views: dict[str, Any]) -> tuple[ImageView | None, BatchView]:
    """The view of one image in a worker (None if the recipe has none) and the views of a batch on the device.

    views: `image`, a list of imgaug steps (see common/data/augmentation/image_views.py); `batch`, name → part
    (see common/data/augmentation/batch_views.py) or null, applied in order.
    """
    steps = views.get("image") or []
    if steps:
        from common.data.augmentation.image_views import (
            ImageViews,  # only recipes that use imgaug pay for its import
        )

        image_view: ImageView | None = ImageViews(steps)
    else:
        image_view = None
    parts = (views.get("batch") or {}).items()
    return image_view, BatchViews({name: build(part, "batch view") for name, part in parts if part})
