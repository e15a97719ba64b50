"""Batches of images: what one loader worker does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.data.augmentation.randomness import view_key
from common.data.pixels.arrays import Packed, Pixels, Refitted, Unread

Image = np.ndarray


class Images(Dataset[dict[str, Tensor]]):
    """Images and labels, fetched a batch at a time.

    Items are (epoch, index) pairs; `index` is a row of `pixels` and `labels`. The batch holds `image` uint8
    (B, C, H, W), `label` int64 (B,), `index` int64 (B,) and `key` int64 (B,): the counted randomness of each view.

    Args:
        pixels: all images of the data set.
        labels: int64 (N,), -1 where unknown.
        fit: brings an image to the model's size, uint8 (H, W, C) → uint8 (H', W', C). None where `pixels` fits already.
        view: a random view of one image from its key, before `fit`; None for none.
        seed: of the keys.
    """

    def __init__(
        self,
        pixels: Pixels | Packed | Refitted | Unread,
        labels: np.ndarray,
        fit: Callable[[Image], Image] | None,
        view: Callable[[Image, int], Image] | None,
        seed: int,
    ) -> None:
        self.pixels = pixels
        self.labels = labels
        self.fit = fit
        self.view = view
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Tensor]:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        if not items:
            return {name: values[:0] for name, values in self.__getitems__([(0, 0)]).items()}
        index = np.array([row for _, row in items], dtype=np.int64)
        key = np.array([view_key(self.seed, epoch, row) for epoch, row in items], dtype=np.int64)
        images = self._images(index, key).transpose(0, 3, 1, 2)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(images)),
            "label": torch.from_numpy(self.labels[index]),
            "index": torch.from_numpy(index),
            "key": torch.from_numpy(key),
        }

    def _images(self, index: np.ndarray, key: np.ndarray) -> np.ndarray:
        if self.fit is None and self.view is None:
            return self.pixels.stack(index.tolist())
        images: list[Any] = [self.pixels[row] for row in index]
        if self.view is not None:
            images = [self.view(image, int(k)) for image, k in zip(images, key, strict=True)]
        if self.fit is not None:
            images = [self.fit(image) for image in images]
        return np.stack(images)


def whole(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The collate function of a data set that fetches whole batches: nothing is left to do."""
    return batch
