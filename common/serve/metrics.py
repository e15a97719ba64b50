"""What Prometheus reads at `/metrics`: requests, their times, batches."""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

disable_created_metrics()  # the time of the first request of each kind: a line for every line

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "podium_requests_total", "Requests answered", ["path", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "podium_request_seconds",
            "Time to the answer",
            ["path", "method"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "podium_batch_size",
            "Pictures that the model took at a time",
            buckets=SIZES,
            registry=self.registry,
        )
        self.working = Gauge("podium_requests_in_work", "Pictures not yet answered", registry=self.registry)
        self.ready = Gauge("podium_ready", "1 while there is a model that answers", registry=self.registry)

    def response(self) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class Measured:
    """ASGI middleware: counts each request and its time under the path of its route, so that none invents labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            known = status not in (404, 405)
            path = getattr(scope.get("route"), "path", "other") if known else "other"
            method = scope["method"] if known else "other"
            self.metrics.requests.labels(path, method, status).inc()
            self.metrics.seconds.labels(path, method).observe(time.perf_counter() - start)
