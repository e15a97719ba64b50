"""Decoded images, uint8, shared by all workers: in one buffer in memory, or in a file that is mapped."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from common.activity import Activity
from common.data.reading.attempts import THREADS, results, submit
from common.data.reading.images import ImageError

Source = TypeVar("Source")
TRIED = 64  # pictures of any size that are in memory before it is known whether all fit


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
    def joined(cls, pieces: Sequence["Pixels"]) -> "Pixels":
        """The images of all pieces, in order, in one buffer."""
        ends = np.cumsum([len(piece.buffer) for piece in pieces], dtype=np.int64)
        starts = [piece.starts + end - len(piece.buffer) for piece, end in zip(pieces, ends, strict=True)]
        none = cls.of([])
        return cls(
            np.concatenate([none.buffer, *(piece.buffer for piece in pieces)]),
            np.concatenate([none.starts, *starts]),
            np.concatenate([none.shapes, *(piece.shapes for piece in pieces)]),
        )

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


class Packed:
    """N images of one shape in a file that is mapped read-only: processes share its pages, and none reads it whole.

    Args:
        path: uint8 (at least rows.max() + 1, H, W, C), without a header.
        shape: (H, W, C).
        rows: the row of each image in the file, int64 (N,).
    """

    def __init__(self, path: Path, shape: tuple[int, ...], rows: np.ndarray) -> None:
        self.path, self.shape, self.rows = path, shape, rows
        length = int(rows.max()) + 1 if len(rows) else 0
        whole = np.memmap(path, np.uint8, "r", shape=(length, *shape)) if length else np.empty((0, *shape))
        self._images = np.asarray(whole, np.uint8)  # without memmap's own, slower indexing

    def __reduce__(self) -> Any:
        return Packed, (self.path, self.shape, self.rows)  # workers that are not forked map the file anew

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        """Image `index`: uint8 (H, W, C), a view of the file."""
        return self._images[self.rows[index]]

    def stack(self, indices: Sequence[int]) -> np.ndarray:
        """Copies of images as uint8 (B, H, W, C)."""
        return self._images.take(self.rows[np.asarray(indices)], axis=0)


class Unread:
    """N images of any shapes that are read whenever they are asked for, since memory does not hold them.

    Args:
        picture: reads the image of a row, uint8 (H, W, C).
        rows: the row of each image, int64 (N,).
    """

    def __init__(self, picture: Callable[[int], np.ndarray], rows: np.ndarray) -> None:
        self.picture, self.rows = picture, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.picture(int(self.rows[index]))

    def stack(self, indices: Sequence[int]) -> np.ndarray:
        """Images of one shape as uint8 (B, H, W, C)."""
        return np.stack([self[index] for index in indices])


class Refitted:
    """N images of one shape: some are held, the others are read whenever they are asked for.

    Args:
        picture: reads the image of a row, uint8 (H, W, C).
        count: N.
        rows: those that are held, int64; those of them that cannot be read are not.
    """

    def __init__(self, picture: Callable[[int], np.ndarray], count: int, rows: np.ndarray) -> None:
        self.picture = picture
        self._held, at, _ = decode(rows.tolist(), picture)
        self._place = np.full(count, -1)
        self._place[rows[at]] = np.arange(len(at))

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: int) -> np.ndarray:
        place = self._place[index]
        return self.picture(int(index)) if place < 0 else self._held[place]

    def stack(self, indices: Sequence[int]) -> np.ndarray:
        """Copies of images as uint8 (B, H, W, C)."""
        return np.stack([self[index] for index in indices])


def decode_within(
    most: int, count: int, picture: Callable[[int], np.ndarray], reduced: Callable[[int], np.ndarray]
) -> tuple[Pixels | Unread, np.ndarray, list[ImageError]]:
    """As `decode`, of the rows 0..count-1, where they take at most `most` bytes.

    Else each is tried once, so that those which cannot be read are known, and read by `reduced` from then on.
    """
    held: list[Pixels] = []
    taken, good, errors = 0, [np.empty(0, np.int64)], []
    with Activity("reading pictures", count) as counter:
        for start in range(0, count, TRIED):
            read = picture if taken <= most else reduced
            found, rows, bad = decode(range(start, min(start + TRIED, count)), read, counter)
            good.append(start + rows)
            errors += bad
            if taken <= most:
                taken += found.buffer.nbytes
                held = [*held, found] if taken <= most else []
    rows = np.concatenate(good)
    if taken > most:
        return Unread(reduced, rows), rows, errors
    return Pixels.joined(held), rows, errors


def decode(
    sources: Sequence[Source], read: Callable[[Source], np.ndarray], counter: Activity | None = None
) -> tuple[Pixels, np.ndarray, list[ImageError]]:
    """Read every source once, in parallel, into memory.

    Returns the images that could be read, the positions in `sources` that they came from (int64, ascending) and the
    errors of the others. counter: of an activity that this is part of; None: it is one of its own.
    """
    own = Activity("reading pictures", len(sources)) if counter is None else nullcontext(counter)
    with ThreadPoolExecutor(THREADS) as pool, own as counted:
        found = results(submit(pool, read, sources), counted)
    errors = [image for image in found if isinstance(image, ImageError)]
    good = {row: image for row, image in enumerate(found) if not isinstance(image, ImageError)}
    return Pixels.of(list(good.values())), np.array(list(good), dtype=np.int64), errors
