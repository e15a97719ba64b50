"""Features in place of images: what a frozen backbone says of each image, served in the same batches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.data.augmentation.randomness import view_key


class Features(Dataset[dict[str, Tensor]]):
    """As `Images`, but `image` is float32 (B, …): the features of the same rows.

    Args:
        features: float32 (M, …), in memory or mapped from a file.
        place: the row in `features` of each image of the data set, int64 (N,); -1 where it has none.
        labels: int64 (N,).
        seed: of the keys.
    """

    def __init__(self, features: np.ndarray, place: np.ndarray, labels: np.ndarray, seed: int) -> None:
        self.features = features
        self.place = place
        self.labels = labels
        self.seed = seed

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Tensor]:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        if not items:
            return {name: values[:0] for name, values in self.__getitems__([(0, 0)]).items()}
        index = np.array([row for _, row in items], dtype=np.int64)
        key = np.array([view_key(self.seed, epoch, row) for epoch, row in items], dtype=np.int64)
        return {
            "image": torch.from_numpy(np.asarray(self.features[self.place[index]])),
            "label": torch.from_numpy(self.labels[index]),
            "index": torch.from_numpy(index),
            "key": torch.from_numpy(key),
        }
