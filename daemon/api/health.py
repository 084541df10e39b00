"""What machines ask without a login: signs of life, metrics, the description of the API."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from daemon.api.deps import Faces
from daemon.api.endpoint import plain_endpoint
from daemon.observability.metrics import CONTENT_TYPE

TAG = "health"


class CheckShape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ok: bool
    message: str | None


class HealthShape(BaseModel):
    """`ok` is true when every check is."""

    model_config = ConfigDict(extra="forbid")

    ok: bool
    checks: dict[str, CheckShape]


def _health(found: dict[str, Any]) -> web.Response:
    return web.json_response(found, status=200 if found["ok"] else 503)


@plain_endpoint(
    "GET", "/healthz", tag=TAG, media="application/json", answer=HealthShape, refusals={503: "restart the process"}
)
async def healthz(faces: Faces, _request: web.Request) -> web.Response:
    """Whether the process is worth keeping."""
    return _health(await faces.health.alive())


@plain_endpoint(
    "GET", "/readyz", tag=TAG, media="application/json", answer=HealthShape, refusals={503: "send no work here now"}
)
async def readyz(faces: Faces, _request: web.Request) -> web.Response:
    """Whether work may be sent here."""
    return _health(await faces.health.ready())


@plain_endpoint("GET", "/metrics", tag=TAG, media="text/plain", refusals={})
async def metrics(faces: Faces, _request: web.Request) -> web.Response:
    """Figures for Prometheus."""
    await faces.before_scrape()
    return web.Response(body=faces.metrics.render(), headers={"Content-Type": CONTENT_TYPE})


@plain_endpoint("GET", "/openapi.json", tag=TAG, media="application/json", refusals={})
async def openapi(faces: Faces, _request: web.Request) -> web.Response:
    """What the API is: its description in OpenAPI 3.1."""
    from daemon.api.openapi import description  # noqa: PLC0415 - it describes this file too

    return web.Response(text=json.dumps(description(faces.version)), content_type="application/json")


ENDPOINTS = (healthz, readyz, metrics, openapi)
