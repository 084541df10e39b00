"""Every error as problem+json (RFC 9457): a status, a stable code, a sentence, and each wrong field by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from daemon.domain.errors import Capacity, ConfigError, Permanent, ProvisiondError, Refused, Temporary, Uncertain

CONTENT_TYPE = "application/problem+json"
MOST_ERRORS = 100
"""Of one answer: a body of a million unknown fields is told about in part."""
LONGEST_FIELD = 200
RETRY_AFTER = "5"
"""Seconds after which something that passes may have passed."""

_STATUS: tuple[tuple[type[ProvisiondError], int], ...] = (
    (Temporary, 503),
    (Uncertain, 503),
    (ConfigError, 503),
    (Capacity, 409),
    (Permanent, 409),
)


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="name of the field, parts joined by dots; `body` for all of it")
    code: str
    message: str


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="urn:provisiond:error:<code>")
    title: str
    status: int
    detail: str = Field(description="a sentence for people")
    code: str = Field(description="stable and machine-readable; docs/reference/error-codes.md lists them")
    errors: list[FieldError] = Field(description="every wrong field; empty when no single field is to blame")
    error_id: str | None = Field(
        default=None, description="only for status 500: the same id stands in the daemon's log"
    )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    error_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """The answer for an error; every text in it is made fit for JSON whoever wrote it."""
    body: dict[str, Any] = {
        "type": f"urn:provisiond:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _plain(detail),
        "code": code,
        "errors": [
            {
                "field": _plain(error["field"])[:LONGEST_FIELD],
                "code": error["code"],
                "message": _plain(error["message"].removeprefix("Value error, ")),
            }
            for error in (errors or [])[:MOST_ERRORS]
        ],
    }
    if error_id is not None:
        body["error_id"] = error_id
    text = json.dumps(body, ensure_ascii=False)
    return web.Response(status=status, text=text, content_type=CONTENT_TYPE, headers=dict(headers or {}))


def of_error(error: ProvisiondError) -> web.Response:
    """The answer for an error that was raised on purpose."""
    if isinstance(error, Refused):
        status, errors = error.status, error.errors
    else:
        status, errors = next((status for kind, status in _STATUS if isinstance(error, kind)), 500), []
    headers = {"Retry-After": str(error.context.get("retry_after", RETRY_AFTER))} if status in {429, 503} else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="provisiond"'
    return problem(status, error.code, error.message, errors=errors, headers=headers)


def of_http(error: web.HTTPException) -> web.Response:
    """The answer for what aiohttp itself refuses: no such route, wrong method, a body too large."""
    code, detail = {
        404: ("no_route", "there is nothing under this path"),
        405: ("no_method", "this path doesn't take this method"),
        413: ("too_large", "the body is larger than 1 MiB"),
    }.get(error.status, ("http", error.reason))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return problem(error.status, code, detail, headers=headers)


def invalid(error: ValidationError, *, status: int, code: str, what: str) -> Refused:
    """A model's findings as one refusal that names every field."""
    errors = [
        {
            "field": ".".join(str(part) for part in found["loc"]) or "body",
            "code": found["type"],
            "message": found["msg"],
        }
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ERRORS]
    ]
    return Refused(code, what, status=status, errors=errors)


def _plain(text: str) -> str:
    """Lone surrogates, which JSON in UTF-8 can't carry, come as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
