"""Connections on which nobody asks anything: closed after a while, since each takes one of a process's open files."""

from collections.abc import Iterable
from typing import Any


class Silent:
    """Closes connections without a running request, such as those whose headers never end.

    uvicorn itself closes what is silent after an answer, as long as not a byte of a next request has come.

    Args:
        seconds: for which a connection may be without one.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: dict[
            Any, tuple[Any, float]
        ] = {}  # connection → (its last request, since when there is no other)

    def close(self, connections: Iterable[Any], now: float) -> None:
        """To be called every so often. connections: uvicorn's protocols, each with `cycle` and `transport`."""
        since = {}
        for one in list(connections):
            request, began = self.since.get(one, (None, now))
            if one.cycle is not request or (one.cycle is not None and not one.cycle.response_complete):
                began = now
            if now - began > self.seconds:
                one.transport.close()
            else:
                since[one] = one.cycle, began
        self.since = since
