"""One picture's way through the service: upload, preparation in threads, the model's batch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request

from common.cores import cores
from common.serve.aside import Aside
from common.serve.batching import Batcher
from common.serve.http.uploads import read_upload
from common.serve.limits import Limits
from common.serve.metrics import Metrics
from common.serve.pictures import prepare
from common.serve.refused import not_now
from common.serve.served import Model, Source

T = TypeVar("T")


class Service:
    """A model behind limits.

    Args:
        source: what is served.
        batch_size: pictures that the model takes at a time, at most.
    """

    def __init__(self, source: Source, limits: Limits, batch_size: int) -> None:
        self.source = source
        self.limits = limits
        self.metrics = Metrics()
        self.batcher = Batcher(source.load, batch_size, limits.requests, self.metrics.batches.observe)
        self.metrics.ready.set_function(lambda: self.batcher.ready)
        self.threads = ThreadPoolExecutor(cores(), thread_name_prefix="prepare")
        self.aside = Aside()
        self.working = 0
        self.held = 0  # bytes of uploads that are not whole yet

    def start(self) -> None:
        self.batcher.start()

    def close(self) -> None:
        """Answer what was accepted, then stop."""
        self.batcher.close()
        self.threads.shutdown()
        self.aside.close()

    @property
    def model(self) -> Model:
        """The model. Raises Refused (503) while there is none."""
        if self.batcher.model is None or not self.batcher.ready:
            raise self.batcher.why_not()
        return self.batcher.model

    async def upload(self, request: Request, field: str) -> bytes:
        """A request's picture, as it was sent. Raises Refused.

        Until it is whole it takes no place, else a few slow clients would have them all. What bounds all uploads
        together is memory: as much as all places may take.
        """
        self._full()
        most, mine = self.limits.requests * self.limits.megabytes * 1e6, 0

        def hold(size: int) -> None:
            nonlocal mine
            if self.held + size > most:
                raise not_now("there is no memory for more uploads: try again in a moment")
            self.held += size
            mine += size

        try:
            return await read_upload(request, field, self.limits, hold)
        finally:
            self.held -= mine

    def _full(self) -> None:
        if self.working >= self.limits.requests:
            raise not_now(f"{self.working} pictures are in work already: try again in a moment")

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of `limits.requests` places, from the end of an upload to its answer. Raises Refused (503)."""
        self._full()
        self.working += 1
        self.metrics.working.set(self.working)
        try:
            yield
        finally:
            self.working -= 1
            self.metrics.working.set(self.working)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """What an upload is answered by, within `limits.answer_seconds`: preparation, all waiting, the model.

        Raises Refused (503) when the time is over. Work that a thread has begun goes on, what waits for one is dropped.
        """
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                yield
        except TimeoutError as error:
            raise not_now(f"there was no answer within {self.limits.answer_seconds:g} s") from error

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)

    async def probabilities(self, request: Request, field: str) -> np.ndarray:
        """float (K,) of a request's picture. Raises Refused."""
        preprocessings = self.model.preprocessings
        data = await self.upload(request, field)
        with self.place():
            async with self.in_time():
                pictures = await self.in_thread(prepare, data, preprocessings, self.limits)
                return await asyncio.wrap_future(self.batcher.submit(pictures))
