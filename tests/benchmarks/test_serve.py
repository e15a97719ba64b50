"""The load test counts what was answered, and tells a refusal from a loss."""

import socket
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks import serve as bench
from common.config.options import parse
from common.errors import PodiumError
from common.serve.app import create_app
from tests.common.serve.clients import PATIENT, running
from tests.common.serve.gate import Gate
from tests.common.serve.painted import picture, source


def at(address: str) -> bench.At:
    return bench.At(int(address.rsplit(":", 1)[1]), None)


def test_every_request_is_counted_once():
    pictures = [picture(name) for name in ("红", "绿", "蓝")]
    with running(create_app(source(), PATIENT)) as address:
        latencies, statuses = bench.ask(at(address), pictures, clients=3, requests=40)
        assert statuses == {200: 40} and len(latencies) == 40 and min(latencies) > 0
        assert bench.ask(at(address), [b"no picture"], clients=2, requests=7)[1] == {415: 7}


def test_refused_is_not_lost():
    gate = Gate()
    with running(create_app(source(gate), replace(PATIENT, requests=2))) as address:
        gate.on_batch = lambda: time.sleep(0.05)  # six clients, two places
        row = bench.loaded("flood", at(address), [picture()], clients=6, seconds=0.6)
    assert row["refused"] > 0 and row["lost"] == 0 and row["requests/s"] > 0


def test_a_broken_connection_is_a_loss():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            for _ in range(8):
                listener.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        _, statuses = bench.ask(bench.At(port, None), [picture()], clients=1, requests=3)
    assert statuses == {0: 3}


@pytest.mark.parametrize("words", [[], ["run_dir=x"], ["run_dir=x", "data.root=y", "clients=0"]])
def test_what_is_missing_is_said(words):
    with pytest.raises(PodiumError):
        parse(bench.Serve, words)


@pytest.mark.slow
def test_the_whole_on_a_small_run(toy, tmp_path, monkeypatch):
    from common.train.train import train

    train(toy("trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(bench.Path(bench.__file__).parents[2]))
    bench.main(
        [f"run_dir={tmp_path}/run", f"data.root={tmp_path}/images", "seconds=1", "requests=50", "flood=80"]
    )
    rows = pd.read_csv(next(tmp_path.glob("runs/bench/*/serve.csv")))
    assert rows.iloc[:, 0].tolist() == [bench.LOOP, bench.BATCHED, bench.FLOOD, bench.SINGLE]
    assert (rows["requests/s"] > 0).all() and (rows["lost"].dropna() == 0).all()
