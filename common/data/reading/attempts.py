"""Pictures prepared side by side by threads, those that cannot be read as their errors."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from common.activity import Activity
from common.cores import cores
from common.data.reading.images import ImageError

Source = TypeVar("Source")
Picture = TypeVar("Picture")

THREADS = cores()
LARGEST_CHUNK = 64


def submit(
    pool: ThreadPoolExecutor, prepare: Callable[[Source], Picture], sources: Sequence[Source]
) -> list[Future[list[Picture | ImageError]]]:
    """Start prepare(source) for each source, several to a thread at once; see `results`.

    A picture of a few thousand pixels is prepared sooner than threads hand each other the interpreter. Yet every thread
    gets several chunks, so that none is left to work alone on large pictures.

    pool: of THREADS threads.
    """

    def attempt(source: Source) -> Picture | ImageError:
        try:
            return prepare(source)
        except ImageError as error:
            return error

    def all_of(chunk: Sequence[Source]) -> list[Picture | ImageError]:
        return [attempt(source) for source in chunk]

    size = min(LARGEST_CHUNK, max(1, len(sources) // (4 * THREADS)))
    return [pool.submit(all_of, sources[start : start + size]) for start in range(0, len(sources), size)]


def results(
    futures: Sequence[Future[list[Picture | ImageError]]], counter: Activity | None = None
) -> list[Picture | ImageError]:
    """What became of each source, in their order. counter: counts them as they are done."""
    found: list[Picture | ImageError] = []
    for future in futures:
        done = future.result()
        found += done
        if counter is not None:
            counter.done += len(done)
    return found
