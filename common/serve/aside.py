"""Work that must not delay predictions."""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from common.serve.refused import not_now

WAITING = 8  # at most, with the one that is done; each holds an upload
NICE = 5  # on a core that both want it has a third of what predictions have; 19 would starve it beside a training

T = TypeVar("T")


class Aside:
    """A thread of low priority, which does one thing after the other, and a short queue before it."""

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
    """Of this thread alone, which only Linux can; and one core is enough for it, where torch is there."""
    if sys.platform == "linux":
        os.nice(NICE)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # those that have computed already keep theirs
