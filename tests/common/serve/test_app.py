"""What the service says over HTTP, and to whom it says no."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from starlette.testclient import TestClient

from common.serve.app import create_app
from common.serve.limits import Limits
from tests.common.serve.clients import LOCAL, PATIENT, client_of
from tests.common.serve.gate import PATIENCE, Gate, wait_for
from tests.common.serve.painted import COLOURS, by_colour, picture, source


def ask(client, data: bytes, **parameters):
    return client.post("/predict", params=parameters, files={"image": ("p.png", data)})


def best(reply) -> str:
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"][0]["name"]


def error(reply) -> str:
    said = reply.json()["error"]
    assert reply.json().keys() == {"error", *(["state"] if reply.status_code == 503 else [])}
    assert said and "Traceback" not in said
    return said


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_named_from_a_form_and_from_a_body(client, name, form):
    data = picture(name, form=form)
    assert best(ask(client, data)) == name
    for kind in ("image/png", "application/octet-stream", "IMAGE/JPEG; x=y"):
        assert best(client.post("/predict", content=data, headers={"content-type": kind})) == name
    assert best(client.post("/predict", content=data)) == name


def test_top_classes_come_in_order_with_their_probabilities(client):
    rows = ask(client, picture("绿")).json()["predictions"]
    assert rows[0]["label"] == 1 and len(rows) == 3
    shares = [row["probability"] for row in rows]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert len(ask(client, picture(), top=2).json()["predictions"]) == 2
    assert "query.top" in error(ask(client, picture(), top=0))
    assert ask(client, picture(), top="many").status_code == 422


def test_info_says_what_is_served(client):
    info = client.get("/info").json()
    assert info["competition"] == "toy" and info["class_names"] == list(COLOURS) and info["classes"] == 3
    assert info["sample_data"] is True and info["can_draw"] is False
    assert info["limits"]["megabytes"] == 10 and "image/jpeg" in info["limits"]["types"]


def test_further_fields_and_file_names_do_not_matter(client):
    files = {"image": ("../../etc/passwd", picture("蓝")), "other": ("x", b"y")}
    assert best(client.post("/predict", files=files, data={"note": "hello"})) == "蓝"


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"files": {"picture": b"x"}}, 422, "one file in the field image"),
        ({"files": {"image": (None, "text")}}, 422, "one file in the field image"),
        ({"files": [("image", b"x"), ("image", b"y")]}, 422, "one file in the field image"),
        ({"json": {"path": "/etc/passwd"}}, 415, "multipart/form-data"),
        ({"data": {"image": "x"}}, 415, "multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "broken"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}, 400, "form"),
        ({"content": b""}, 400, "empty"),
        ({"files": {"image": b""}}, 400, "empty"),
        ({"content": b"not a picture"}, 415, "no picture of a known format"),
        ({"content": picture(form="JPEG", size=(200, 200))[:-200]}, 422, "cut short"),
        ({"content": b"\x00" * 11_000_000}, 413, "at most 10 MB"),
        ({"files": {"image": b"\x00" * 11_000_000}}, 413, "at most 10 MB"),
        ({"files": {f"f{n}": b"x" for n in range(20)}}, 400, "broken"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(client, sent, status, words):
    reply = client.post("/predict", **sent)
    assert (reply.status_code, words in error(reply)) == (status, True), reply.text
    assert best(ask(client, picture())) == "红"


def test_a_stream_without_a_length_is_bounded_too(client):
    pieces = (b"\x00" * 1_000_000 for _ in range(11))
    assert client.post("/predict", content=pieces).status_code == 413


def test_unknown_paths_and_methods(client):
    assert client.get("/nothing").status_code == 404 and client.get("/docs").status_code == 404
    assert client.get("/predict").status_code == 405 and client.get("/predict").headers["allow"] == "POST"
    assert client.post("/").status_code == 405  # this competition has no contract


def test_a_bad_picture_does_not_touch_its_batch_mates():
    gate = Gate()
    with client_of(source(gate), PATIENT) as client, ThreadPoolExecutor(9) as pool:
        gate.sizes.clear()
        gate.open.clear()
        gate.entered.clear()
        first = pool.submit(ask, client, picture())
        assert gate.entered.wait(PATIENCE)  # it is a batch by itself
        names = [*COLOURS] * 2
        good = [pool.submit(ask, client, picture(name)) for name in names]
        bad = pool.submit(ask, client, picture(form="JPEG", size=(200, 200))[:-200])
        assert bad.result(PATIENCE).status_code == 422  # at once, while the others wait
        wait_for(lambda: client.app.state.service.batcher.waiting.qsize() == 6)
        gate.open.set()
        assert [best(reply.result(PATIENCE)) for reply in [first, *good]] == ["红", *names]
        assert gate.sizes == [1, 6]


def test_a_flood_is_refused_and_what_was_accepted_is_answered():
    gate = Gate()
    with (
        client_of(source(gate), Limits(requests=4, answer_seconds=PATIENCE)) as client,
        ThreadPoolExecutor(24) as pool,
    ):
        gate.open.clear()
        replies = [pool.submit(ask, client, picture("蓝")) for _ in range(24)]
        wait_for(lambda: sum(reply.done() for reply in replies) == 20)
        gate.open.set()
        done = [reply.result(PATIENCE) for reply in replies]
        refused = [reply for reply in done if reply.status_code == 503]
        assert len(refused) == 20 and {reply.headers["retry-after"] for reply in refused} == {"1"}
        assert {reply.json()["state"] for reply in refused} == {"busy"}
        assert [best(reply) for reply in done if reply.status_code != 503] == ["蓝"] * 4
        assert best(ask(client, picture("绿"))) == "绿" and client.app.state.service.working == 0


def test_what_takes_too_long_is_given_up_and_not_computed():
    gate = Gate()
    with (
        client_of(source(gate), Limits(answer_seconds=2), batch_size=1) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        gate.sizes.clear()
        gate.open.clear()
        asked = [pool.submit(ask, client, picture()) for _ in range(2)]
        replies = [reply.result(PATIENCE) for reply in asked]
        assert [reply.status_code for reply in replies] == [503, 503] and "within 2 s" in error(replies[0])
        gate.open.set()
        client.app.state.service.limits.answer_seconds = PATIENCE
        assert best(ask(client, picture())) == "红"
        assert gate.sizes == [1, 1]  # the first, and the last; the second had been given up


def test_waiting_for_a_thread_counts_as_waiting_for_an_answer():
    release = threading.Event()
    with client_of(source(), Limits(answer_seconds=0.1)) as client:
        threads = client.app.state.service.threads
        for _ in range(threads._max_workers):
            threads.submit(release.wait, PATIENCE)
        try:
            reply = ask(client, picture())
            assert reply.status_code == 503 and "within 0.1 s" in error(reply)
        finally:
            release.set()
        client.app.state.service.limits.answer_seconds = PATIENCE
        assert best(ask(client, picture())) == "红"


def test_health_follows_the_model():
    loading, failing = threading.Event(), threading.Event()

    def call(images):
        if failing.is_set():
            raise RuntimeError("gone")
        return by_colour(images)

    given = source(call)
    load = given.load

    def slowly():
        loading.wait(10)
        return load()

    object.__setattr__(given, "load", slowly)
    with TestClient(create_app(given, Limits()), LOCAL) as client:
        for reply in (client.get("/health"), client.get("/info"), ask(client, picture())):
            assert (
                reply.status_code == 503 and "loading" in error(reply) and reply.json()["state"] == "loading"
            )
        loading.set()
        wait_for(lambda: client.app.state.service.batcher.ready)
        assert client.get("/health").json() == {"status": "ready"}
        failing.set()
        assert ask(client, picture()).status_code == 503
        wait_for(lambda: not client.app.state.service.batcher.ready)
        for reply in (client.get("/health"), ask(client, picture())):
            assert (
                reply.status_code == 503 and "stopped" in error(reply) and reply.json()["state"] == "stopped"
            )


def test_metrics_count_by_route():
    with client_of(source()) as client:
        ask(client, picture())
        ask(client, b"x")
        client.get("/a/path/that/somebody/made/up")
        text = client.get("/metrics").text
    assert 'podium_requests_total{method="POST",path="/predict",status="200"} 1.0' in text
    assert 'podium_requests_total{method="POST",path="/predict",status="415"} 1.0' in text
    assert 'podium_requests_total{method="other",path="other",status="404"} 1.0' in text
    assert "podium_ready 1.0" in text and "podium_batch_size_count 1.0" in text and "made" not in text


def test_probabilities_survive_the_way_into_json(client):
    data = picture("红", size=(8, 8))
    expected = by_colour([np.full((1, 8, 8, 3), COLOURS["红"], np.uint8)])[0]
    rows = sorted(ask(client, data).json()["predictions"], key=lambda row: row["label"])
    np.testing.assert_array_equal(np.float32([row["probability"] for row in rows]), expected)
