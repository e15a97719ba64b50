"""Decoded images: every file is read once, then lives as uint8 in one buffer that all workers share."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from common.data.images import ImageError


@dataclass
class Pixels:
    """N images of any shapes in one flat buffer, so that forked workers share it without copying.

    buffer: uint8 (total bytes,); starts: int64 (N,); shapes: int64 (N, 3), each (H, W, C).
    """

    buffer: np.ndarray
    starts: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index`: uint8 (H, W, C), a view of the buffer."""
        start, shape = self.starts[index], self.shapes[index]
        return self.buffer[start : start + shape.prod()].reshape(shape)

    def stack(self, indices: Sequence[int]) -> np.ndarray:
        """Images of one shape as uint8 (B, H, W, C)."""
        shape = self.shapes[indices[0]]
        rows = self.buffer[: len(self) * shape.prod()].reshape(len(self), *shape)
        return rows[np.asarray(indices)]

    @property
    def uniform(self) -> bool:
        """Whether all images have one shape, so that `stack` applies."""
        return len(self) == 0 or bool((self.shapes == self.shapes[0]).all())

    @classmethod
    def of(cls, images: Sequence[np.ndarray]) -> "Pixels":
        """Copy `images` (uint8 (H, W, C) each) into one buffer."""
        shapes = np.array([image.shape for image in images], dtype=np.int64).reshape(-1, 3)
        ends = shapes.prod(axis=1).cumsum()
        buffer = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
        starts = ends - shapes.prod(axis=1)
        for image, start, end in zip(images, starts, ends, strict=True):
            buffer[start:end] = image.reshape(-1)
        return cls(buffer, starts, shapes)


def decode(
    paths: Sequence[str], read: Callable[[str], np.ndarray]
) -> tuple[Pixels, np.ndarray, list[ImageError]]:
    """Read every path once, in parallel.

    Returns the images that could be read, the rows of `paths` that they came from (int64, ascending) and the
    errors of the others.
    """

    def attempt(path: str) -> np.ndarray | ImageError:
        try:
            return read(path)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(pool.map(attempt, paths))
    errors = [image for image in found if isinstance(image, ImageError)]
    good = {row: image for row, image in enumerate(found) if not isinstance(image, ImageError)}
    return Pixels.of(list(good.values())), np.array(list(good), dtype=np.int64), errors
