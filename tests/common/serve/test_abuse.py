"""Rude clients, by the hundred, against a real server: they get a 4xx, and the next polite one its answer."""

import random
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from common.serve.app import create_app
from common.serve.http.connections import Idle
from common.serve.limits import Limits
from tests.common.serve.clients import running
from tests.common.serve.gate import PATIENCE, wait_for
from tests.common.serve.painted import COLOURS, SAMPLES, picture, png_of, source

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture(scope="module")
def http(live):
    with httpx.Client(base_url=live, timeout=PATIENCE) as client:
        yield client
        for name in COLOURS:  # after all that
            reply = client.post("/predict", files={"image": picture(name, form="JPEG")})
            assert reply.json()["predictions"][0]["name"] == name
        assert client.get("/health").status_code == 200
        assert "podium_requests_in_work 0.0" in client.get("/metrics").text


def patient(examples: int) -> settings:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=checks)


def check(status: int, text: str) -> None:
    assert status < 500 and "Traceback" not in text and "File " not in text, (status, text)


CONFORMANCE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def by_the_description(live: str, examples: int, mode: GenerationMode) -> Counter[int]:
    """What requests made from /openapi.json are answered by; each answer must be as the description has it."""
    seen: Counter[int] = Counter()
    for found in schemathesis.openapi.from_url(f"{live}/openapi.json").get_all_operations():
        operation = found.ok()

        @patient(examples)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            response = case.call()
            seen[response.status_code] += 1
            check(response.status_code, response.text)
            case.validate_response(response, checks=CONFORMANCE)

        try:
            ask()
        except Unsatisfiable:
            assert operation.method == "get"  # without parameters, it cannot be asked wrongly
    return seen


@pytest.mark.parametrize("mode", GenerationMode)
def test_requests_made_from_the_description(live, http, mode):
    assert by_the_description(live, 8, mode).total() >= 16


@pytest.mark.slow
@pytest.mark.parametrize("mode", GenerationMode)
def test_many_requests_made_from_the_description(live, http, mode):
    assert by_the_description(live, 200, mode).total() >= 400


BROKEN = st.one_of(
    st.binary(max_size=200),
    st.tuples(st.sampled_from(SAMPLES), st.integers(0, 400)).map(lambda cut: cut[0][: cut[1]]),
    st.tuples(st.sampled_from(SAMPLES), st.binary(min_size=1, max_size=20), st.integers(0, 400)).map(
        lambda spot: spot[0][: spot[2]] + spot[1] + spot[0][spot[2] + len(spot[1]) :]
    ),
    st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)).map(lambda size: png_of(*size)),
    st.sampled_from(SAMPLES).map(lambda data: data + data),
)


def broken_pictures(http, examples: int) -> Counter[int]:
    seen: Counter[int] = Counter()

    @patient(examples)
    @given(data=BROKEN, form=st.booleans())
    def ask(data, form):
        sent = {"files": {"image": ("x.png", data)}} if form else {"content": data}
        reply = http.post("/predict", **sent)
        seen[reply.status_code] += 1
        check(reply.status_code, reply.text)
        assert (reply.status_code == 200) == ("predictions" in reply.json()), reply.text
        assert (reply.status_code == 200) != ("error" in reply.json())

    ask()
    return seen


def test_broken_pictures(http):
    seen = broken_pictures(http, 300)
    assert {400, 413, 415, 422} <= set(seen) <= {200, 400, 413, 415, 422}


@pytest.mark.slow
def test_many_broken_pictures(http):
    assert broken_pictures(http, 1500).total() >= 1500


