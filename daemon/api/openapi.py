"""The description of the API (OpenAPI 3.1), made from the same table that serves it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from daemon.api import csv_answer
from daemon.api.endpoint import Endpoint, NoQuery
from daemon.api.problems import CONTENT_TYPE, Problem
from daemon.api.table import ENDPOINTS

REF = "#/components/schemas/{model}"
Json = dict[str, Any]
Names = Mapping[tuple[Any, JsonSchemaMode], Json]
"""(model, mode) -> its reference."""
_WORDS = {
    400: "the request can't be read: JSON, a parameter, or the Idempotency-Key",
    401: "no token, or one that isn't known here",
    403: "the token has none of the roles that this needs",
    404: "there is no such thing",
    405: "this path doesn't take this method",
    409: "not possible in the present state; or the Idempotency-Key stood for another request",
    413: "the body is too large: more than 1 MiB, where nothing else is said",
    415: "the body is not of a type that this takes",
    422: "the body can't be taken; `errors` names every wrong field",
    429: "too many failed logins; Retry-After says how many seconds to wait",
    500: "a bug; `error_id` stands in the daemon's log",
    503: "not possible at the moment; Retry-After says when to try again",
}
_IDS = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}


@cache
def description(version: str) -> Json:
    """The whole document."""
    names, schemas = _schemas()
    paths: dict[str, Json] = {}
    for entry in ENDPOINTS:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "provisiond",
            "version": version,
            "description": "Orders, services and usage of rented dedicated servers. Lists are {items, next}; errors are problem+json.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(entry.tag for entry in ENDPOINTS)],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


def _schemas() -> tuple[Names, Json]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for entry in ENDPOINTS:
        if entry.takes_body:
            wanted[entry.body, "validation"] = None
        if entry.answer is not None:
            wanted[entry.answer, "serialization"] = None
    names, document = models_json_schema(list(wanted), by_alias=True, ref_template=REF)
    return names, document["$defs"]


def _operation(entry: Endpoint, names: Names) -> Json:
    found: Json = {
        "operationId": entry.name,
        "tags": [entry.tag],
        "summary": entry.summary,
        "parameters": _parameters(entry),
        "responses": _responses(entry, names),
    }
    if entry.roles is None:
        found["security"] = []
    else:
        found["description"] = "Roles: " + ", ".join(sorted(entry.roles)) + "."
    if entry.takes_body:
        required = bool(entry.body.model_json_schema().get("required"))
        found["requestBody"] = {
            "required": required,
            "content": {media: {"schema": names[entry.body, "validation"]} for media in entry.rules.media},
        }
    return found


def _parameters(entry: Endpoint) -> list[Json]:
    found: list[Json] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _IDS if entry.handler is not None else {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"\{(\w+)\}", entry.path)
    ]
    if entry.query is not NoQuery:
        schema = entry.query.model_json_schema(by_alias=True)
        found += [_query_parameter(name, part, schema) for name, part in schema["properties"].items()]
    if entry.csv:
        found.append(
            {
                "name": csv_answer.PARAMETER,
                "in": "query",
                "required": False,
                "description": "`csv` does what `Accept: text/csv` does",
                "schema": {"type": "string", "enum": list(csv_answer.FORMATS)},
            }
        )
    if entry.key != "none":
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": entry.key == "required",
                "description": "the same key and request get the same answer, whatever was lost on the way",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
            }
        )
    return found


def _query_parameter(name: str, part: Json, whole: Json) -> Json:
    """A parameter can be left out, but it can't be null: of a union with null the other side is meant."""
    plain = {key: value for key, value in part.items() if key not in {"title", "description", "default"}}
    if "anyOf" in plain:
        plain = next(dict(option) for option in plain["anyOf"] if option.get("type") != "null")
    if "$ref" in plain:
        plain = dict(whole["$defs"][plain["$ref"].rsplit("/", 1)[-1]])
        plain = {key: value for key, value in plain.items() if key in {"type", "enum"}}
    if part.get("default") is not None:
        plain["default"] = part["default"]
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": part.get("description", ""),
        "schema": plain,
    }


def statuses(entry: Endpoint) -> dict[int, str]:
    """Every status with which an entry may refuse, and what it means there."""
    if entry.raw_handler is not None:
        return dict(entry.refusals)
    wanted = {400, 401, 403, 404, 429, 500, 503}
    if entry.takes_body:
        wanted |= {413, 415, 422}
    if entry.key != "none":
        wanted |= {409}
    found = {status: _WORDS[status] for status in wanted} | dict(entry.refusals)
    return dict(sorted(found.items()))


def _responses(entry: Endpoint, names: Names) -> Json:
    good: Json = {"description": HTTPStatus(entry.status).phrase}
    if entry.answer is not None:
        good["content"] = {entry.media: {"schema": names[entry.answer, "serialization"]}}
    elif entry.media != "application/json":
        good["content"] = {entry.media: {"schema": {"type": "string"}}}
    elif entry.status != 204:
        good["content"] = {entry.media: {"schema": {"type": "object"}}}
    if entry.csv:
        good["content"][csv_answer.CONTENT_TYPE] = {"schema": {"type": "string"}}
    problem = {CONTENT_TYPE: {"schema": names[Problem, "serialization"]}}
    own = good.get("content", {}) if entry.raw_handler is not None else problem
    also = {str(status): {**good, "description": words} for status, words in entry.others.items()}
    return (
        {str(entry.status): good}
        | also
        | {str(status): {"description": words, "content": own} for status, words in statuses(entry).items()}
    )
