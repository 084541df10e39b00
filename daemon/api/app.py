"""Builds the aiohttp application: one guard around everything, one checked call for each entry."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from daemon.api import callers, csv_answer, problems, strictjson
from daemon.api.deps import Faces
from daemon.api.endpoint import Call, Caller, Endpoint, NoQuery, Role, page_as_csv, response
from daemon.api.table import ENDPOINTS
from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError, Refused
from daemon.store.failures import translated

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NO_TEMPLATE = "(none)"
LONGEST_KEY = 200
SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

ACTOR = web.RequestKey("actor", str)

log = structlog.get_logger(__name__)


def make_app(faces: Faces, *, local: bool) -> web.Application:
    """The whole API. `local`: for the Unix socket, where no token is asked for and the caller has role admin."""
    app = web.Application(client_max_size=strictjson.LARGEST, middlewares=[_guard(faces.clock)])
    identify = callers.by_socket if local else callers.by_token(faces)
    for entry in ENDPOINTS:
        app.router.add_route(entry.method, entry.path, _served(entry, faces, identify))
    return app


def make_runner(app: web.Application, *, shutdown_timeout: float = 1.0) -> web.AppRunner:
    """What serves it. The guard writes the access lines; what isn't even HTTP is answered with 400 and not logged.

    aiohttp would log such garbage as errors, with tracebacks and with the URL, which may hold the secret of an access link.
    """
    silent = logging.getLogger(f"{__name__}.protocol")
    silent.setLevel(logging.CRITICAL + 1)
    return web.AppRunner(
        app,
        access_log=None,
        logger=silent,
        auto_decompress=False,
        handle_signals=False,
        shutdown_timeout=shutdown_timeout,
    )


def _served(entry: Endpoint, faces: Faces, identify: callers.Identify) -> AiohttpHandler:
    async def plain(request: web.Request) -> web.StreamResponse:
        assert entry.raw_handler is not None
        return await entry.raw_handler(faces, request)

    async def checked(request: web.Request) -> web.StreamResponse:
        assert entry.handler is not None
        caller = await identify(request)
        request[ACTOR] = caller.actor
        _require_role(entry, caller)
        ids = {name: _id(text) for name, text in request.match_info.items()}
        query = _query(entry, request)
        key = _key(entry, request)
        raw = await strictjson.read(request, entry.rules) if entry.takes_body else None
        body = _body(entry, raw)
        csv = _csv(entry, request)
        reply = await entry.handler(Call(faces, caller, ids, query, body, raw, key, csv))
        return response(page_as_csv(entry, reply, request.url) if csv and not entry.own_csv else reply)

    return checked if entry.handler is not None else plain


# checking -----------------------------------------------------------------------------------------------------------------------


def _require_role(entry: Endpoint, caller: Caller) -> None:
    assert entry.roles is not None
    if not caller.roles & entry.roles:
        needed = " or ".join(sorted(entry.roles - {Role.ADMIN})) or Role.ADMIN
        raise Refused("wrong_role", f"this needs a token with role {needed}", status=403)


def _id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= strictjson.MOST:
        return int(text)
    raise Refused("no_such_id", "ids are whole numbers; there is nothing with this one", status=404)


def _csv(entry: Endpoint, request: web.Request) -> bool:
    if not entry.csv:
        return False
    return csv_answer.wanted(request.query.get(csv_answer.PARAMETER), ",".join(request.headers.getall("Accept", [])))


def _query(entry: Endpoint, request: web.Request) -> BaseModel:
    model = entry.query
    found: dict[str, str] = {}
    errors = []
    for name, value in request.query.items():
        if not strictjson.storable(name) or not strictjson.storable(value):
            errors.append({"field": name, "code": "bad_text", "message": "expected text without NUL"})
        elif name in found:
            errors.append({"field": name, "code": "duplicate_key", "message": "expected each parameter once"})
        found[name] = value
    if errors:
        raise Refused("invalid_query", "the parameters can't be read", status=400, errors=errors)
    if entry.csv:
        found.pop(csv_answer.PARAMETER, None)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        what = "this takes no parameters" if model is NoQuery else "the parameters can't be taken"
        raise problems.invalid(error, status=400, code="invalid_query", what=what) from None


def _key(entry: Endpoint, request: web.Request) -> str | None:
    keys = request.headers.getall("Idempotency-Key", [])
    if len(keys) > 1:
        raise _bad_key("bad_key", "expected one Idempotency-Key")
    key = keys[0] if keys else None
    if key is None:
        if entry.key == "required":
            raise _bad_key("key_required", "this needs an Idempotency-Key: repeat a lost request with the same one")
        return None
    if entry.key == "none" and entry.method != "GET":
        raise _bad_key("key_not_taken", "this takes no Idempotency-Key: its answer holds a secret and is not kept")
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise _bad_key("bad_key", f"expected an Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters")
    return key


def _bad_key(code: str, message: str) -> Refused:
    return Refused(code, message, status=400, errors=[{"field": "Idempotency-Key", "code": code, "message": message}])


def _body(entry: Endpoint, raw: Any) -> BaseModel | None:
    if not entry.takes_body or entry.raw_body:
        return None
    try:
        return entry.body.model_validate(raw)
    except ValidationError as error:
        raise problems.invalid(error, status=422, code="invalid_body", what="the body can't be taken") from None


# the guard ----------------------------------------------------------------------------------------------------------------------


def _guard(clock: Clock) -> Any:
    """Around everything: each error becomes a problem, each request one line in the log without path, parameters or body."""

    @web.middleware
    async def guard(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        begun = clock.monotonic()
        answer = await _answered(request, handler)
        for name, value in SAFE.items():
            answer.headers.setdefault(name, value)
        log.info(
            "http.request",
            method=request.method,
            route=_template(request),
            status=answer.status,
            ms=round((clock.monotonic() - begun) * 1000),
            actor=request.get(ACTOR),
        )
        return answer

    return guard


async def _answered(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    try:
        with translated():
            return await handler(request)
    except ProvisiondError as error:
        return problems.of_error(error)
    except web.HTTPException as error:
        return problems.of_http(error)
    except Exception:
        error_id = secrets.token_hex(6)
        log.exception("http.bug", error_id=error_id, method=request.method, route=_template(request))
        text = f"a bug in the daemon; its log tells more under {error_id}"
        return problems.problem(500, "internal", text, error_id=error_id)


def _template(request: web.Request) -> str:
    """The route with its braces: the path itself may hold the secret of an access link."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else NO_TEMPLATE
