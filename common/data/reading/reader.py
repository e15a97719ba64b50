"""Pictures to be predicted, read as they are needed."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from common.activity import Activity
from common.data.files.found import images_below
from common.data.reading.attempts import THREADS, results, submit
from common.data.reading.images import ImageError, fit_to, max_pixels, needed, read
from common.errors import PodiumError

LARGEST = 1 << 30  # bytes of a batch


def images_of(source: Path) -> list[Path]:
    """The image at `source`, or all images below it. Raises PodiumError if there is none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise PodiumError(f"INPUT: there is no file or folder {source}")
    images = images_below(source)
    if not images:
        raise PodiumError(f"INPUT: there are no images below {source}")
    return images


def bounded(batch_size: int, preprocessings: Sequence[dict[str, Any]]) -> int:
    """As many pictures at a time, or fewer where so many would be more than LARGEST bytes as float32."""
    numbers = sum(int(np.prod(one["size"])) * one["channels"] for one in preprocessings)
    return max(1, min(batch_size, LARGEST // max(1, 4 * numbers)))


def batches(
    paths: list[Path],
    preprocessings: Sequence[dict[str, Any]],
    batch_size: int,
    most_pixels: int | None = None,
) -> Iterator[tuple[list[int], list[np.ndarray], list[ImageError]]]:
    """(positions in `paths`, uint8 (B, H, W, C) for each preprocessing, errors) a batch: two batches in memory.

    Pictures that cannot be read are left out of a batch and come as errors; so do those of more than `most_pixels`,
    None: as each preprocessing says.
    """

    batch_size = bounded(batch_size, preprocessings)

    def load(path: Path) -> list[np.ndarray]:
        found = []
        for one in preprocessings:
            picture = read(path, one["channels"], needed(one), most_pixels or max_pixels(one))
            try:
                found.append(fit_to(picture, one))
            except PodiumError as error:
                raise PodiumError(f"{path}: {error}") from error
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        pending = None
        for start in [*range(0, len(paths), batch_size), None]:
            chunk = None
            if start is not None:  # reads the next batch while the caller works on this one
                chunk = start, submit(pool, load, paths[start : start + batch_size])
            if pending is not None:
                yield _gather(*pending)
            pending = chunk


def predicted(
    paths: list[Path],
    preprocessings: Sequence[dict[str, Any]],
    probabilities: Callable[[list[np.ndarray]], np.ndarray],
    batch_size: int,
    bad: list[ImageError],
    most_pixels: int | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """(position in `paths`, probabilities (K,)) of each picture that can be read, in order; errors go to `bad`.

    probabilities: uint8 (B, H, W, C) for each preprocessing → float (B, K).
    """
    with Activity("predicting", len(paths)) as counter:
        for positions, images, errors in batches(paths, preprocessings, batch_size, most_pixels):
            bad.extend(errors)
            if positions:
                yield from zip(positions, probabilities(images), strict=True)
            counter.done += len(positions) + len(errors)


def _gather(start: int, futures: list[Any]) -> tuple[list[int], list[np.ndarray], list[ImageError]]:
    loaded = results(futures)
    good = [offset for offset, images in enumerate(loaded) if not isinstance(images, ImageError)]
    return (
        [start + offset for offset in good],
        [np.stack(images) for images in zip(*(loaded[offset] for offset in good), strict=True)],
        [images for images in loaded if isinstance(images, ImageError)],
    )
