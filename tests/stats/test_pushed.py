"""Pushed usage: every event counts once, whatever is sent again, and nothing that was refused is lost in silence."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tortoise.exceptions import IntegrityError

from daemon.domain.clock import VirtualClock
from daemon.domain.errors import Refused
from daemon.domain.pushed import EventReader, PushedEvent
from daemon.domain.resources import RESOURCES
from daemon.stats.pushable import Pushable
from daemon.stats.pushed import MOST, Outcome, PushDesk
from daemon.store.database import Store
from daemon.store.pushed import PushedUsage
from tests.store.rows import a_billed_service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG = "x" * 65536


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "collector/a",
        "type": "usage",
        "time": NOW.isoformat(),
        "subject": "1",
        "data": {"resource": "out", "value": "1024"},
        **changes,
    }


def data(**fields: Any) -> dict[str, Any]:
    return {"data": {"resource": "out", "value": "1", **fields}}


class Desk:
    """A desk with two services; what it says is what the database says."""

    def __init__(self, store: Store, clock: VirtualClock, services: list[int]) -> None:
        self.store, self.clock = store, clock
        self.service, self.other = services
        self.desk = PushDesk(store, clock)

    def event(self, number: int = 1, **changes: Any) -> dict[str, Any]:
        return event(number, **{"subject": str(self.service), **changes})

    async def push(self, *events: Any) -> list[Outcome]:
        return [item.outcome for item in await self.desk.push(events, actor="token:a")]

    async def counted(self, resource: str = "out", service: int | None = None) -> list[tuple[str, int]]:
        found = await self.store.read.pushed.events_of(
            service or self.service, resource, NOW - timedelta(days=4000), NOW + timedelta(days=4000)
        )
        return [(reading.event_id, reading.quantity) for reading in found]

    async def stored(self) -> int:
        return int((await self.store.read.fetch("SELECT COUNT(*) AS n FROM pushed_event"))[0]["n"])

    async def log(self, kind: str) -> list[dict[str, Any]]:
        return [made for made in await self.store.read.events.of_service(self.service) if made["kind"] == kind]


@pytest.fixture
async def desk(store: Store, clock: VirtualClock) -> Desk:
    async with store.transaction() as tx:
        services = [await a_billed_service(tx), await a_billed_service(tx)]
    return Desk(store, clock, services)


# once --------------------------------------------------------------------------------------------------------------------------


async def test_an_event_counts_once_however_often_it_is_sent(desk: Desk) -> None:
    assert await desk.push(desk.event()) == [Outcome.ACCEPTED]
    for _ in range(3):
        assert await desk.push(desk.event()) == [Outcome.DUPLICATE]
    assert await desk.counted() == [("e-1", 1024)]


async def test_the_same_content_written_differently_is_the_same_content(desk: Desk) -> None:
    same = [
        desk.event(),
        desk.event(data={"resource": "out", "value": 1024}),
        desk.event(data={"resource": "out", "value": "1.000", "unit": "KiB"}),
        desk.event(type="out", data={"value": "1024"}),
        desk.event(time="2026-01-01T02:00:00+02:00"),
        desk.event(subject=desk.service, datacontenttype="application/json", traceparent="00-1-2-3"),
    ]
    assert await desk.push(*same) == [Outcome.ACCEPTED] + [Outcome.DUPLICATE] * 5
    assert await desk.counted() == [("e-1", 1024)]


async def test_two_sources_may_use_the_same_id(desk: Desk) -> None:
    assert await desk.push(desk.event(), desk.event(source="collector/b")) == [Outcome.ACCEPTED] * 2
    assert len(await desk.counted()) == 2


async def test_a_batch_is_answered_item_by_item_and_its_good_ones_are_stored(desk: Desk) -> None:
    await desk.push(desk.event(1))
    changed = desk.event(1, **data(value="7"))
    batch = [desk.event(1), changed, desk.event(2), desk.event(2), desk.event(3, subject="99999"), desk.event(4), 7]
    assert await desk.push(*batch) == [
        Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.REFUSED, Outcome.ACCEPTED,
        Outcome.REFUSED,
    ]  # fmt: skip
    assert [found for found, _ in await desk.counted()] == ["e-1", "e-2", "e-4"]


async def test_the_first_good_event_of_a_key_wins_within_a_batch(desk: Desk) -> None:
    batch = [desk.event(subject="99999"), desk.event(**data(value="5")), desk.event(**data(value="6")), desk.event(2)]
    assert await desk.push(*batch) == [Outcome.REFUSED, Outcome.ACCEPTED, Outcome.CONFLICT, Outcome.ACCEPTED]
    assert sorted(await desk.counted()) == [("e-1", 5), ("e-2", 1024)]


async def test_many_callers_with_one_event_count_it_once(desk: Desk) -> None:
    found = await asyncio.gather(*(desk.push(desk.event()) for _ in range(20)))
    assert sorted(outcome for [outcome] in found) == sorted([Outcome.ACCEPTED] + [Outcome.DUPLICATE] * 19)
    assert await desk.counted() == [("e-1", 1024)]


async def test_batches_that_overlap_in_another_order_count_each_event_once(desk: Desk) -> None:
    events = [desk.event(number) for number in range(200)]
    answers = await asyncio.gather(*(desk.push(*part) for part in (events, events[::-1], events[50:], events[:150])))
    outcomes = [outcome for answer in answers for outcome in answer]
    assert outcomes.count(Outcome.ACCEPTED) == 200
    assert set(outcomes) == {Outcome.ACCEPTED, Outcome.DUPLICATE}
    assert len(await desk.counted()) == 200


async def test_singles_and_batches_at_once_count_each_event_once(desk: Desk) -> None:
    events = [desk.event(number) for number in range(60)]
    await asyncio.gather(desk.push(*events), *(desk.push(one) for one in events), desk.push(*events[::-1]))
    assert len(await desk.counted()) == 60


@pytest.mark.parametrize("batch", [False, True])
async def test_a_fault_after_the_key_was_written_leaves_no_key_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    whole = PushedUsage.add

    async def breaks(self: PushedUsage, *args: Any, **more: Any) -> Any:
        await whole(self, *args, **more)
        raise ZeroDivisionError

    events = [desk.event(1), desk.event(2)] if batch else [desk.event(1)]
    with monkeypatch.context() as patch:
        patch.setattr(PushedUsage, "add", breaks)
        with pytest.raises(ZeroDivisionError):
            await desk.push(*events)
    assert await desk.stored() == 0
    assert await desk.push(*events) == [Outcome.ACCEPTED] * len(events)


async def test_a_fault_in_what_belongs_to_the_answer_leaves_no_key_behind(desk: Desk) -> None:
    async def breaks(_tx: Any, _items: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await desk.desk.push([desk.event()], actor="a", also=breaks)
    assert await desk.stored() == 0
    assert await desk.push(desk.event()) == [Outcome.ACCEPTED]


async def test_a_caller_that_goes_away_loses_nothing_and_doubles_nothing(desk: Desk) -> None:
    asked = asyncio.create_task(desk.push(desk.event()))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await desk.push(desk.event())
    assert await desk.counted() == [("e-1", 1024)]


# conflicts ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"resource": "out", "value": "1025"}},
        {"data": {"resource": "in", "value": "1024"}},
        {"data": {"upload": "1024", "download": "0"}},
        {"time": "2026-01-01T00:00:01Z"},
        {"subject": "other"},
    ],
)
async def test_a_key_with_another_content_is_refused_and_kept(desk: Desk, change: dict[str, Any]) -> None:
    await desk.push(desk.event())
    if "subject" in change:
        change = {"subject": str(desk.other)}
    for _ in range(2):
        assert await desk.push(desk.event(**change)) == [Outcome.CONFLICT]
    assert await desk.counted() == [("e-1", 1024)]
    [kept] = await desk.store.read.pushed.conflicts(after=0, limit=10)
    assert kept.kept == {"service": desk.service, "time": NOW.isoformat(), "quantities": {"out": "1024"}}
    assert kept.sent != kept.kept
    [made] = await desk.log("usage.conflict")
    assert made["actor"] == "token:a"
    assert made["after"] == {"conflicts": [{"conflict": kept.id, "source": "collector/a", "id": "e-1"}]}


async def test_a_kept_conflict_is_never_changed(desk: Desk) -> None:
    await desk.push(desk.event(), desk.event(**data(value="7")))
    for statement in ("UPDATE pushed_conflict SET actor = 'x'", "DELETE FROM pushed_conflict"):
        with pytest.raises(IntegrityError, match="never changed"):
            async with desk.store.transaction() as tx:
                await tx.execute(statement)


# quarantine --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "outcome", "why"),
    [
        (timedelta(days=-35), Outcome.ACCEPTED, ""),
        (timedelta(days=-35, microseconds=-1), Outcome.QUARANTINED, "too_old"),
        (timedelta(days=-9000), Outcome.QUARANTINED, "too_old"),
        (timedelta(minutes=5), Outcome.ACCEPTED, ""),
        (timedelta(minutes=5, microseconds=1), Outcome.QUARANTINED, "too_new"),
        (timedelta(days=9000), Outcome.QUARANTINED, "too_new"),
    ],
)
async def test_what_is_far_from_now_waits_for_a_person(desk: Desk, away: timedelta, outcome: Outcome, why: str) -> None:
    [item] = await desk.desk.push([desk.event(time=(NOW + away).isoformat())], actor="a")
    assert (item.outcome, item.code) == (outcome, why)
    there = await desk.store.read.pushed.quarantined(after=0, limit=10)
    assert [stored.why for stored in there] == ([why] if why else [])
    found = await desk.store.read.pushed.events_of(desk.service, "out", NOW + away, NOW + away + timedelta(seconds=1))
    assert len(found) == (0 if why else 1)


async def test_an_event_in_quarantine_stays_there_until_a_person_releases_it(desk: Desk) -> None:
    early = desk.event(time=(NOW + timedelta(minutes=6)).isoformat())
    assert await desk.push(early) == [Outcome.QUARANTINED]
    desk.clock.advance(600)
    assert await desk.push(early, desk.event(**data(value="3"))) == [Outcome.QUARANTINED, Outcome.CONFLICT]
    assert await desk.counted() == []
    [stored] = await desk.store.read.pushed.quarantined(after=0, limit=10)
    await desk.desk.release(stored.id, actor="token:b", reason="its clock was wrong")
    assert await desk.counted() == [("e-1", 1024)]
    assert await desk.push(early) == [Outcome.DUPLICATE]
    assert await desk.store.read.pushed.quarantined(after=0, limit=10) == []
    [made] = await desk.log("usage.released")
    assert (made["actor"], made["reason"], made["after"]["id"]) == ("token:b", "its clock was wrong", "e-1")
    assert await desk.store.read.pushed.late_since(desk.clock.now()) == {}
    async with desk.store.transaction() as tx:
        await tx.execute("UPDATE service SET closed_until = ?", NOW + timedelta(days=1))
    late = await desk.store.read.pushed.late_since(desk.clock.now())
    assert late == {(desk.service, "out"): NOW + timedelta(minutes=6)}


async def test_a_discarded_event_never_counts_and_its_key_stays_taken(desk: Desk) -> None:
    old = desk.event(time=(NOW - timedelta(days=40)).isoformat())
    await desk.push(old)
    [stored] = await desk.store.read.pushed.quarantined(after=0, limit=10)
    await desk.desk.discard(stored.id, actor="token:b", reason="a test of the sender")
    assert await desk.push(old, desk.event()) == [Outcome.REFUSED, Outcome.CONFLICT]
    assert await desk.counted() == []
    assert len(await desk.log("usage.discarded")) == 1


async def test_only_what_is_in_quarantine_can_be_released_and_only_once(desk: Desk) -> None:
    await desk.push(desk.event(1), desk.event(2, time=(NOW - timedelta(days=40)).isoformat()))
    [stored] = await desk.store.read.pushed.quarantined(after=0, limit=10)
    found = await asyncio.gather(
        *(desk.desk.release(stored.id, actor="a", reason="") for _ in range(3)), return_exceptions=True
    )
    assert [type(one).__name__ for one in found].count("Refused") == 2
    for number, code in ((99999, "no_event"), (stored.id, "not_in_quarantine")):
        with pytest.raises(Refused) as caught:
            await desk.desk.discard(number, actor="a", reason="")
        assert caught.value.code == code
    assert len(await desk.counted()) == 2


async def test_a_key_is_forgotten_only_when_its_event_could_not_come_in_again(desk: Desk) -> None:
    await desk.push(desk.event(1), desk.event(2, time=(NOW - timedelta(days=400)).isoformat()))
    with pytest.raises(ValueError, match="longer"):
        await desk.desk.forget(timedelta(days=35))
    desk.clock.advance(99 * 86400)
    assert await desk.desk.forget(timedelta(days=100)) == 0
    desk.clock.advance(2 * 86400)
    assert await desk.desk.forget(timedelta(days=100)) == 1
    assert await desk.counted() == []
    assert await desk.push(desk.event(1)) == [Outcome.QUARANTINED]
    assert len(await desk.store.read.pushed.quarantined(after=0, limit=10)) == 2


# what is read -----------------------------------------------------------------------------------------------------------------


async def test_two_usage_fields_of_one_event_are_kept_apart(desk: Desk) -> None:
    pair = {"upload": "3", "download": "5", "unit": "KiB"}
    assert await desk.push(desk.event(data=pair), desk.event(2), desk.event(data=pair)) == [
        Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.DUPLICATE,
    ]  # fmt: skip
    assert await desk.stored() == 2
    assert await desk.counted("out") == [("e-1", 3072), ("e-2", 1024)]
    assert await desk.counted("in") == [("e-1", 5120)]
    assert await desk.counted("power") == []


async def test_events_are_read_from_the_start_to_before_the_end_in_the_order_of_their_times(desk: Desk) -> None:
    hours = [3, 1, 2, 0, 4]
    events = [desk.event(hour, time=(NOW - timedelta(hours=hour)).isoformat()) for hour in hours]
    await desk.push(*events, desk.event(9, subject=str(desk.other)))
    found = await desk.store.read.pushed.events_of(desk.service, "out", NOW - timedelta(hours=3), NOW)
    assert [(reading.at, reading.event_id) for reading in found] == [
        (NOW - timedelta(hours=hour), f"e-{hour}") for hour in (3, 2, 1)
    ]
    assert await desk.counted(service=desk.other) == [("e-9", 1024)]


async def test_the_largest_quantity_and_the_longest_names_are_kept_to_the_last_digit(desk: Desk) -> None:
    names: dict[str, Any] = {"id": "é" * 255, "source": "\U0001f4a9" * 255}
    largest = desk.event(**names, **data(value=str(2**63 - 1)))
    assert await desk.push(largest, largest) == [Outcome.ACCEPTED, Outcome.DUPLICATE]
    assert await desk.counted() == [("é" * 255, 2**63 - 1)]


async def test_microseconds_of_a_time_are_kept_and_finer_parts_cut_off(desk: Desk) -> None:
    sent = [desk.event(time=f"2026-01-01T00:00:00.123456{more}Z") for more in ("", "7", "789")]
    assert await desk.push(*sent) == [Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.DUPLICATE]
    assert await desk.push(desk.event(time="2026-01-01T00:00:00.123457Z")) == [Outcome.CONFLICT]


async def test_a_released_service_takes_what_was_used_before_its_end_and_nothing_after(desk: Desk) -> None:
    await desk.push(desk.event(1))
    async with desk.store.transaction() as tx:
        await tx.execute("UPDATE service SET state = 'released', billing_until = ? WHERE id = ?", NOW, desk.service)
    before = (NOW - timedelta(seconds=1)).isoformat()
    found = await desk.push(desk.event(1), desk.event(2), desk.event(3, time=before))
    assert found == [Outcome.DUPLICATE, Outcome.REFUSED, Outcome.ACCEPTED]
    [item] = await desk.desk.push([desk.event(4)], actor="a")
    assert [(problem["field"], problem["code"]) for problem in item.errors] == [("time", "outside_service")]
    assert await desk.counted() == [("e-3", 1024), ("e-1", 1024)]


async def test_what_was_used_before_the_service_was_billed_is_refused(desk: Desk) -> None:
    async with desk.store.transaction() as tx:
        await tx.execute("UPDATE service SET billing_from = ? WHERE id = ?", NOW, desk.service)
    early = (NOW - timedelta(seconds=1)).isoformat()
    assert await desk.push(desk.event(1, time=early), desk.event(2)) == [Outcome.REFUSED, Outcome.ACCEPTED]
    assert await desk.stored() == 1


async def test_nobody_lets_an_event_out_of_quarantine_that_can_not_count(desk: Desk) -> None:
    late = (NOW + timedelta(hours=1)).isoformat()
    assert await desk.push(desk.event(1, time=late)) == [Outcome.QUARANTINED]
    async with desk.store.transaction() as tx:
        await tx.execute("UPDATE service SET state = 'released', billing_until = ? WHERE id = ?", NOW, desk.service)
    [waiting] = await desk.store.read.pushed.quarantined(after=0, limit=10)
    with pytest.raises(Refused, match="discard it") as refused:
        await desk.desk.release(waiting.id, actor="a", reason="r")
    assert refused.value.code == "outside_service"
    assert (await desk.desk.discard(waiting.id, actor="a", reason="r")).state == "discarded"


async def test_what_the_plan_does_not_count_by_push_is_refused(desk: Desk) -> None:
    plain = PushDesk(desk.store, desk.clock, pushable=Pushable(RESOURCES, {}))
    sent = [
        desk.event(1),
        desk.event(2, data={"resource": "active_calls", "value": 3}),
        desk.event(3, data={"resource": "power", "value": 3}),
        desk.event(4, data={"resource": "addresses", "value": 3}),
        desk.event(5, subject="4711"),
    ]
    found = await plain.push(sent, actor="a")
    assert [item.outcome for item in found] == [Outcome.ACCEPTED, Outcome.ACCEPTED, *[Outcome.REFUSED] * 3]
    assert [problem["code"] for item in found for problem in item.errors] == [
        "not_counted",
        "not_counted",
        "no_service",
    ]


# bad input --------------------------------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str, str]] = [
    (data(value=1.5), "data.value", "not_exact"),
    (data(value=1.0), "data.value", "not_exact"),
    (data(value=-0.0), "data.value", "not_exact"),
    (data(value=float("nan")), "data.value", "not_exact"),
    (data(value=True), "data.value", "not_exact"),
    (data(value=None), "data.value", "not_exact"),
    (data(value=[1]), "data.value", "not_exact"),
    (data(value=""), "data.value", "not_exact"),
    (data(value=" 1"), "data.value", "not_exact"),
    (data(value="1e3"), "data.value", "not_exact"),
    (data(value="+1"), "data.value", "not_exact"),
    (data(value="NaN"), "data.value", "not_exact"),
    (data(value="Infinity"), "data.value", "not_exact"),
    (data(value="1_000"), "data.value", "not_exact"),
    (data(value="0x10"), "data.value", "not_exact"),
    (data(value="١"), "data.value", "not_exact"),
    (data(value="1\n"), "data.value", "not_exact"),
    (data(value="1\x00"), "data.value", "not_exact"),
    (data(value="-"), "data.value", "not_exact"),
    (data(value="9" * 65536), "data.value", "not_exact"),
    (data(value=-1), "data.value", "negative"),
    (data(value="-1"), "data.value", "negative"),
    (data(value="-0.5"), "data.value", "negative"),
    (data(value=2**63), "data.value", "too_large"),
    (data(value=str(2**63)), "data.value", "too_large"),
    (data(value=10**300), "data.value", "too_large"),
    (data(value="9007199254740993", unit="KiB"), "data.value", "too_large"),
    (data(value="0.5"), "data.value", "not_whole"),
    (data(value="0.3", unit="KiB"), "data.value", "not_whole"),
    (data(value="0." + "0" * 39 + "1", unit="GiB"), "data.value", "data.value"),
    (data(unit="Mbit/s"), "data.unit", "unit"),
    (data(unit="parsec"), "data.unit", "unit"),
    (data(unit=1), "data.unit", "unit"),
    (data(unit=LONG), "data.unit", "unit"),
    (data(resource="flux"), "data.resource", "unknown_resource"),
    (data(resource=""), "data.resource", "unknown_resource"),
    (data(resource=None), "data.resource", "unknown_resource"),
    (data(resource=["out"]), "data.resource", "unknown_resource"),
    (data(resource=LONG), "data.resource", "unknown_resource"),
    (data(uint="KiB"), "data.uint", "extra_forbidden"),
    (data(upload="1"), "data.resource", "extra_forbidden"),
    ({"data": {"upload": "1"}}, "data.download", "missing"),
    ({"data": {"upload": "1", "download": 0.5}}, "data.download", "not_exact"),
    ({"data": {"value": "1"}}, "data.resource", "missing"),
    ({"data": {"resource": "out"}}, "data.value", "missing"),
    ({"data": {}}, "data.value", "missing"),
    ({"data": None}, "data", "not_an_object"),
    ({"data": [1]}, "data", "not_an_object"),
    ({"data": "eA=="}, "data", "not_an_object"),
    ({"type": "in"}, "data.resource", "wrong_type"),
    ({"type": "out", "data": {"upload": 1, "download": 1}}, "type", "wrong_type"),
    ({"type": "com.example.usage"}, "type", "unknown_resource"),
    ({"type": 1}, "type", "unknown_resource"),
    ({"type": ["out"]}, "type", "unknown_resource"),
    ({"specversion": "0.3"}, "specversion", "specversion"),
    ({"specversion": 1.0}, "specversion", "specversion"),
    ({"id": ""}, "id", "length"),
    ({"id": 17}, "id", "length"),
    ({"id": None}, "id", "length"),
    ({"id": "x" * 256}, "id", "length"),
    ({"id": LONG}, "id", "length"),
    ({"id": "a\x00b"}, "id", "bad_text"),
    ({"id": "\ud800"}, "id", "bad_text"),
    ({"id": "a\nb"}, "id", "bad_text"),
    ({"source": ""}, "source", "length"),
    ({"source": LONG}, "source", "length"),
    ({"source": "\x1b[2J"}, "source", "bad_text"),
    ({"source": {}}, "source", "length"),
    ({"subject": ""}, "subject", "subject"),
    ({"subject": "0"}, "subject", "subject"),
    ({"subject": 0}, "subject", "subject"),
    ({"subject": -1}, "subject", "subject"),
    ({"subject": 1.0}, "subject", "subject"),
    ({"subject": True}, "subject", "subject"),
    ({"subject": "1.0"}, "subject", "subject"),
    ({"subject": "²"}, "subject", "subject"),
    ({"subject": str(2**63)}, "subject", "subject"),
    ({"subject": 2**63}, "subject", "subject"),
    ({"subject": "9" * 65536}, "subject", "subject"),
    ({"subject": 2**63 - 1}, "subject", "no_service"),
    ({"time": "2026-01-01T00:00:00"}, "time", "time"),
    ({"time": "2026-01-01"}, "time", "time"),
    ({"time": "20260101T000000Z"}, "time", "time"),
    ({"time": "2026-W01-1T00:00:00Z"}, "time", "time"),
    ({"time": "2026-02-30T00:00:00Z"}, "time", "time"),
    ({"time": "2026-01-01T24:00:01Z"}, "time", "time"),
    ({"time": "2026-01-01T00:00:60Z"}, "time", "time"),
    ({"time": "2026-01-01T00:00:00+0100"}, "time", "time"),
    ({"time": "2026-01-01T00:00:00+99:00"}, "time", "time"),
    ({"time": "0001-01-01T00:00:00+14:00"}, "time", "time"),
    ({"time": "9999-12-31T23:59:59-14:00"}, "time", "time"),
    ({"time": "2026-01-01T00:00:00Z\x00"}, "time", "time"),
    ({"time": 1767225600}, "time", "time"),
    ({"time": None}, "time", "time"),
    ({"time": LONG}, "time", "time"),
    ({"datacontenttype": "text/xml"}, "datacontenttype", "not_json"),
    ({"datacontenttype": 1}, "datacontenttype", "not_json"),
    ({"data_base64": "eA=="}, "data_base64", "extra_forbidden"),
    ({"surprise": 1}, "surprise", "extra_forbidden"),
    ({"a\x00\ud800": 1}, "a\\x00\\ud800", "extra_forbidden"),
    ({LONG: 1}, "x" * 100, "extra_forbidden"),
]


async def test_what_can_not_be_taken_is_refused_with_the_name_of_its_field(desk: Desk) -> None:
    events = [{**desk.event(), **change} for change, _, _ in BAD]
    items = await desk.desk.push(events, actor="a")
    for item, (change, field, code) in zip(items, BAD, strict=True):
        assert item.outcome is Outcome.REFUSED, change
        found = {(problem["field"], problem["code"]) for problem in item.errors}
        assert (field, code) in found or code == field, f"{str(change)[:200]}: {found}"
    assert await desk.stored() == 0


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "time", "subject", "data"])
async def test_no_required_part_of_an_event_may_be_missing(desk: Desk, name: str) -> None:
    sent = {key: value for key, value in desk.event().items() if key != name}
    [item] = await desk.desk.push([sent], actor="a")
    assert {"field": name, "code": "missing", "message": "expected a value"} in item.errors
    assert await desk.stored() == 0


@pytest.mark.parametrize("raw", [None, 1, 1.5, "x", [], [[]], True])
async def test_what_is_no_object_is_no_event(desk: Desk, raw: Any) -> None:
    assert await desk.push(raw, desk.event()) == [Outcome.REFUSED, Outcome.ACCEPTED]


def test_everything_that_is_wrong_with_an_event_is_told_at_once() -> None:
    spoilt = {"specversion": "2", "id": "", "time": "now", "data": {"resource": "in", "value": -1, "unit": 7}, "x": 1}
    found = EventReader(RESOURCES).read(spoilt)
    assert isinstance(found, list)
    fields = {problem["field"] for problem in found}
    assert fields == {"specversion", "id", "source", "type", "time", "subject", "data.unit", "x"}


@pytest.mark.parametrize(
    ("value", "unit", "base"),
    [
        ("0", None, 0),
        (0, "KiB", 0),
        ("1.5", "KiB", 1536),
        ("0.0009765625", "KiB", 1),
        ("0.5", "GB", 500_000_000),
        ("8388607.9990234375", "TiB", 2**63 - 2**30),
        (2**63 - 1, "B", 2**63 - 1),
    ],
)
def test_units_are_converted_exactly(value: Any, unit: str | None, base: int) -> None:
    sent = event(data={"resource": "out", "value": value, **({"unit": unit} if unit else {})})
    found = EventReader(RESOURCES).read(sent)
    assert isinstance(found, PushedEvent), found
    assert found.readings == (("out", base),)


async def test_a_batch_beyond_its_limit_is_refused_whole(desk: Desk) -> None:
    with pytest.raises(Refused, match="at most"):
        await desk.desk.push([desk.event(number) for number in range(MOST + 1)], actor="a")
    assert await desk.stored() == 0
    assert await desk.desk.push([], actor="a") == []


@pytest.mark.parametrize(
    ("rule", "sets"),
    [
        ("pushed_event_state", "state = 'lost', counted_at = NULL, why = 'x'"),
        ("pushed_event_quantities", "quantity = -1"),
        ("pushed_event_second", "second_quantity = 1"),
        ("pushed_event_counts", "counted_at = NULL"),
        ("pushed_event_quarantine", "state = 'quarantined', counted_at = NULL"),
    ],
)
async def test_the_database_refuses_an_event_that_makes_no_sense(desk: Desk, rule: str, sets: str) -> None:
    await desk.push(desk.event())
    with pytest.raises(IntegrityError, match=rule):
        async with desk.store.transaction() as tx:
            await tx.execute(f"UPDATE pushed_event SET {sets}")
