"""A service in this process, asked directly or over HTTP."""

import threading
from contextlib import contextmanager

from starlette.testclient import TestClient

from common.serve.app import create_app
from common.serve.limits import Limits
from common.serve.server import listen, run
from tests.common.serve.gate import PATIENCE, wait_for

PATIENT = Limits(upload_seconds=PATIENCE, answer_seconds=PATIENCE)  # busy machines keep nobody from an answer

LOCAL = "http://localhost"  # the Host that it answers to


@contextmanager
def client_of(given, limits=None, batch_size=8):
    with TestClient(create_app(given, limits or PATIENT, batch_size), LOCAL) as client:
        wait_for(lambda: client.app.state.service.batcher.ready)
        yield client


@contextmanager
def running(app):
    """The app behind a real server, in a thread; its address."""
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=run, args=(app, listener), daemon=True)
    thread.start()
    wait_for(lambda: app.state.service.batcher.ready and app.state.server.started)
    yield "http://{}:{}".format(*listener.getsockname())
    app.state.server.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive()
