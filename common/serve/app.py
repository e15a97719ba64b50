"""The HTTP service: which paths there are, and what each says."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from common.data.reading.formats import TYPES
from common.serve.contract import Contract, contract_of
from common.serve.http.hosts import Hosts
from common.serve.limits import Limits
from common.serve.metrics import Measured
from common.serve.page.routes import add_page
from common.serve.refused import Refused, State
from common.serve.replies import Health, Info, Predictions, Problem
from common.serve.served import Source
from common.serve.service import Service

FIELD = "image"  # of the form that /predict takes
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "an empty picture, a broken form"},
    408: {"model": Problem, "description": "the upload takes too long"},
    413: {"model": Problem, "description": "too many bytes or pixels"},
    415: {"model": Problem, "description": "no picture, or one of another format"},
    422: {"model": Problem, "description": "a damaged picture, or a wrong field or parameter"},
    503: {"model": Problem, "description": "not now: too busy, still loading, or stopped"},
}
BUSY: dict[int | str, dict[str, Any]] = {503: REFUSALS[503]}


def create_app(source: Source, limits: Limits, batch_size: int = 16, hosts: Sequence[str] = ()) -> FastAPI:
    """The service as an ASGI application; `app.state.service` is what its paths share.

    hosts: whose name it answers to, besides this machine's, see hosts.py.

    Its page of documentation is switched off, since that loads scripts from elsewhere; `/openapi.json` is there.
    """
    service = Service(source, limits, batch_size)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title=f"Podium: {source.competition}", version="1", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    app.add_middleware(Hosts, hosts=hosts)
    app.add_middleware(Measured, metrics=service.metrics)
    _add_errors(app)
    _add_common(app, service)
    add_page(app, service)
    if contract := contract_of(source.service):
        _add_contract(app, service, contract)
    return app


def _add_common(app: FastAPI, service: Service) -> None:
    source = service.source

    @app.post(
        "/predict", response_model=Predictions, responses=REFUSALS, openapi_extra=_body(FIELD, raw=True)
    )
    async def predict(request: Request, top: Annotated[int, Query(ge=1, le=100_000)] = 5) -> Response:
        """The `top` most probable classes of one picture."""
        probabilities = await service.probabilities(request, FIELD)
        names = service.model.class_names
        best = np.argsort(-probabilities, kind="stable")[:top].tolist()
        rows = [
            {"label": label, "name": names[label], "probability": float(probabilities[label])}
            for label in best
        ]
        return JSONResponse({"predictions": rows})

    @app.get("/info", response_model=Info, responses=BUSY)
    async def info() -> Any:
        """What is served, and what it takes."""
        model, limits = service.model, service.limits
        return {
            "competition": source.competition,
            "run": source.run,
            "model": model.how,
            "classes": len(model.class_names),
            "class_names": model.class_names,
            "sample_data": source.sample,
            "can_draw": source.page.draw,
            "limits": {"megabytes": limits.megabytes, "megapixels": limits.megapixels, "types": TYPES},
        }

    @app.head("/health", include_in_schema=False)
    @app.get("/health", response_model=Health, responses=BUSY)
    async def health() -> Any:
        """200 while there is a model that answers."""
        _ = service.model
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        return service.metrics.response()


def _add_contract(app: FastAPI, service: Service, contract: Contract) -> None:
    @app.post(
        "/", response_model=contract.reply, responses=REFUSALS, openapi_extra=_body(contract.field, raw=False)
    )
    async def answer(request: Request) -> Any:
        """The competition's own contract."""
        probabilities = await service.probabilities(request, contract.field)
        return contract.answer(probabilities, service.model.class_names)


def _add_errors(app: FastAPI) -> None:
    """Every refusal is `{"error": sentence}`; 503 has a `state` too: busy, loading or stopped."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return _problem(error.status, error.reason, state=error.state)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return _problem(500, "this should not have happened; the service's log says more")


def _problem(status: int, reason: str, headers: Any = None, state: State | None = None) -> Response:
    if status == 503:
        headers = {"retry-after": "1"}
    return JSONResponse({"error": reason} | ({"state": state} if state else {}), status, headers)


def _body(field: str, raw: bool) -> dict[str, Any]:
    """How OpenAPI describes a picture in a form's field, or as the body itself."""
    picture = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {field: picture}, "required": [field]}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if raw:
        content |= {kind: {"schema": picture} for kind in (*TYPES, "application/octet-stream")}
    return {"requestBody": {"required": True, "content": content}}
