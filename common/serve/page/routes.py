"""The page at `/`: its files, examples to try, and heat maps."""

from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from common.serve.page.examples import Example, examples
from common.serve.pictures import check, prepare, shape
from common.serve.refused import Refused
from common.serve.service import Service

FILES = Path(__file__).parent / "static"
FIELD = "image"  # of the form
SIDE = 448  # pixels of a heat map's longer side
HEADERS = {
    # nothing from elsewhere: the page works offline, and a class name can never become a script
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",  # nor do pages from elsewhere show these files
    "cache-control": "no-cache",  # asked each time, and not sent again unless changed
}


def add_page(app: FastAPI, service: Service) -> None:
    """The paths `/` and `/page/…`."""
    page = _Page(service)
    files = StaticFiles(directory=FILES)

    async def static(name: str, request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(HEADERS)
        return response

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await static("index.html", request)

    @app.get("/page/settings", include_in_schema=False)
    async def settings() -> Any:
        """What the page shows besides what /info says."""
        await page.make("examples", "heat_map")
        return page.settings()

    @app.get("/page/examples/{number}", include_in_schema=False)
    async def example(number: int) -> Response:
        await page.make("examples")
        if not 0 <= number < len(page.examples):
            raise Refused(404, "there is no such example")
        return Response(page.examples[number].jpeg, media_type="image/jpeg", headers=HEADERS)

    @app.post("/page/heat", include_in_schema=False)
    async def heat(request: Request, label: Annotated[int, Query(ge=0)]) -> Response:
        """A PNG of what the model sees of the picture, coloured where it speaks for the class."""
        await page.make("heat_map")
        service.aside.check()
        data = await service.upload(request, FIELD)
        async with service.in_time():
            return Response(await service.aside.run(page.heat, data, label), media_type="image/png")

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        return await static(name, request)


class _Page:
    """What the paths share; made when it is first asked for, in the thread that no prediction waits for."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def make(self, *names: str) -> None:
        """Those of the properties below that are still to be made."""
        _ = self.service.model
        if not set(names) <= set(vars(self)):
            await self.service.aside.run(lambda: [getattr(self, name) for name in names])

    @cached_property
    def examples(self) -> list[Example]:
        path = self.service.source.path
        run = path if path.is_dir() else path.resolve().parent.parent  # export writes to <run>/export/
        return examples(run, self.service.model.class_names)

    @cached_property
    def heat_map(self) -> Any:
        """A HeatMap of the first model, or why there is none: «exported», «no_map»."""
        model = self.service.model
        if model.ensemble is None:
            return "exported"

        from common.serve.page.heat_map import HeatMap, NoMap  # torch, which exported files go without

        module = model.ensemble.modules[0]
        if model.probabilities == model.ensemble.probabilities:  # no graph does it in their place
            module = deepcopy(module)  # one would note what the other computes
        try:
            return HeatMap(module)
        except NoMap:
            return "no_map"

    def settings(self) -> dict[str, Any]:
        model, source = self.service.model, self.service.source
        no_heat = self.heat_map if isinstance(self.heat_map, str) else None
        return {
            "draw": source.page.draw,
            "brush": source.page.brush,
            "no_heat": no_heat,
            "models": len(model.ensemble.modules) if model.ensemble else 1,
            "examples": [one.name for one in self.examples],
            "examples_seen": any(one.seen for one in self.examples),
        }

    def heat(self, data: bytes, label: int) -> bytes:
        model, heat_map = self.service.model, self.heat_map
        if isinstance(heat_map, str):
            raise Refused(404, "there are no heat maps of this model")
        if label >= len(model.class_names):
            raise Refused(422, f"label must be less than {len(model.class_names)}")
        seen = model.preprocessings[0]
        check(data, self.service.limits)
        # The same picture in more pixels, and as wide as it is: what is laid over it is coarse, and it need not be.
        stretched = seen["fit"] == "stretch" and not seen.get("picture")
        sides = shape(data) if stretched else seen["size"]
        larger = {**seen, "size": [max(1, round(side * SIDE / max(sides))) for side in sides]}
        fitted, picture = prepare(data, [seen, larger], self.service.limits)
        heat = heat_map(fitted, label)

        from common.serve.page.heat_map import overlay

        shown = overlay(np.broadcast_to(picture, (*picture.shape[:2], 3)), heat)
        return cv2.imencode(".png", shown[:, :, ::-1])[1].tobytes()
