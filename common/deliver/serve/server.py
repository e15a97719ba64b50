"""The verb `serve`: a run or an exported file in, an HTTP service until it is stopped."""

import logging
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import uvicorn
from fastapi import FastAPI

from common.config.schema import at_least
from common.deliver.serve.app import create_app
from common.deliver.serve.connections import Idle
from common.deliver.serve.limits import Limits
from common.deliver.serve.served import find
from common.errors import PodiumError
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
    batch_size: int = 16  # pictures at a time at most, >= 1; 1: one by one
    threads: int | None = None  # CPU threads of the model; null: as many as there are cores
    limits: Limits = field(default_factory=Limits)
    trust: Any = (
        None  # packages of one's own that it may name, or a .pt2: "a,b" or [a,b]; see common/trust.py
    )

    def __post_init__(self) -> None:
        at_least("batch_size", self.batch_size, 1)
        at_least("threads", self.threads, 1, or_null=True)
        if not 0 <= self.port <= 65535:
            raise PodiumError(f"port must be 0 to 65535, got {self.port}")


def serve(options: Serve) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted by then is still answered.

    Raises PodiumError for what the user can mend, a port that is taken too.
    """
    also(options.trust)
    # Else the threads of a model's layer burn the cores on which pictures are decoded while they wait for each other:
    # with both cores of a machine in use, ten times fewer answers. Read when torch is imported, which is still to come.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    source = find(options.run_dir, options.competition, options.checkpoint, options.tta, options.threads)
    app = create_app(source, options.limits, options.batch_size)
    listener = listen(options.host, options.port)
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    sample = " (trained on SAMPLE DATA)" if source.sample else ""
    print(f"{source.competition}{sample} from {source.path}: http://{address}:{port}", flush=True)
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    run(app, listener)


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve an app of `create_app`. Raises what kept its model from being loaded."""
    batcher, limits = app.state.service.batcher, app.state.service.limits

    longest = limits.upload_seconds + limits.answer_seconds + 1
    idle = Idle(limits.upload_seconds, longest)

    async def look_after() -> None:
        server.should_exit |= batcher.model is None and batcher.error is not None
        idle.close(server.server_state.connections, time.monotonic())

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            ws="none",
            log_level="error",  # it warns of every broken request
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=ceil(longest),
            timeout_notify=1,  # seconds between two calls
            callback_notify=look_after,
        )
    )
    app.state.server = server
    server.run(sockets=[listener])
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
