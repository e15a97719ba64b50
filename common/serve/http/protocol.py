"""HTTP as uvicorn speaks it by httptools, with what that lacks: bounds of what is kept of a request."""

import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD = 32 * 1024  # bytes of a request's line and headers; as many may follow a body or a chunk of it
FIELDS = 100  # headers of a request
PIPELINED = 100  # requests that a connection may have waiting behind the one that is answered
LINGER = 1  # seconds in which what still comes is dropped after a refusal: with it unread, the client would see a reset


class Bounded(HttpToolsProtocol):
    """A connection that is refused when a request's head has no end, and that leaves in an orderly way."""

    bare = 0  # bytes since the last of a body, or since the end of the request before
    head = 0  # bytes of this request's line and headers, as far as they are read
    leaving = False
    too_large = False
    refused = False

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.bare += len(data)
        super().data_received(data)
        if self.bare > HEAD and not self.refused:  # one header without an end
            self.too_large = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if not self.url.startswith(b"/"):
            self._take_the_host_of_the_target()
        super().on_headers_complete()
        self.cycle.keep_alive &= not self.leaving
        self._count(0)

    def _take_the_host_of_the_target(self) -> None:
        """`GET http://host/path`, as proxies are asked: what `Host` says is void then (RFC 9112, 3.2.2)."""
        if host := httptools.parse_url(self.url).host:
            others = [(name, value) for name, value in self.headers if name != b"host"]
            self.headers[:] = [*others, (b"host", host)]

    def on_body(self, body: bytes) -> None:
        self.bare = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.bare = 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self.head += size
        if self.head > HEAD or len(self.headers) > FIELDS or len(self.pipeline) > PIPELINED:
            self.too_large = True
            raise ValueError  # which ends the parser; uvicorn then calls `send_400_response`

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:  # else more would be read for each that is answered
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn says of a request that cannot be parsed."""
        if self.too_large:
            self.refuse(431, f"the request's head is too large: at most {FIELDS} headers and {HEAD} bytes")
        else:
            self.refuse(400, "this is no valid HTTP request")

    @property
    def waits(self) -> bool:
        """Whether a request is whole and its answer has not begun."""
        cycle = self.cycle
        return cycle is not None and not (cycle.more_body or cycle.response_started)

    def leave(self) -> None:
        """Answer what comes on this connection before it is closed, and then close it."""
        self.leaving = True
        for cycle in [self.cycle, *(cycle for cycle, _ in self.pipeline)]:
            if cycle is not None:
                cycle.keep_alive = False

    def refuse(self, status: int, reason: str, **more: Any) -> None:
        """Say no to the request that is being read, and close; only close where it is not the next to be answered."""
        if self.refused:
            return
        self.refused = True
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        behind = self.pipeline or (answering and (cycle.response_started or not cycle.more_body))
        if behind or self.transport.is_closing():
            return self.transport.abort()
        if answering:  # by this, so no more by the app
            cycle.disconnected = True
            cycle.message_event.set()
        body = json.dumps({"error": reason} | more).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            head += b"retry-after: 1\r\n"
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self.transport.abort)

    def shutdown(self) -> None:
        if not self.refused:
            super().shutdown()