def raw(live: str, data: bytes, finish: bool = True) -> bytes:
    """What a server says to these very bytes."""
    at = urlsplit(live)
    with socket.create_connection((at.hostname, at.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS to a plain port
        b"GET / HTTP/9.9\r\n\r\n",
        HEAD + b"content-length: nine\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 99999999999999\r\n\r\nx",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nx",
        HEAD + b"content-type: \xff\xfe\r\ncontent-length: 1\r\n\r\nx",
        HEAD + b"content-type: multipart/form-data; boundary=\xff\r\ncontent-length: 1\r\n\r\nx",
        HEAD
        + b"content-type: multipart/form-data; boundary=a; charset=klingon\r\ncontent-length: 1\r\n\r\nx",
        HEAD
        + b"content-type: multipart/form-data; boundary=a\r\ncontent-length: 30\r\n\r\n--a\r\n\r\n--a--\r\n",
        HEAD + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_broken_http(live, http, data):
    answer = raw(live, data)
    assert b"Traceback" not in answer and not answer.startswith(b"HTTP/1.1 5"), answer


def test_a_client_that_goes_away_leaves_its_place(live, http):
    body = HEAD + b"content-length: 1000\r\n\r\nxxx"
    at = urlsplit(live)
    for _ in range(80):  # more than there are places
        with socket.create_connection((at.hostname, at.port), timeout=PATIENCE) as connection:
            connection.sendall(body)
    reply = http.post("/predict", files={"image": picture("绿")})
    assert reply.status_code == 200


def test_an_upload_without_an_end_is_refused_before_it(live, http):
    piece = b"%x\r\n" % 50_000 + b"\x00" * 50_000 + b"\r\n"
    at = urlsplit(live)
    with socket.create_connection((at.hostname, at.port), timeout=PATIENCE) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n" + piece * 8
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_slow_upload_is_ended(impatient):
    answer = raw(impatient, HEAD + b"content-length: 1000\r\n\r\nxxx", finish=False)
    assert answer.startswith(b"HTTP/1.1 408") and b"longer than 0.5 s" in answer


@pytest.mark.parametrize(
    "data", [b"", b"POST /pre", HEAD + b"x-a: b", b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea"]
)
def test_connections_that_never_finish_their_headers_are_closed(impatient, data):
    answers = []
    clients = [
        threading.Thread(target=lambda: answers.append(raw(impatient, data, finish=False))) for _ in range(20)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(answers) == 20 and len(set(answer.count(b"HTTP/1.1 200") for answer in answers)) == 1


def test_connections_are_ended_by_how_long_one_request_or_none_has_been_there():
    def connection(**cycle):
        return Mock(cycle=Mock(**cycle) if cycle else None)

    idle = Idle(silent=2, working=5)
    bare, working, polite = connection(), connection(response_complete=False), connection()
    for second in range(10):
        polite.cycle = Mock(response_complete=False)  # another request since the last look
        idle.close([bare, working, polite], second)
        assert bare.transport.abort.called == (second > 2)
        assert working.transport.abort.called == (second > 5)
        assert not polite.transport.abort.called


def test_where_they_are_many_those_without_a_request_are_ended_sooner():
    idle, working = Idle(silent=30, working=40, most=3), Mock(cycle=Mock(response_complete=False))
    bare = [Mock(cycle=None) for _ in range(3)]
    for second in range(5):
        idle.close([working, *bare], second)
        assert all(one.transport.abort.called == (second > 1) for one in bare)
    few = Mock(cycle=None)
    for second in range(5, 10):
        idle.close([working, few], second)
    assert not working.transport.abort.called and not few.transport.abort.called


def test_clients_that_do_not_read_their_answers_are_ended():
    app = create_app(source(), Limits(upload_seconds=2, answer_seconds=2))
    asked = b"GET /page/page.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 100  # many times what buffers hold
    with (
        running(app) as address,
        ExitStack() as clients,
        httpx.Client(base_url=address, timeout=PATIENCE) as polite,
    ):
        at = urlsplit(address)
        for _ in range(5):
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((at.hostname, at.port))
            client.setblocking(False)
            client.send(asked)
        connections, seen = app.state.server.server_state.connections, set()
        wait_for(lambda: seen.update(connections) or (len(seen) >= 5 and not connections))
        app.state.service.limits.upload_seconds = app.state.service.limits.answer_seconds = PATIENCE
        reply = polite.post("/predict", files={"image": picture("绿")})
        assert reply.json()["predictions"][0]["name"] == "绿"


def test_slow_uploads_take_no_place_but_no_more_memory_than_there_is():
    limits = Limits(requests=2, megabytes=0.001, upload_seconds=PATIENCE, answer_seconds=PATIENCE)
    with running(create_app(source(), limits)) as address, ExitStack() as clients:
        at = urlsplit(address)

        def slow(size):
            client = clients.enter_context(socket.create_connection((at.hostname, at.port), timeout=PATIENCE))
            client.sendall(HEAD + b"content-length: 1000\r\n\r\n" + b"x" * size)
            return client

        for _ in range(20):  # ten times the places
            slow(1)
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            reply = client.post("/predict", files={"image": picture("绿")})
            assert reply.status_code == 200
            slow(999), slow(700)  # with the others 1,719 bytes of 2,000
            reply = client.post("/predict", content=b"y" * 400)
            while reply.status_code != 503:  # until the server has read them
                reply = client.post("/predict", content=b"y" * 400)
            assert reply.json()["state"] == "busy" and "memory" in reply.json()["error"]
            clients.close()
            wait_for(lambda: client.post("/predict", content=picture("绿")).status_code == 200)


def test_rude_and_polite_clients_at_once(http):
    """Each polite client gets its own answer, among many that are not polite."""
    wrong: list[object] = []

    def polite(name: str) -> None:
        for _ in range(15):
            reply = http.post("/predict", files={"image": picture(name)})
            if reply.status_code != 200 or reply.json()["predictions"][0]["name"] != name:
                wrong.append(reply.text)

    def rude(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(15):
            data = rng.choice(SAMPLES)
            reply = http.post("/predict", content=data[: rng.randrange(len(data) // 2)])
            if not 400 <= reply.status_code < 500:
                wrong.append(reply.text)

    clients = [threading.Thread(target=polite, args=(name,)) for name in COLOURS]
    clients += [threading.Thread(target=rude, args=(seed,)) for seed in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert not wrong
