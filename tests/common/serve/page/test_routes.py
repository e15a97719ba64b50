"""What the service says to the page."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import cv2
import numpy as np
import pytest

from common.config.options import parse
from common.cores import cores
from common.deliver.export import Export, export
from common.serve.aside import WAITING
from common.serve.limits import Limits
from common.serve.page.heat_map import _Logits
from common.serve.page.routes import FILES, SIDE
from common.serve.served import find
from tests.common.serve.conftest import client_of
from tests.common.serve.gate import wait_for
from tests.toys import CLASSES


@pytest.fixture(scope="module")
def client(drawn):
    with client_of(find(str(drawn), None, None, tta=False, threads=1)) as client:
        yield client


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    for path in FILES.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text, path
        if path.name != "index.html":
            served = client.get(f"/page/{path.name}")
            assert served.status_code == 200 and served.content == path.read_bytes()


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
def test_what_has_not_changed_is_not_sent_again(client, path):
    first = client.get(path)
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for answer in (first, again):
        assert answer.headers["cache-control"] == "no-cache" and "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "name", ["routes.py", "../routes.py", "..%2froutes.py", "%2e%2e/routes.py", "none.js"]
)
def test_no_other_file_is_served(client, name):
    assert client.get(f"/page/{name}").status_code in (404, 405)


def test_settings_and_examples(client):
    settings = client.get("/page/settings").json()
    assert settings["draw"] and settings["brush"] == 0.1 and settings["no_heat"] is None
    assert set(settings["examples"]) == set(CLASSES)
    for number in range(len(settings["examples"])):
        example = client.get(f"/page/examples/{number}")
        assert example.headers["content-type"] == "image/jpeg"
        assert client.post("/predict", files={"image": example.content}).status_code == 200
    assert client.get(f"/page/examples/{number + 1}").status_code == 404
    assert client.get("/page/examples/-1").status_code == 404


def test_the_heat_map_lies_on_the_picture_as_wide_as_it_is(client):
    white = cv2.imencode(".png", np.full((10, 20), 255, np.uint8))[1].tobytes()
    answer = client.post("/page/heat?label=1", files={"image": white})
    assert answer.headers["content-type"] == "image/png"
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (SIDE // 2, SIDE, 3)


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("label=4", None, 422),
        ("label=-1", None, 422),
        ("", None, 422),
        ("label=0", b"nothing", 415),
        ("label=0", b"", 400),
    ],
)
def test_rude_clients_are_told_so(client, query, body, status):
    good = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    answer = client.post(f"/page/heat?{query}", files={"image": good if body is None else body})
    assert answer.status_code == status and answer.json()["error"]


def test_heat_maps_leave_predictions_as_they_are(client):
    picture = {"image": client.get("/page/examples/0").content}
    before = client.post("/predict", files=picture).json()
    client.post("/page/heat?label=0", files=picture)
    assert client.post("/predict", files=picture).json() == before


@pytest.mark.parametrize("graph", [True, False])
def test_predictions_do_not_wait_for_heat_maps_nor_show_in_them(drawn, graph, monkeypatch):
    """A heat map is held within the network; without a graph, predictions go through layers as it does."""
    if not graph:
        monkeypatch.setattr("common.serve.graphed.graphed", lambda *_: None)
    released, entered, forward = Event(), Event(), _Logits.forward

    def held(self, images):
        entered.set()
        assert released.wait(60)
        return forward(self, images)

    with client_of(find(str(drawn), None, None, tta=False, threads=1), Limits(answer_seconds=60)) as client:
        first, second = ({"image": client.get(f"/page/examples/{number}").content} for number in (0, 1))
        asked = ("/page/heat?label=0",)
        heat, expected = client.post(*asked, files=first), client.post("/predict", files=second).json()
        monkeypatch.setattr(_Logits, "forward", held)
        with ThreadPoolExecutor(WAITING) as pool:
            heats = [pool.submit(client.post, *asked, files=first) for _ in range(WAITING)]
            try:
                wait_for(lambda: entered.is_set() and client.app.state.service.aside.waiting == WAITING)
                for _ in range(2 * cores()):  # more than there are threads
                    assert client.post("/predict", files=second).json() == expected
                busy = client.post(*asked, files=first)
            finally:
                released.set()
            assert {one.result(60).content for one in heats} == {heat.content}
        assert busy.status_code == 503 and busy.json()["state"] == "busy" and busy.headers["retry-after"]
        assert client.post(*asked, files=first).content == heat.content


def test_an_exported_file_has_examples_but_no_heat_map(drawn):
    export(parse(Export, [f"run_dir={drawn}", "seconds=0.02", "calibration=8", "batch_size=4", "threads=1"]))
    file = drawn / "export" / "model.onnx"
    with client_of(find(str(file), None, None, tta=False, threads=1)) as client:
        settings = client.get("/page/settings").json()
        assert settings["no_heat"] == "exported" and settings["draw"] and settings["examples"]
        picture = {"image": client.get("/page/examples/0").content}
        assert client.post("/page/heat?label=0", files=picture).status_code == 404
