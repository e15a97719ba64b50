"""The order of training: counted, so that it can be entered at any point."""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) pairs whose order depends on (seed, epoch) alone.

    Iteration starts at the batch that `position` names at that moment, so a resumed run goes on with exactly the
    images that an unbroken one would have seen. Under DDP each rank takes its share of every batch.

    Args:
        rows: the images' indices, int64 (N,).
        batch_size: images a batch and rank, ≥ 1. The last, smaller batch of an epoch is dropped, unless it is
            the only one.
        seed: of the order.
        position: gives (epoch, batches of it already done).
        rank, world_size: this process among those that train together.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        position: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return max(1, len(self.rows) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, done = self.position()
        order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.rows)
        whole = self.batch_size * self.world_size
        for batch in range(done, len(self)):
            indices = order[batch * whole : (batch + 1) * whole][self.rank :: self.world_size]
            yield [(epoch, index) for index in indices.tolist()]
