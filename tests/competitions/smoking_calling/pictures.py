"""Pictures for the tests of smoking_calling: written as files of any kind below a class's folder."""

from pathlib import Path

import cv2
import numpy as np


def random_picture(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (height, width, 3) of soft spots, unlike that of any other seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, image: np.ndarray) -> Path:
    """Write RGB losslessly unless the suffix says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[:, :, ::-1])[1].tobytes())
    return path
