"""Errors: one shape for all of them, and nothing from inside."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib

import pytest
from structlog.testing import capture_logs

from daemon.api.problems import Problem
from tests.api.house import House
from tests.provisioning.world import order


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/services/", 404),
        ("GET", "/v2/services", 404),
        ("PUT", "/v1/orders", 405),
        ("DELETE", "/v1/services/1", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/services/7", 404),
        ("GET", "/v1/services/7/usage", 404),
        ("GET", "/v1/services/7/events", 404),
        ("POST", "/v1/services/7/release", 404),
        ("POST", "/v1/services/7/access", 404),
        ("GET", "/v1/operations/7/why", 404),
        ("POST", "/v1/tasks/7/close", 404),
    ],
)
async def test_every_error_is_a_problem(home: House, method: str, path: str, status: int) -> None:
    answer = await home.ask(method, path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    problem = Problem.model_validate(answer.body)
    assert (problem.status, problem.type) == (status, f"urn:provisiond:error:{problem.code}")
    if status == 405:
        assert answer.headers["Allow"]


@pytest.mark.parametrize("verb", ["retry", "abandon", "done"])
async def test_who_steps_in_says_why(home: House, verb: str) -> None:
    answer = await home.post(f"/v1/operations/7/{verb}", {})
    assert (answer.status, [error["field"] for error in answer.body["errors"]]) == (422, ["reason"])
    assert (await home.post(f"/v1/operations/7/{verb}", {"reason": "a test"})).status == 404


async def test_a_bug_is_told_by_an_id_that_stands_in_the_log(home: House) -> None:
    async with home.world.store.transaction() as tx:
        await tx.execute("ALTER TABLE task RENAME TO lost")
    with capture_logs() as lines:
        answer = await home.get("/v1/tasks")
    assert answer.status == 500
    assert "task" not in answer.text
    bugs = [line for line in lines if line["event"] == "http.bug"]
    assert [line["error_id"] for line in bugs] == [answer.body["error_id"]]


async def test_a_database_that_is_away_is_said_with_retry_after(home: House) -> None:
    placed = (await home.order(order())).body
    await home.world.store._writer.execute_query("PRAGMA busy_timeout=20")
    with sqlite3.connect(home.world.target.path) as other:  # type: ignore[union-attr]  # SQLite here
        other.execute("BEGIN IMMEDIATE")
        answer = await home.post(f"/v1/services/{placed['service']['id']}/release")
        assert (answer.status, answer.body["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        other.rollback()
    other.close()
    assert (await home.post(f"/v1/services/{placed['service']['id']}/release")).status == 202


async def test_a_request_is_one_line_in_the_log_without_path_parameters_or_body(home: House) -> None:
    with capture_logs() as lines:
        await home.get("/access/top-secret-link", role=None)
        await home.get("/v1/services?customer=top-secret-customer")
        await home.order(order())
        await home.get("/nowhere/top-secret", role=None)
    requests = [line for line in lines if line["event"] == "http.request"]
    assert [(line["method"], line["route"], line["status"]) for line in requests] == [
        ("GET", "/access/{token}", 404),
        ("GET", "/v1/services", 200),
        ("POST", "/v1/orders", 201),
        ("GET", "(none)", 404),
    ]
    assert requests[2]["actor"] == "token:admin"
    assert "top-secret" not in str(lines)
    assert "ada@example.test" not in str(requests)
    assert not any(token in str(lines) for token in home.tokens.values())


@pytest.mark.parametrize(
    "request_line",
    [
        b"\x00\x01\x02",
        b"GET /access/top-secret\xff HTTP/1.1",
        b"GET /access/" + b"top-secret" * 1000 + b" HTTP/1.1",
        b"GET / HTTP/9.9",
    ],
)
async def test_what_is_not_http_is_answered_with_400_and_not_logged(
    home: House, request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(home.url.rsplit(":", 1)[1]))
    writer.write(request_line + b"\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == b"400"
    writer.close()
    assert "top-secret" not in caplog.text


async def test_a_packed_body_is_refused_before_it_is_unpacked(home: House) -> None:
    bomb = zlib.compress(b"0" * 10_000_000)
    answer = await home.ask(
        "POST",
        "/v1/orders",
        data=bomb,
        key="k",
        headers={"Content-Encoding": "deflate", "Content-Type": "application/json"},
    )
    assert (answer.status, answer.body["code"]) == (415, "content_encoding")


async def test_every_answer_forbids_sniffing_and_keeping(home: House) -> None:
    for path in ("/v1/services", "/v1/nothing", "/healthz", "/openapi.json"):
        answer = await home.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
