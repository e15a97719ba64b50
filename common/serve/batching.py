"""Dynamic batching: one thread that holds the model and answers whatever waits, together.

A batch is what came while the one before was computed, up to `batch_size`: the busier the service, the larger its
batches. Only where that is less than half as many as were answered last, whose clients may come again at once, it waits
for more, at most a fifth of the time that those took: else a large batch and one of a few pictures, which hardly takes
less time, would alternate. Who comes later never waits.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from common.serve.refused import Refused, not_now
from common.serve.served import Model

LINGER = 0.2  # of the last batch's time

log = logging.getLogger("podium.serve")


class Batcher:
    """The model's thread, and the queue before it.

    Args:
        load: makes the model, in that thread.
        batch_size: pictures at a time, ≥ 1; 1 is one by one.
        capacity: pictures that may wait, ≥ 1.
        on_batch: is told the size of each batch.

    Attributes:
        model: None until it is loaded.
        error: what ended the thread before its time; with no model, what kept it from being loaded.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        batch_size: int,
        capacity: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.load = load
        self.batch_size = batch_size
        self.on_batch = on_batch
        self.model: Model | None = None
        self.error: BaseException | None = None
        self.waiting: queue.Queue[tuple[list[np.ndarray], Future[np.ndarray]] | None] = queue.Queue(capacity)
        self.closed = False
        self.entry = threading.Lock()  # nothing is put into the queue of a thread that has ended
        self.last = 0, 0.0  # pictures of the last batch, and until when fewer wait for company
        self.thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        self.thread.start()

    @property
    def ready(self) -> bool:
        """Whether there is a model that answers."""
        return self.model is not None and not self.closed

    def submit(self, pictures: list[np.ndarray]) -> "Future[np.ndarray]":
        """The class probabilities, float (K,), of one picture, uint8 (H, W, C) for each preprocessing.

        Raises Refused (503) if the queue is full, or if there is no model: not yet, or not any more.
        """
        future: Future[np.ndarray] = Future()
        with self.entry:
            if not self.ready:
                raise self.why_not()
            try:
                self.waiting.put_nowait((pictures, future))
            except queue.Full:
                raise not_now("too many pictures are waiting: try again in a moment") from None
        return future

    def why_not(self) -> Refused:
        """Why `ready` is false, for a client."""
        return stopped() if self.closed else not_now("the model is loading", "loading")

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        with self.entry:
            self.closed = True
        if self.thread.is_alive():
            self.waiting.put(None)
            self.thread.join()

    def _run(self) -> None:
        try:
            model = self.load()
            self._warm_up(model)
            self.model = model
            while batch := self._next_batch():
                self._answer(model, batch)
        except BaseException as error:
            self.error = error
            if self.model is not None:
                log.error("the model has stopped", exc_info=error)
        finally:
            with self.entry:
                self.closed = True
            while not self.waiting.empty():
                if item := self.waiting.get_nowait():
                    _refuse(item[1], self.why_not())

    def _warm_up(self, model: Model) -> None:
        """The first calls are slow: they allocate and choose algorithms."""
        for size in {1, self.batch_size}:
            blank = [
                np.zeros((size, *one["size"], one["channels"]), np.uint8) for one in model.preprocessings
            ]
            model.probabilities(blank)

    def _next_batch(self) -> list[tuple[list[np.ndarray], "Future[np.ndarray]"]]:
        """What waits, the oldest first, without what nobody waits for any more; none: the end."""
        batch: list[tuple[list[np.ndarray], Future[np.ndarray]]] = []
        while not batch:
            item = self.waiting.get()
            size, until = self.last
            while item is not None:
                if item[1].set_running_or_notify_cancel():
                    batch.append(item)
                if len(batch) == self.batch_size:
                    return batch
                try:
                    left = until - time.monotonic() if 2 * len(batch) < size else 0
                    item = self.waiting.get(timeout=max(0.0, left))
                except queue.Empty:
                    break
            if item is None:
                if batch:
                    self.waiting.put(None)  # once more, after this batch
                return batch
        return batch

    def _answer(self, model: Model, batch: list[tuple[list[np.ndarray], "Future[np.ndarray]"]]) -> None:
        pictures, futures = zip(*batch, strict=True)
        try:
            begin = time.monotonic()
            rows = model.probabilities([np.stack(kind) for kind in zip(*pictures, strict=True)])
            if len(rows) != len(futures) or not np.isfinite(rows).all():
                raise ValueError(
                    f"{len(futures)} pictures were not answered by as many rows of finite numbers"
                )
        except BaseException:
            for future in futures:
                _refuse(future, stopped())
            raise
        end = time.monotonic()
        self.last = len(futures), end + LINGER * (end - begin)
        self.on_batch(len(futures))
        for future, row in zip(futures, rows, strict=True):
            future.set_result(row)


def stopped() -> Refused:
    return not_now("the model has stopped: the service must be started again", "stopped")


def _refuse(future: "Future[np.ndarray]", why: Refused) -> None:
    if future.running() or future.set_running_or_notify_cancel():
        future.set_exception(why)
