"""The service as a process: what it keeps of endless requests, what it writes, and how it ends."""

import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.common.serve.gate import wait_for
from tests.common.serve.painted import COLOURFUL, chunk, encoded, picture, png_of

ROOT = Path(__file__).parents[3]
SERVE = """
import sys
from common.__main__ import main
from common.serve import server
from tests.common.serve.painted import source

server.find = lambda *_: source()
main(["serve", "port=0"])
"""
GET = b"GET /info HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n"


class Process:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(self, request: bytes) -> str:
        """On a connection of its own: the answer's status, or what became of it instead."""
        try:
            with self.connect() as connection:
                connection.sendall(request)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return type(error).__name__
        head, _, body = answer.partition(b"\r\n\r\n")
        whole = f"content-length: {len(body)}".encode() in head.lower()
        return head.split(b" ")[1].decode() if whole else f"cut: {answer!r}"

    @property
    def megabytes(self) -> float:
        """Resident memory, at its highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def closing(head: bytes, body: bytes = b"") -> bytes:
    return head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@pytest.fixture(scope="module")
def service() -> Iterator[Process]:
    service = Process()
    wait_for(lambda: service.ask(closing(b"GET /health HTTP/1.1\r\n")) == "200", 60)
    yield service
    service.process.kill()
    service.process.wait()


ENDLESS = {
    "a header": (GET + b"x: ", b"y" * 65536),
    "a header's name": (GET, b"y" * 65536),
    "a header, in small pieces": (GET + b"x: ", b"y" * 500),
    "headers": (GET, b"x: y\r\n" * 10000),
    "empty headers": (GET, b"x:\r\n" * 10000),
    "a request line": (b"GET /", b"y" * 65536),
    "a method": (b"", b"Y" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 10000),
    "a chunk's extension": (CHUNKED + b"1;", b"y" * 65536),
    "a chunk's size": (CHUNKED, b"0" * 65536),
    "the second request's header": (GET + b"\r\n" + GET + b"x: ", b"y" * 65536),
    "requests": (b"", (GET + b"\r\n") * 1000),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_is_refused_and_not_kept(service, what):
    before, (start, piece) = service.megabytes, ENDLESS[what]
    answer = b""
    with service.connect() as connection, suppress(ConnectionError):  # closed in the midst of it
        connection.sendall(start)
        for _ in range(64_000_000 // len(piece)):
            connection.sendall(piece)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert not answer or answer.split(b" ")[1] in (b"200", b"400", b"431"), answer[:100]
    assert service.megabytes - before < 15


def test_a_refusal_is_read_by_its_client(service):
    """Though it has sent more than was read."""
    for many in (50_000, 500_000):
        assert service.ask(closing(GET + b"x: " + b"y" * many + b"\r\n")) == "431"
    assert service.ask(closing(GET + b"x: y\r\n" * 101)) == "431"
    assert service.ask(closing(GET + b"x: y\r\n" * 90 + b"x: " + b"y" * 20_000 + b"\r\n")) == "200"


def noisy() -> list[bytes]:
    """Pictures on which libpng and libjpeg remark, some of which are good enough to be answered."""
    png, jpeg = png_of(8, 8, bytes(8 * 25)), encoded(COLOURFUL, "JPEG")
    at = png.index(b"IDAT") - 4
    gamma = chunk(b"gAMA", b"\0\0\xb1\x8f")
    return [
        png[:at] + gamma * 2 + png[at:],
        png_of(8, 8),
        jpeg[:-2] + b"junk" + jpeg[-2:],
        jpeg[:-300] + bytes(298) + jpeg[-2:],
    ]


def test_end(service):
    """Not a test of one thing: all that can be seen of a process that ends, which takes seconds to start."""
    for data in noisy() * 30:
        assert service.ask(closing(POST, data)) in ("200", "422")
    slow = service.connect()  # its upload never ends
    slow.sendall(POST + b"content-length: 100\r\n\r\nx")
    silent = service.connect()
    answers: Counter[str] = Counter()

    def client(request: bytes) -> None:
        while not answers["refused"]:
            answers[service.ask(request)] += 1

    requests = [closing(GET), closing(POST, picture())] * 4
    clients = [threading.Thread(target=client, args=(request,)) for request in requests]
    for one in clients:
        one.start()
    wait_for(lambda: answers["200"] >= 50, 60)
    service.process.send_signal(signal.SIGTERM)
    for one in clients:
        one.join()
    assert set(answers) <= {"200", "503", "refused"}, answers
    assert slow.recv(1000).startswith(b"HTTP/1.1 503") and silent.recv(1000) == b""
    assert service.process.wait(60) == -signal.SIGTERM
    log = service.process.stderr.read()
    assert len(log.splitlines()) <= 3 and "clients' pictures" in log, log


ABORTED = """
import os, sys, threading
from common.serve.http.sieve import sieved

with sieved():
    os.write(2, b"libpng warning: iCCP: too short\\n" * 2000)
    os.write(2, b"Premature end of JPEG file\\n")
    thread = threading.Thread(target=lambda: {}["not there"])
    thread.start()
    thread.join()
    os.write(2, b"terminate called after throwing an instance of 'Ort::Exception'")
    os.abort()
"""


def test_what_ends_a_process_is_seen_among_remarks():
    done = subprocess.run(
        [sys.executable, "-c", ABORTED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGABRT
    assert "KeyError: 'not there'" in done.stderr and "'Ort::Exception'" in done.stderr
    assert "iCCP" not in done.stderr and "left out here: 1000\n" in done.stderr
    assert len(done.stderr.splitlines()) < 20
