"""The verb `serve`: a run or an exported file in, an HTTP service until it is stopped."""

import logging
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI

from common.activity import Activity
from common.config.schema import at_least
from common.cores import check_count, cores
from common.errors import PodiumError
from common.serve.app import create_app
from common.serve.http.connections import Idle, bearable
from common.serve.http.hosts import check_host
from common.serve.http.protocol import Bounded
from common.serve.http.sieve import sieved
from common.serve.http.stopping import Server
from common.serve.limits import Limits
from common.serve.served import find
from common.trust import also


@dataclass
class Serve:
    """Options of `serve`."""

    competition: str | None = None  # whose newest finished run is taken when run_dir is not given
    run_dir: str | None = None  # run folder, or a file that export wrote
    checkpoint: str | None = None  # of each job; null: the one that the run names, best.ckpt
    tta: bool = False  # with the recipe's test-time views, which take as many times longer
    host: str = "127.0.0.1"  # this machine alone; 0.0.0.0: whoever reaches it
    port: int = 8000  # 0: any that is free
    # Names or addresses, without a port, that it answers to besides this machine's own; *: all
    hosts: list[str] = field(default_factory=list)
    batch_size: int = 16  # pictures at a time at most, >= 1; 1: one by one
    threads: int | None = None  # CPU threads of the model; null: as many as there are cores
    limits: Limits = field(default_factory=Limits)
    trust: Any = (
        None  # packages of one's own that it may name, or a .pt2: "a,b" or [a,b]; see common/trust.py
    )

    def __post_init__(self) -> None:
        at_least("batch_size", self.batch_size, 1)
        at_least("threads", self.threads, 1, or_null=True)
        check_count("threads", self.threads)
        if not 0 <= self.port <= 65535:
            raise PodiumError(f"port must be 0 to 65535, got {self.port}")
        for host in self.hosts:
            check_host(host)


def serve(options: Serve) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted by then is still answered.

    Raises PodiumError for what the user can mend, a port that is taken too.
    """
    also(options.trust)
    # Where this process may use a part of the machine's cores, onnxruntime would start a thread for each of them.
    threads = options.threads or (cores() if cores() < (os.cpu_count() or 1) else None)
    source = find(options.run_dir, options.competition, options.checkpoint, options.tta, threads)
    app = create_app(source, options.limits, options.batch_size, options.hosts)
    listener = listen(options.host, options.port)
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    sample = " (trained on SAMPLE DATA)" if source.sample else ""
    print(f"{source.competition}{sample} from {source.path}: http://{address}:{port}", flush=True)
    with sieved():
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        run(app, listener)


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve an app of `create_app`. Raises what kept its model from being loaded."""
    batcher, limits = app.state.service.batcher, app.state.service.limits

    longest = limits.upload_seconds + limits.answer_seconds + 1
    idle = Idle(limits.upload_seconds, longest, bearable())

    loading = [Activity("loading the model").__enter__()]

    async def look_after() -> None:
        if loading and (batcher.ready or batcher.error is not None):
            loading.pop().__exit__()
            if batcher.ready:
                print("ready", flush=True)
        server.should_exit |= batcher.model is None and batcher.error is not None
        idle.close(server.server_state.connections, time.monotonic())

    server = Server(
        uvicorn.Config(
            app,
            http=Bounded,
            ws="none",
            log_level="error",  # it warns of every broken request
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,  # for requests whose connections are closed by then
            timeout_notify=1,  # seconds between two calls
            callback_notify=look_after,
        ),
        limits,
    )
    app.state.server = server
    try:
        server.run(sockets=[listener])
    finally:
        for activity in loading:
            activity.__exit__()
    if batcher.model is None and batcher.error is not None:
        raise batcher.error


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; they wait until the service has begun. Raises PodiumError if it cannot."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PodiumError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}): choose another by PORT="
        ) from error
    return listener
