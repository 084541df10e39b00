"""Usage records over HTTP: listed, looked at, accepted, corrected, verified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.domain.metering import UsageRecord
from daemon.store.targets import Target
from tests.api.house import Answer, House, house
from tests.store.rows import a_service

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2026, 2, 1, tzinfo=UTC)


def record(service: int, resource: str = "in", **changes: object) -> UsageRecord:
    made = {
        "base_unit": "B", "base_quantity": 3072, "covered": timedelta(days=31), "samples": 3, "expected": 4,
        "classes": {"ok": 3}, "formula": 1, "seal": "sha256:0", **changes,
    }  # fmt: skip
    return UsageRecord(0, service, resource, SINCE, UNTIL, **made)  # type: ignore[arg-type]  # a test's own words


async def fill(home: House) -> None:
    """Record 1 is fine, 2 is held, 3 is held and unknown, 4 is of a resource that the settings don't have."""
    async with home.world.store.transaction() as tx:
        service = await a_service(tx)
        held = {"held": True, "covered": timedelta(days=1)}
        records = [
            record(service),
            record(service, "out", reason="3.22 % of the period is known", **held),
            record(service, "power", base_unit="mW", base_quantity=None, reason="nothing is known of it", **held),
            record(service, "heat", base_unit="mW", base_quantity=5),
        ]
        await tx.usage_records.add(records)


async def touch(home: House, change: str) -> None:
    """Change records behind the daemon's back."""
    sqlite = home.world.store.dialect == "sqlite"
    async with home.world.store.transaction() as tx:
        await tx.execute(f"DROP TRIGGER usage_record_append_only{'_update' if sqlite else ' ON usage_record'}")
        await tx.execute(f"UPDATE usage_record SET {change}")


@pytest.fixture
async def open_house(target: Target, tmp_path: Path) -> AsyncIterator[House]:
    async with house(target, tmp_path) as made:
        await fill(made)
        yield made


async def ids(home: House, query: str = "") -> list[int]:
    return [item["id"] for item in (await home.get(f"/v1/usage-records{query}", role="read")).body["items"]]


async def revise(home: House, number: int, **more: object) -> Answer:
    body = {key: value for key, value in more.items() if key not in {"key", "role"}}
    key, role = more.get("key"), more.get("role", "bill")
    return await home.post(f"/v1/usage-records/{number}/revisions", body, role=role, key=key)


async def test_records_are_listed_by_what_they_wait_for_and_by_their_last_revision(open_house: House) -> None:
    home = open_house
    assert await ids(home) == [4, 3, 2, 1]
    assert await ids(home, "?held=true") == [3, 2]
    assert await ids(home, "?held=false&service=1&limit=1") == [4]
    assert (await revise(home, 2, reason="the panel was down")).status == 201
    assert await ids(home, "?held=true&newest=true") == [3]
    assert await ids(home, "?newest=true") == [5, 4, 3, 1]
    assert await ids(home, "?service=99") == []
    assert (await home.get("/v1/usage-records?held=yes")).fields == ["held"]


async def test_a_record_shows_what_it_was_made_from_and_no_zero_for_what_is_not_known(open_house: House) -> None:
    found = (await open_house.get("/v1/usage-records/2")).body
    assert (found["quantity"], found["unit"], found["base_quantity"], found["base_unit"]) == ("3", "KiB", "3072", "B")
    assert (found["held"], found["coverage"], found["samples"], found["expected"]) == (True, "3.22", 3, 4)
    assert (found["classes"], found["formula"], found["seal"], found["author"]) == ({"ok": 3}, 1, "sha256:0", "daemon")
    unknown = (await open_house.get("/v1/usage-records/3")).body
    assert (unknown["quantity"], unknown["base_quantity"]) == (None, None)
    gone = (await open_house.get("/v1/usage-records/4")).body
    assert (gone["resource"], gone["quantity"], gone["unit"]) == ("heat", "5", "mW")
    missing = await open_house.get("/v1/usage-records/99")
    assert (missing.status, missing.body["code"]) == (404, "no_usage_record")


async def test_a_held_record_is_accepted_as_it_is_once_by_those_who_bill(open_house: House) -> None:
    home = open_house
    assert (await revise(home, 2, reason="ok", role="operate")).status == 403
    assert (await revise(home, 2)).fields == ["reason"]
    made = await revise(home, 2, reason="the panel was down", key="k-1")
    assert (made.status, made.body["held"], made.body["revision"], made.body["quantity"]) == (201, False, 2, "3")
    assert (made.body["author"], made.body["reason"]) == ("token:bill", "the panel was down")
    assert (await revise(home, 2, reason="the panel was down", key="k-1")).body == made.body
    again = await revise(home, 2, reason="again")
    assert (again.status, again.body["code"]) == (409, "revised")
    assert (await revise(home, 1, reason="x")).body["code"] == "not_held"
    assert (await revise(home, 3, reason="x")).body["code"] == "quantity_needed"
    assert (await revise(home, 99, reason="x")).status == 404


@pytest.mark.parametrize("quantity", ["-1", "1e5", "NaN", "", "0.00001", "9" * 40, " 1", 5, True])
async def test_a_quantity_that_is_no_exact_amount_is_refused(quantity: object, open_house: House) -> None:
    refused = await revise(open_house, 1, quantity=quantity, reason="x")
    assert (refused.status, refused.fields) == (422, ["quantity"])


async def test_a_correction_says_what_is_billed_in_the_unit_of_the_record(open_house: House) -> None:
    made = await revise(open_house, 3, quantity="91.5", reason="read off the meter")
    assert (made.body["quantity"], made.body["base_quantity"], made.body["unit"]) == ("91.5", "91500", "W")
    assert (await revise(open_house, 4, quantity="7", reason="x")).body["base_quantity"] == "7"


async def test_what_the_audit_log_has_but_no_one_can_measure_is_told_apart_from_what_was_touched(
    open_house: House,
) -> None:
    home = open_house
    answer = await home.post("/v1/usage-records/verify", {"ids": [1, 2, 77]}, role="read")
    assert [item["proof"] for item in answer.body["items"]] == ["other_formula", "other_formula"]
    assert answer.body["unknown"] == [77]
    await touch(home, "base_quantity = 1 WHERE id = 1")
    item = (await home.post("/v1/usage-records/verify", {"ids": [1]})).body["items"][0]
    assert (item["proof"], item["findings"]) == (
        "broken",
        ["quantity: 1 stands in the record, the audit log has 3072"],
    )
    assert (await home.post("/v1/usage-records/verify", {"ids": []})).status == 422
    assert (await home.post("/v1/usage-records/verify", {"ids": list(range(1, 252))})).status == 422
