"""Connections that nobody uses: ended after a while, since each takes one of a process's open files."""

from collections.abc import Iterable
from typing import Any


class Idle:
    """Ends connections without a request, such as those whose headers never end, and those whose answer nobody reads.

    uvicorn itself closes what is silent after an answer, as long as not a byte of a next request has come.

    Args:
        silent: seconds for which a connection may be without a request.
        working: seconds that one request may take, from its headers to the last byte of its answer.
    """

    def __init__(self, silent: float, working: float) -> None:
        self.silent = silent
        self.working = working
        # Connection → (its last request, whether that is answered) and since when this is so.
        self.since: dict[Any, tuple[tuple[Any, bool], float]] = {}

    def close(self, connections: Iterable[Any], now: float) -> None:
        """To be called every so often. connections: uvicorn's protocols, each with `cycle` and `transport`."""
        since = {}
        for one in list(connections):
            state = one.cycle, one.cycle is None or one.cycle.response_complete
            before, began = self.since.get(one, (None, now))
            if before != state:
                began = now
            if now - began > (self.silent if state[1] else self.working):
                one.transport.abort()  # to close would be to wait until all is sent
            else:
                since[one] = state, began
        self.since = since
