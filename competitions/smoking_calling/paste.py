"""Pasting: a tall crop of a person is laid, whole and opaque, on another picture of 600 × 600 pixels.

The contest entry called it CutMix, but nothing is cut and no labels are mixed: the picture keeps the class of what is
in front. What is behind is of the same class, or normal, which adds nothing to see.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.reading.images import Image

SIDE, TALLEST, RATIO, OFFSET = 600, 550, 2, 20


def foregrounds(table: pd.DataFrame) -> NDArray[np.object_]:
    """Ids of what can be in front: more than twice as high as wide, lower than 550 pixels (columns height, width)."""
    tall = (table["height"] > RATIO * table["width"]) & (table["height"] < TALLEST)
    return table.loc[tall, "id"].to_numpy(object)


def backgrounds(table: pd.DataFrame) -> NDArray[np.object_]:
    """Ids of what can be behind: exactly 600 pixels high and no wider."""
    return table.loc[(table["height"] == SIDE) & (table["width"] <= SIDE), "id"].to_numpy(object)


def paste(front: Image, back: Image, rng: np.random.Generator) -> Image:
    """`front` on `back`, near the middle: uint8 (H, W, 3), (600, W', 3) → (600, 600, 3).

    `back` is repeated to both sides until it is 600 wide. The middle is moved by up to 20 pixels each way.
    """
    spare = SIDE - back.shape[1]
    page = np.pad(back, [(0, 0), (spare // 2, spare - spare // 2), (0, 0)], mode="wrap")
    height, width = front.shape[:2]
    top, left = (
        max(1, (SIDE - side) // 2 + int(rng.integers(-OFFSET, OFFSET + 1))) for side in (height, width)
    )
    page[top : top + height, left : left + width] = front
    return page
