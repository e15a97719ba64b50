"""Whose name the service answers to."""

import socket
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from common.config.options import parse
from common.errors import PodiumError
from common.serve.app import create_app
from common.serve.limits import Limits
from common.serve.server import Serve
from tests.common.serve.gate import wait_for
from tests.common.serve.painted import picture, source

OURS = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.:80",
    "127.0.0.1:8000",
    "127.1.2.3",
    "[::1]:8000",
    "0.0.0.0:8000",
]
OURS += [f"{socket.gethostname()}:8000"]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "203.0.113.9",
]
FOREIGN += ["[2001:db8::1]:80", "", "localhost, evil.example", "evil@localhost", "localhost:80:80", "*", "."]
PATHS = [
    "/",
    "/info",
    "/metrics",
    "/openapi.json",
    "/page/settings",
    "/page/examples/0",
    "/page/page.js",
    "/none",
]


def client(*hosts: str) -> TestClient:
    client = TestClient(create_app(source(), Limits(), hosts=hosts))
    client.__enter__()
    wait_for(lambda: client.app.state.service.batcher.ready)
    return client


@pytest.fixture(scope="module")
def ours():
    asked = client("a.example", "203.0.113.7")
    yield asked
    asked.__exit__(None, None, None)


@pytest.mark.parametrize("host", [*OURS, "a.example:80", "A.Example", "203.0.113.7"])
def test_this_machine_and_what_is_configured_are_answered(ours, host):
    reply = ours.post("/predict", content=picture("绿"), headers={"host": host})
    assert reply.json()["predictions"][0]["name"] == "绿"


@pytest.mark.parametrize("host", [*FOREIGN, "b.a.example", "a.example.evil.example"])
def test_other_hosts_read_nothing_but_health(ours, host):
    for path in PATHS:
        reply = ours.get(path, headers={"host": host})
        assert reply.status_code == 421 and "hosts=" in reply.json()["error"], path
    assert ours.post("/predict", content=picture(), headers={"host": host}).status_code == 421
    assert ours.get("/health", headers={"host": host}).json() == {"status": "ready"}


def test_a_star_answers_to_all():
    asked = client("*")
    assert {asked.get("/info", headers={"host": host}).status_code for host in FOREIGN} == {200}
    asked.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /info HTTP/1.1\r\nhost: localhost\r\n", b"200"),
        (b"GET /info HTTP/1.1\r\n", b"421"),
        (b"GET /info HTTP/1.0\r\n", b"421"),
        (b"GET /info HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n", b"421"),
        (b"GET /info HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n", b"421"),
        (b"GET http://evil.example/info HTTP/1.1\r\nhost: localhost\r\n", b"421"),
        (b"GET http://localhost:8000/info HTTP/1.1\r\nhost: evil.example\r\n", b"200"),
        (b"GET /info HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: localhost\r\n", b"421"),
        (b"GET /info HTTP/1.1\r\nhost: evil.example\r\nupgrade: websocket\r\n", b"421"),
        (b"GET /health/ HTTP/1.1\r\nhost: evil.example\r\n", b"421"),
        (b"GET /health HTTP/1.0\r\n", b"200"),
    ],
)
def test_over_the_wire(live, head, status):
    at = urlsplit(live)
    with socket.create_connection((at.hostname, at.port), timeout=30) as connection:
        connection.sendall(head + b"connection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] == status


def test_the_option():
    assert parse(Serve, ["hosts=[a.example,10.0.0.1]"]).hosts == ["a.example", "10.0.0.1"]
    assert parse(Serve, ["hosts=[*]"]).hosts == ["*"] and Serve().hosts == []
    for wrong in ("[http://a.example]", "[*.a.example]", "[a b]"):
        with pytest.raises(PodiumError, match="hosts must be"):
            parse(Serve, [f"hosts={wrong}"])
