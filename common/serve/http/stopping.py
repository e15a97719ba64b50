"""How the service ends: no client's connection is reset, and none keeps the process alive."""

import asyncio
import socket
import time
from contextlib import suppress

import uvicorn

from common.serve.http.protocol import Bounded
from common.serve.limits import Limits

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
        last = [connection for listener in sockets or [] for connection in _last_of(listener)]
        for server in self.servers:
            server.close()
        for connection in last:
            with suppress(OSError):  # it has gone
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await self._finish(self.server_state.connections)  # type: ignore[arg-type]
        await super().shutdown(sockets)

    async def _finish(self, connections: set[Bounded]) -> None:
        """Until there are none: answer the requests that come in time."""
        begin, longest = time.monotonic(), max(RUDE, self.limits.answer_seconds) + 1
        while not self.force_exit and (since := time.monotonic() - begin) < longest:
            for one in list(connections):
                one.leave()
                if since > RUDE and not one.waits:
                    one.refuse(503, "the service is being stopped", state="stopped")
                elif since > QUIET:
                    one.shutdown()  # where there is no request
            await asyncio.sleep(0.02)
            if not connections:
                return
        for one in list(connections):
            one.transport.abort()

    def _protocol(self) -> asyncio.Protocol:
        return Bounded(self.config, self.server_state, self.lifespan.state, asyncio.get_running_loop())


def _last_of(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait in a listening socket; the kernel refuses those to come."""
    found = []
    with suppress(OSError):  # BlockingIOError: that was all; or no file is left to open
        while True:
            found.append(listener.accept()[0])
    with suppress(OSError):  # not everywhere
        listener.shutdown(socket.SHUT_RDWR)
    return found
