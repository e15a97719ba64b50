"""Photographs or strokes? Told from the pictures, since what may be mirrored depends on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.data.reading.images import Image, ImageError, read

LOOKED_AT = 50  # pictures of a folder
SIDE = 64  # pixels that a picture is shrunk to


def share_of_strokes(paths: Sequence[Path | str]) -> float | None:
    """The share of strokes among some of these pictures, spread evenly, in [0, 1]; None if none can be read."""
    chosen = np.linspace(0, len(paths) - 1, min(LOOKED_AT, len(paths))).round().astype(int)
    votes = []
    for index in chosen:
        try:
            votes.append(is_strokes(read(paths[index], channels=1, at_least=(SIDE, SIDE))))
        except ImageError:
            continue
    return float(np.mean(votes)) if votes else None


def is_strokes(picture: Image) -> bool:
    """Whether a grey picture, uint8 (H, W, 1), shows thin ink on a ground that is nearly white or nearly black.

    Otsu's threshold makes two tones of it. They must explain 80 % of the variance, which photographs reach seldom; the
    larger, the ground, must be lighter than 200 or darker than 60; and the ink's half width (90th percentile) must be
    below 13 % of the side, which leaves out things before a plain ground.
    """
    grey: Any = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    _, light = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    ink = light > 0 if np.count_nonzero(light) < light.size / 2 else light == 0
    if not ink.any():  # one tone
        return False
    share, ground = ink.mean(), grey[~ink]
    explained = share * (1 - share) * (grey[ink].mean() - ground.mean()) ** 2 / grey.var()
    inside = np.pad(ink, 1, mode="edge").astype(np.uint8)  # ink that is cut off at the border goes on
    half_width = np.quantile(cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1][ink], 0.9) / SIDE
    return bool(explained > 0.8 and half_width < 0.13 and not 60 <= np.median(ground) <= 200)
