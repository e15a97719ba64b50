"""Runs and exported files behind the verb: the same answers as `predict`, an orderly beginning and an orderly end."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

from common import trust
from common.__main__ import main
from common.config.options import parse
from common.data.reading.reader import images_of
from common.deliver.export import Export, export
from common.deliver.exported import Exported
from common.errors import PodiumError
from common.run.predictor import Ensemble
from common.serve.limits import Limits
from common.serve.served import find
from common.serve.server import Serve, listen
from tests.common.serve.clients import client_of
from tests.common.serve.gate import PATIENCE, wait_for
from tests.common.serve.painted import picture

ROOT = Path(__file__).parents[3]
QUICK = ["seconds=0.02", "calibration=0", "batch_size=2", "images=4", "threads=1"]


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """What `export` writes of the run."""
    return export(parse(Export, [f"run_dir={run}", f"out={tmp_path_factory.mktemp('out')}", *QUICK]))


def answers(client, paths) -> np.ndarray:
    """float (N, K), asked side by side."""

    def ask(path):
        reply = client.post("/predict?top=100", files={"image": path.read_bytes()})
        rows = sorted(reply.json()["predictions"], key=lambda row: row["label"])
        return [row["probability"] for row in rows]

    with ThreadPoolExecutor(8) as pool:
        return np.array(list(pool.map(ask, paths)))


def predicted(model, paths) -> np.ndarray:
    """What `predict` says of them."""
    return np.array([row for _, row in model.predict([str(path) for path in paths], paths, 7, [])])


def test_a_run_answers_as_predict_does(run, root):
    paths = images_of(Path(root))[::3]
    with client_of(find(str(run), None, None, False, 1)) as client:
        np.testing.assert_allclose(
            answers(client, paths), predicted(Ensemble.of_run(run, tta=False), paths), atol=1e-6
        )
        info = client.get("/info").json()
        assert info["competition"] == "toy" and info["run"] == "run" and info["class_names"][0] == "bar"
    with client_of(find(str(run), None, None, True, 1)) as client:
        np.testing.assert_allclose(answers(client, paths), predicted(Ensemble.of_run(run), paths), atol=1e-6)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_an_exported_file_answers_as_predict_does(files, root, name):
    paths = images_of(Path(root))[::5]
    with trust.scope():
        trust.also([str(files / "model.pt2")])  # which is code
        source = find(str(files / name), None, None, False, 1)
    with client_of(source) as client:
        expected = predicted(Exported(files / "model.onnx"), paths)
        np.testing.assert_allclose(answers(client, paths), expected, atol=1e-5)
        assert client.get("/info").json()["model"].startswith("exported, one model")


WITHOUT_TORCH = """
import sys
for name in ("torch", "pytorch_lightning", "timm"):
    sys.modules[name] = None  # importing it fails
from common.__main__ import main
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def started(script: str, *words: str) -> tuple[subprocess.Popen, str]:
    """A process that serves, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address, process.stderr.read()
    return process, address[0]


def test_a_file_is_served_where_there_is_no_torch(files, root):
    process, address = started(WITHOUT_TORCH, f"run_dir={files / 'model.onnx'}", "port=0")
    assert address.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        wait_for(lambda: client.get("/health").status_code == 200)
        reply = client.post("/predict", files={"image": (Path(root) / "bar" / "0.png").read_bytes()})
        assert reply.json()["predictions"][0]["name"] == "bar"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM
    assert "Traceback" not in process.stderr.read()


BEFORE_TORCH = """
import os, sys
from common.__main__ import main
from common.serve import server

def find(*_):
    print("torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT"), flush=True)
    sys.exit(0)

server.find = find
main(["serve", "run_dir=anything"])
"""


def test_threads_that_wait_sleep():
    """Which torch reads when it is imported: so it must be said before."""
    settled = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    without = {name: value for name, value in os.environ.items() if name not in settled}
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_TORCH],
        cwd=ROOT,
        env=without,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "False 1000", done.stderr


HELD = """
import sys
from common.serve.app import create_app
from common.serve.server import listen, run
from tests.common.serve.clients import PATIENT
from tests.common.serve.painted import by_colour, source

let_go = iter([True])  # the first call warms up

def held(images):
    next(let_go, None) or sys.stdin.read()
    return by_colour(images)

listener = listen("127.0.0.1", 0)
print("http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
run(create_app(source(held), PATIENT, batch_size=1), listener)
"""


def test_sigterm_lets_what_was_accepted_be_answered():
    process, address = started(HELD)
    with httpx.Client(base_url=address, timeout=PATIENCE) as client, ThreadPoolExecutor(8) as pool:
        wait_for(lambda: reachable(client) and client.get("/health").status_code == 200)
        asked = [pool.submit(client.post, "/predict", files={"image": picture("绿")}) for _ in range(8)]
        wait_for(lambda: "podium_requests_in_work 8.0" in client.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # were the signal later than the answers, all this would hold too
        process.stdin.close()
        replies = [one.result(PATIENCE) for one in asked]
    assert [reply.json()["predictions"][0]["name"] for reply in replies] == ["绿"] * 8
    assert process.wait(PATIENCE) == -signal.SIGTERM
    assert "Traceback" not in process.stderr.read()


def reachable(client) -> bool:
    try:
        client.get("/health")
    except httpx.ConnectError:
        return False
    return True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a run by RUN="),
        (["run_dir=nowhere"], "is no run folder"),
        (["run_dir=nowhere.onnx"], "there is no file nowhere.onnx"),
        (["run_dir=nowhere.pt2"], "there is no file nowhere.pt2"),
        (["run_dir={files}/export.json"], "expected an exported file"),
        (["run_dir={files}/model.onnx", "competition=garbage"], "is of toy, but COMP says garbage"),
        (["run_dir={files}/model.onnx", "checkpoint=last.ckpt"], "checkpoint is for run folders"),
        (["run_dir={files}/model.pt2", "tta=true"], "tta is for run folders"),
        (["run_dir={run}", "port=70000"], "port must be 0 to 65535"),
        (["run_dir={run}", "port={taken}"], "choose another by PORT="),
        (["run_dir={run}", "limits.megapixel=1"], "limits.megapixels"),
        (["run_dir={run}", "limits.requests=0"], "limits.requests must be at least 1"),
        (["run_dir={run}", "checkpoint=gone.ckpt", "port=0"], "gone.ckpt"),
    ],
)
def test_mistakes_are_told_without_a_traceback(words, message, run, files, capsys):
    with listen("127.0.0.1", 0) as taken:
        known = {"run": run, "files": files, "taken": taken.getsockname()[1]}
        assert main(["serve", *(word.format(**known) for word in words)]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_a_damaged_program_is_told(files, tmp_path):
    (tmp_path / "cut.pt2").write_bytes((files / "model.pt2").read_bytes()[:500])
    with pytest.raises(PodiumError, match="cannot be loaded"):
        find(str(tmp_path / "cut.pt2"), None, None, False, 1)


def test_this_machine_alone_is_the_default():
    assert Serve().host == "127.0.0.1" and Serve().tta is False
    assert Serve().limits == Limits()
