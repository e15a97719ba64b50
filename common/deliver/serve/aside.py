"""Work that must not delay predictions."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from common.deliver.serve.refused import not_now

WAITING = 8  # at most, with the one that is done; each holds an upload
LOWEST = 19  # of Unix' priorities: such a thread gets what others leave

T = TypeVar("T")


class Aside:
    """A thread of the lowest priority, which does one thing after the other, and a short queue before it."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="aside", initializer=_step_back)
        self.waiting = 0

    def check(self) -> None:
        """Raises Refused (503) if the queue is full."""
        if self.waiting >= WAITING:
            raise not_now(f"{self.waiting} heat maps are waiting already: try again in a moment")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """In the thread; what has not begun when this is cancelled never does. Raises Refused (503)."""
        self.check()
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        self.thread.shutdown(cancel_futures=True)


def _step_back() -> None:
    """For this thread alone, which only Linux allows, and with one core where torch is there."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # those that have computed already keep theirs
