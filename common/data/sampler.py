"""The order of training: counted, so that it can be entered at any point."""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

# How often a class is drawn: in proportion to its number of images to this power.
SAMPLING = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}

AGAIN = (
    2**32
)  # more than there are epochs: an image drawn again within an epoch gets the views of a later one


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) pairs whose order depends on (seed, epoch) alone.

    Iteration starts at the batch that `position` names at that moment, so a resumed run goes on with exactly the
    images that an unbroken one would have seen. Under DDP each rank takes its share of every batch.

    Rows may hold an image several times. With `labels` classes are drawn by `SAMPLING`, see `drawn`; an epoch stays
    as long as it is without. What comes for the n-th time beyond the first in an epoch comes as
    (epoch + n · 2^32, index), so that its view is another.

    Args:
        rows: the images' indices, int64 (N,).
        batch_size: images a batch and rank, ≥ 1. The last, smaller batch of an epoch is dropped, unless it is
            the only one.
        seed: of the order.
        position: gives (epoch, batches of it already done).
        rank, world_size: this process among those that train together.
        labels: class of each of the rows, int64 (N,), ≥ 0; None: each row comes once.
        power: of a class's number of images, in [0, 1]: how often it is drawn, with `labels`.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        position: Callable[[], tuple[int, int]],
        rank: int = 0,
        world_size: int = 1,
        labels: np.ndarray | None = None,
        power: float = 1.0,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self.rank = rank
        self.world_size = world_size
        self.labels = labels
        self.power = power

    def __len__(self) -> int:
        return max(1, len(self.rows) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, done = self.position()
        order, epochs = self._order(epoch)
        whole = self.batch_size * self.world_size
        for batch in range(done, len(self)):
            mine = slice(batch * whole + self.rank, (batch + 1) * whole, self.world_size)
            yield list(zip(epochs[mine].tolist(), order[mine].tolist(), strict=True))

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of an epoch in their order, and the epochs that they come as: int64 (N,) each."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        if self.labels is None:
            order = generator.permutation(self.rows)
        else:
            order = self.rows[drawn(self.labels, self.power, generator)]
        return order, epoch + seen_before(order) * AGAIN


def seen_before(values: np.ndarray) -> np.ndarray:
    """How often each value stands further ahead, int64 (N,). values: int64 (N,), ≥ 0."""
    by_value = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[by_value], prepend=-1))
    counts = np.diff(np.append(starts, len(values)))
    before = np.empty(len(values), np.int64)
    before[by_value] = np.arange(len(values)) - np.repeat(starts, counts)
    return before


def drawn(labels: np.ndarray, power: float, generator: np.random.Generator) -> np.ndarray:
    """N places in `labels`, shuffled, int64 (N,).

    A class of n images is drawn in proportion to n^power: its share of N, rounded up or down by chance such that
    it comes true on average. All images of a class are drawn before one is drawn again.

    labels: int64 (N,), ≥ 0. power: in [0, 1].
    """
    total = len(labels)
    shuffled = generator.permutation(total)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    images = np.bincount(labels)
    images = images[images > 0]
    shares = images**power / (images**power).sum()
    ends = np.floor(np.cumsum(shares) * total + generator.random()).astype(np.int64)
    ends[-1] = total
    draws = np.diff(ends, prepend=0)
    nth = np.arange(total) - np.repeat(ends - draws, draws)  # of its class
    starts = np.cumsum(images) - images
    places = by_class[np.repeat(starts, draws) + nth % np.repeat(images, draws)]
    return generator.permutation(places)
