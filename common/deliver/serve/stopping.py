"""How the service ends: no client's connection is reset, and none keeps the process alive."""

import asyncio
import select
import socket
import time
from contextlib import suppress

import uvicorn

from common.deliver.serve.limits import Limits
from common.deliver.serve.protocol import Bounded

QUIET = 1  # seconds that a connection without a request stays open: one may be on its way
RUDE = 5  # seconds for what clients have to do: send the rest of a request, read an answer


class Server(uvicorn.Server):
    """uvicorn's, with an end of its own.

    uvicorn closes its listening socket while connections wait in it, and connections whose request has not been read
    yet: their clients see a reset. And it waits for clients that never finish.
    """

    def __init__(self, config: uvicorn.Config, limits: Limits) -> None:
        super().__init__(config)
        self.limits = limits

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            await _accept_the_last(listener)
        for server in self.servers:
            server.close()
        connections: set[Bounded] = self.server_state.connections  # type: ignore[assignment]
        for one in connections:
            one.leave()
        begin = time.monotonic()
        while connections and not self.force_exit and (since := time.monotonic() - begin) < self.longest:
            for one in list(connections):
                if since > RUDE and not one.waits:
                    one.refuse(503, "the service is being stopped", state="stopped")
                elif since > QUIET:
                    one.shutdown()  # where there is no request
            await asyncio.sleep(0.02)
        for one in list(connections):
            one.transport.abort()
        await super().shutdown(sockets)

    @property
    def longest(self) -> float:
        """Seconds, at most, until all connections are closed."""
        return max(RUDE, self.limits.answer_seconds) + 1


async def _accept_the_last(listener: socket.socket) -> None:
    """Take the connections that wait, and let the kernel refuse those to come."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    until = time.monotonic() + 1  # with no file left to open, none can be taken
    while waiting.poll(0) and time.monotonic() < until:
        await asyncio.sleep(0)
    with suppress(OSError):  # not everywhere
        listener.shutdown(socket.SHUT_RDWR)
