"""Pictures to be predicted, read as they are needed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from common.data.images import ImageError, read
from common.data.module import fit_to
from common.data.records import images_below
from common.errors import PodiumError


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


def batches(
    paths: list[Path], preprocessing: dict[str, Any], batch_size: int
) -> Iterator[tuple[list[int], np.ndarray, list[ImageError]]]:
    """(positions in `paths`, uint8 (B, H, W, C), errors) a batch: memory holds two batches at a time.

    Unreadable pictures are left out of a batch and come as errors.
    """

    def load(path: Path) -> np.ndarray | ImageError:
        try:
            image = read(path, preprocessing["channels"], at_least=tuple(preprocessing["size"]))
            return fit_to(image, preprocessing)
        except ImageError as error:
            return error

    with ThreadPoolExecutor() as pool:
        pending = None
        for start in [*range(0, len(paths), batch_size), None]:
            chunk = None
            if start is not None:  # reads the next batch while the caller works on this one
                chunk = start, [pool.submit(load, path) for path in paths[start : start + batch_size]]
            if pending is not None:
                yield _gather(*pending)
            pending = chunk


def _gather(start: int, futures: list[Any]) -> tuple[list[int], np.ndarray, list[ImageError]]:
    loaded = [future.result() for future in futures]
    good = [offset for offset, image in enumerate(loaded) if not isinstance(image, ImageError)]
    images = np.stack([loaded[offset] for offset in good]) if good else np.empty((0, 1, 1, 1), np.uint8)
    return (
        [start + offset for offset in good],
        images,
        [image for image in loaded if isinstance(image, ImageError)],
    )
