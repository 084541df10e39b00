"""The description of the API is valid, whole, and true."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from daemon.api.app import make_app
from daemon.api.endpoint import Endpoint
from daemon.api.openapi import description, statuses
from daemon.api.table import ENDPOINTS
from tests.api.house import House
from tests.provisioning.world import order

DOCUMENT = description("0.1.0")
WITH_LOGIN = [entry for entry in ENDPOINTS if entry.roles is not None]


def refs(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [ref for value in part.values() for ref in refs(value)]
    return [ref for value in part for ref in refs(value)] if isinstance(part, list) else []


def operation(entry: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][entry.path][entry.method.lower()]
    return found


def check(schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(whole).iter_errors(value)]
    assert errors == []


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for ref in refs(DOCUMENT):
        assert ref.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


async def test_every_route_is_in_it_and_nothing_else(home: House) -> None:
    routes = {
        (route.method, route.resource.canonical)
        for route in make_app(home.faces, local=False).router.routes()
        if route.resource is not None
    }
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == routes
    names = [operation(entry)["operationId"] for entry in ENDPOINTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", WITH_LOGIN, ids=lambda entry: entry.name)
def test_every_entry_tells_its_refusals(entry: Endpoint) -> None:
    told = operation(entry)["responses"]
    wanted = {400, 401, 403, 404, 503} | ({409} if entry.key != "none" else set())
    wanted |= {413, 415, 422} if entry.takes_body else set()
    assert {str(status) for status in wanted} <= set(told)
    assert set(statuses(entry)) >= wanted
    for status in wanted:
        assert "application/problem+json" in told[str(status)]["content"]
    parameters = {parameter["name"]: parameter for parameter in operation(entry)["parameters"]}
    assert ("Idempotency-Key" in parameters) is (entry.key != "none")
    assert ("id" in parameters) is ("{id}" in entry.path)


async def test_it_is_served_without_a_login(home: House) -> None:
    answer = await home.get("/openapi.json", role=None)
    assert answer.status == 200
    assert answer.body == DOCUMENT


async def test_real_answers_have_the_shapes_it_tells(home: House) -> None:
    placed = await home.order(order())
    await home.world.drive()
    await home.post("/v1/usage/poll")
    await home.post("/v1/services/1/release")
    await home.world.drive()
    asked = {
        "list_plans": "/v1/plans",
        "list_orders": "/v1/orders",
        "get_order": "/v1/orders/1",
        "list_services": "/v1/services",
        "get_service": "/v1/services/1",
        "list_service_events": "/v1/services/1/events",
        "get_usage": "/v1/services/1/usage",
        "get_samples": "/v1/services/1/samples?metric=in",
        "list_operations": "/v1/operations",
        "get_operation": "/v1/operations/1",
        "why_operation": "/v1/operations/1/why",
        "list_tasks": "/v1/tasks",
        "list_modules": "/v1/modules",
        "list_usage_records": "/v1/usage-records",
        "list_tokens": "/v1/tokens",
        "healthz": "/healthz",
        "readyz": "/readyz",
    }
    for entry in ENDPOINTS:
        if entry.name in asked:
            answer = await home.get(asked[entry.name])
            assert answer.status == 200, answer.text
            check(operation(entry)["responses"]["200"]["content"]["application/json"]["schema"], answer.body)
    create = next(entry for entry in ENDPOINTS if entry.name == "create_order")
    check(operation(create)["responses"]["201"]["content"]["application/json"]["schema"], placed.body)
    refused = await home.order({})
    check(operation(create)["responses"]["422"]["content"]["application/problem+json"]["schema"], refused.body)
    check(operation(create)["requestBody"]["content"]["application/json"]["schema"], order())
