"""`provisiond usage push` and the quarantine at a shell."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Desk
from tests.store.rows import a_billed_service


def event(desk: Desk, number: int, *, days: int = 0, **changes: Any) -> dict[str, Any]:
    at = desk.home.world.clock.now() - timedelta(days=days)
    return {
        "specversion": "1.0", "id": f"e-{number}", "source": "a", "type": "out", "time": at.isoformat(), "subject": "1",
        "data": {"value": "1.5", "unit": "KiB"}, **changes,
    }  # fmt: skip


@pytest.fixture(autouse=True)
async def service(desk: Desk) -> None:
    async with desk.home.world.store.transaction() as tx:
        await a_billed_service(tx)


async def test_events_are_pushed_from_a_list_from_lines_and_from_one_object(desk: Desk, tmp_path: Path) -> None:
    events = [event(desk, number) for number in range(3)]
    file = tmp_path / "events.json"
    file.write_text(json.dumps(events))
    done = await desk("usage", "push", str(file))
    assert (done.code, done.out) == (0, "3 accepted\n")
    lines = "\n".join(json.dumps(one) for one in [*events, event(desk, 3)]) + "\n\n"
    done = await desk("usage", "push", "-", stdin=lines)
    assert (done.code, done.out) == (0, "1 accepted, 3 duplicate\n")
    done = await desk("usage", "push", "-", "--json", stdin=json.dumps(event(desk, 4)))
    assert [item["status"] for item in done.json["items"]] == ["accepted"]
    assert (await desk("usage", "push", "-", stdin="[]")).out == "no events\n"


async def test_a_long_file_goes_in_pieces(desk: Desk) -> None:
    lines = "\n".join(json.dumps(event(desk, number)) for number in range(2100))
    assert (await desk("usage", "push", "-", stdin=lines)).out == "2100 accepted\n"


async def test_bad_events_are_told_with_their_places_and_the_exit_code(desk: Desk) -> None:
    events = [event(desk, 1), event(desk, 2, data={"value": 0.5}), event(desk, 1, subject=1, data={"value": 7})]
    done = await desk("usage", "push", "-", stdin=json.dumps(events))
    assert done.code == 1
    assert done.out == "1 accepted, 1 conflict, 1 refused\n"
    assert "event 2 (a e-2): data.value: expected a decimal string" in done.err
    assert "event 3 (a e-1): this source and id stand for another content" in done.err


@pytest.mark.parametrize("text", ["", "{", "[1,", '{"id": 1, "id": 2}', "NaN", '{"a": 1}\n{"b": \n'])
async def test_what_is_not_clean_json_is_not_sent(desk: Desk, text: str) -> None:
    done = await desk("usage", "push", "-", stdin=text)
    assert done.code == 1
    assert done.err.startswith("provisiond: the body")


async def test_the_quarantine_is_listed_released_and_discarded(desk: Desk) -> None:
    old = "\n".join(json.dumps(event(desk, number, days=40)) for number in range(2))
    assert (await desk("usage", "push", "-", stdin=old)).out == "2 quarantined\n"
    listed = await desk("usage", "quarantine", "list")
    assert "out 1536" in listed.out
    assert "too_old" in listed.out
    numbers = [str(item["id"]) for item in (await desk("usage", "quarantine", "list", "--json")).json["items"]]
    done = await desk("usage", "quarantine", "release", numbers[0], "--reason", "it was offline")
    assert done.out == f"event {numbers[0]} is accepted\n"
    assert (await desk("usage", "quarantine", "discard", numbers[1])).out == f"event {numbers[1]} is discarded\n"
    assert (await desk("usage", "quarantine", "discard", numbers[1])).code == 1
    assert (await desk("usage", "quarantine", "list")).out == "(none)\n"
