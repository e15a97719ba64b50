"""A model that can be held back, and waiting for what another thread does."""

import threading
import time

from tests.common.serve.painted import by_colour

PATIENCE = 300.0  # seconds, which only what hangs takes


class Gate:
    """A model that waits to be let through, and remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.sizes: list[int] = []
        self.on_batch = lambda: None

    def __call__(self, images):
        self.entered.set()
        self.open.wait(PATIENCE)
        self.on_batch()
        self.sizes.append(len(images[0]))
        return by_colour(images)


def wait_for(condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.002)
