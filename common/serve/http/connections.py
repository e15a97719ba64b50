"""Connections that nobody uses: ended after a while, since each takes one of a process's open files."""

import resource
from collections.abc import Iterable
from math import inf
from typing import Any


class Idle:
    """Ends connections without a request, such as those whose headers never end, and those whose answer nobody reads.

    uvicorn itself closes what is silent after an answer, as long as not a byte of a next request has come.

    Args:
        silent: seconds for which a connection may be without a request.
        working: seconds that one request may take, from its headers to the last byte of its answer.
        most: connections, beyond which those without a request are ended after a second: nobody else could come in.
    """

    def __init__(self, silent: float, working: float, most: float = inf) -> None:
        self.silent = silent
        self.working = working
        self.most = most
        # Connection → (its last request, whether that is answered) and since when this is so.
        self.since: dict[Any, tuple[tuple[Any, bool], float]] = {}

    def close(self, connections: Iterable[Any], now: float) -> None:
        """To be called every so often. connections: uvicorn's protocols, each with `cycle` and `transport`."""
        since, all_of_them = {}, list(connections)
        silent = self.silent if len(all_of_them) <= self.most else min(1, self.silent)
        for one in all_of_them:
            state = one.cycle, one.cycle is None or one.cycle.response_complete
            before, began = self.since.get(one, (None, now))
            if before != state:
                began = now
            if now - began > (silent if state[1] else self.working):
                one.transport.abort()  # to close would be to wait until all is sent
            else:
                since[one] = state, began
        self.since = since


def bearable() -> float:
    """How many connections leave this process enough files to open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return inf if limit == resource.RLIM_INFINITY else limit / 2
