"""Closing periods, holding, correcting and proving usage records, on real panels and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog

from daemon.app import check
from daemon.domain.errors import Refused
from daemon.domain.metering import UsageRecord
from daemon.domain.pushed import PushedEvent
from daemon.domain.service import Service, State
from daemon.settings.loader import load
from daemon.stats import records as of_records
from daemon.stats.records import Proof, Records, Verdict
from daemon.stats.system import Statistics
from tests.provisioning.conftest import Open
from tests.provisioning.world import Inline, World

MODULE = "dci-main"
HALF_DAY = {"poll_every": "12h"}
"""A rhythm that makes a month of sixty rounds: each period is over a day and two hours after its end."""
CLOSES = timedelta(hours=26)
FEBRUARY, MARCH = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)


def plan(**words: str) -> Callable[[Path], None]:
    """Further lines for the plan."""

    def change(folder: Path) -> None:
        file = folder / "plans.d" / "ds-small.yaml"
        file.write_text(file.read_text() + "".join(f"{name}: {word}\n" for name, word in words.items()))

    return change


async def rounds(w: World, until: datetime, *, step: timedelta = timedelta(hours=12), octets: int = 1000) -> None:
    """A reading each `step`, up to and with `until`."""
    while w.clock.now() < until:
        server = (await w.service(1)).remote_id
        w.clock.advance_to(min(until, w.clock.now() + step))
        w.sandbox.dci.send_traffic(str(server), octets, 2 * octets)
        await w.statistics.collector.round(MODULE)


async def active_at(w: World, begin: datetime) -> Service:
    """A service whose billing begins at about that time."""
    w.clock.advance_to(begin)
    return await w.active()


async def close(w: World) -> int:
    return await w.statistics.records.close_due()


async def found(w: World, service_id: int = 1, *, newest: bool = False) -> list[UsageRecord]:
    """Oldest first."""
    read = w.store.read.usage_records
    return (await read.page(service_id=service_id, after=0, limit=500, newest=newest))[::-1]


async def of(w: World, resource: str = "in") -> UsageRecord:
    """The newest one."""
    return [record for record in await found(w) if record.resource == resource][-1]


async def revise(w: World, record: UsageRecord, quantity: str | None = None, reason: str = "as agreed") -> UsageRecord:
    async with w.store.transaction() as tx:
        return await w.statistics.records.revise(tx, record.id, quantity, reason=reason, author="token:bill")


async def push(w: World, at: datetime, quantity: int, number: int = 1) -> None:
    async with w.store.transaction() as tx:
        added = await tx.pushed.add(
            [(PushedEvent("meter", f"e-{number}", 1, at, "in", quantity), None)], actor="token:bill"
        )
    assert added


async def proof(w: World, records: Records | None = None) -> dict[str, list[Verdict]]:
    verdicts = await (records or w.statistics.records).verify(await found(w))
    together: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        together.setdefault(verdict.proof.value, []).append(verdict)
    return together


async def proofs(w: World, records: Records | None = None) -> set[str]:
    return set(await proof(w, records))


@contextmanager
def heard() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged within it, which other tests leave out."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        yield logs


# closing ------------------------------------------------------------------------------------------------------------------------


async def test_a_month_is_closed_when_its_source_and_the_grace_time_have_passed_and_not_before(
    open_world: Open,
) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY + timedelta(hours=24))
        w.clock.advance_to(FEBRUARY + CLOSES - timedelta(seconds=1))
        assert await close(w) == 0
        w.clock.advance_to(FEBRUARY + CLOSES)
        assert await close(w) == 2
        record = await of(w)
        assert record.until == FEBRUARY
        assert (record.base_quantity, record.samples, record.expected) == (5000, 5, 5)
        assert (await w.service(1)).closed_until == FEBRUARY
        assert await close(w) == 0


async def test_a_month_waits_for_a_source_that_is_behind_and_that_is_told_once(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY)
        w.clock.advance_to(FEBRUARY + timedelta(days=4))
        with heard() as logs:
            assert [await close(w) for _ in range(3)] == [0, 0, 0]
        told = [entry for entry in logs if entry["event"] == "usage.waits"]
        assert [(entry["source"], entry["until"], entry["services"]) for entry in told] == [
            ("dci-main/traffic", FEBRUARY, 1)
        ]
        await rounds(w, w.clock.now() + timedelta(hours=1))
        assert await close(w) == 2


async def test_a_daemon_that_was_off_over_the_end_of_a_month_closes_it_afterwards(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, datetime(2026, 1, 10, tzinfo=UTC))
        await rounds(w, FEBRUARY - timedelta(days=1))
        server = str((await w.service(1)).remote_id)
        w.clock.advance_to(FEBRUARY - timedelta(hours=6))
        w.sandbox.dci.send_traffic(server, 5_000, 0)  # nobody sees what the old month still had
        w.clock.advance_to(FEBRUARY + timedelta(days=1))
        w.sandbox.dci.send_traffic(server, 700, 0)
        assert await close(w) == 0
        await rounds(w, w.clock.now() + CLOSES)
        assert await close(w) == 2
        record = await of(w)
        readings = (FEBRUARY - timedelta(days=1) - record.since) // timedelta(hours=12) + 1
        assert record.base_quantity == readings * 1000
        assert not record.held
        assert record.covered == FEBRUARY - timedelta(days=1) - record.since


async def test_two_nodes_that_close_at_once_make_one_record(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY + timedelta(hours=26))
        other = Statistics(w.store, w.clock, w.fleet.settings, _sources(w), Inline())
        made = await asyncio.gather(close(w), other.records.close_due())
        await other.close()
        assert sum(made) == 2
        assert sorted(record.resource for record in await found(w)) == ["in", "out"]


def _sources(w: World) -> Any:
    from daemon.app import metered

    return lambda: metered(w.fleet)


async def test_several_months_are_closed_at_once(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, datetime(2026, 4, 3, tzinfo=UTC))
        assert await close(w) == 6
        months = sorted({(record.since, record.until) for record in await found(w)})
        assert [until for _, until in months] == [FEBRUARY, MARCH, datetime(2026, 4, 1, tzinfo=UTC)]
        assert [since for since, _ in months][1:] == [FEBRUARY, MARCH]
        assert sum(record.base_quantity or 0 for record in await found(w) if record.resource == "in") > 0
        assert len(await w.events("usage.recorded")) == 1
        assert await proofs(w) == {"intact"}


async def test_a_service_in_release_is_left_to_its_release(open_world: Open) -> None:
    """The last reading lies before the end of the month; the release ends weeks later."""
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY - timedelta(hours=12))
        await w.release(1)
        await w.drive_to("last-reading")
        last = w.clock.now()
        assert last < FEBRUARY
        w.clock.advance_to(FEBRUARY + timedelta(days=3))
        async with w.store.transaction() as tx:
            await tx.watermarks.move({"dci-main/traffic": w.clock.now()})
        assert await close(w) == 0
        await w.drive()
        service = await w.service(1)
        assert service.state is State.RELEASED
        assert service.billing_until is not None
        assert service.billing_until < FEBRUARY
        assert {record.until for record in await found(w)} == {service.billing_until}


async def test_a_release_in_the_grace_of_the_month_before_closes_both_parts_at_once(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY + timedelta(hours=6))
        service = await w.released(1)
        records = await found(w)
        assert [(r.resource, r.until) for r in records] == [
            ("in", FEBRUARY), ("out", FEBRUARY), ("in", service.billing_until), ("out", service.billing_until),
        ]  # fmt: skip
        w.clock.advance(5 * 86400)
        assert await close(w) == 0
        assert await proofs(w) == {"intact"}


async def test_a_service_that_is_given_back_in_the_second_of_its_birth_has_records_of_zero(open_world: Open) -> None:
    async with open_world() as w:
        service = await w.active()
        assert service.billing_from is not None
        made = await w.statistics.final(service, service.billing_from)
        assert [(r.resource, r.base_quantity, r.held) for r in made] == [("in", 0, False), ("out", 0, False)]
        assert {r.since for r in made} == {r.until for r in made} == {service.billing_from}


async def test_a_service_whose_module_is_gone_waits_for_it_and_is_told_once(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY + timedelta(hours=26))
        without = Statistics(w.store, w.clock, w.fleet.settings, lambda: (), Inline())
        with heard() as logs:
            assert [await without.records.close_due() for _ in range(3)] == [0, 0, 0]
        await without.close()
        assert [entry["services"] for entry in logs if entry["event"] == "usage.module_gone"] == [[1]]
        assert await close(w) == 2


async def test_a_check_names_what_was_sold_and_is_gone_from_the_settings(open_world: Open) -> None:
    def with_own(folder: Path) -> None:
        main, sold = folder / "provisiond.yaml", folder / "plans.d" / "ds-small.yaml"
        ours = main.read_text().replace("state_dir: var", "state_dir: ../state")
        main.write_text(ours + "resources: {own: {unit: KiB, kind: running_total}}\n")
        lines = [line for line in sold.read_text().splitlines() if not line.startswith("resources:")]
        sold.write_text("\n".join([*lines, "resources: {in: {}, own: {}}", ""]))

    async with open_world(HALF_DAY, configure=with_own) as w:
        await w.active()
        sentence = "resources: own is not there any more, but services of plan ds-small were sold it"
        before = (await check(w.config, offline=False)).warnings
        for file in (w.config, w.config.parent / "plans.d" / "ds-small.yaml"):
            lines = file.read_text().splitlines()
            file.write_text("\n".join(line for line in lines if not line.startswith("resources:")))
        after = (await check(w.config, offline=False)).warnings
        assert [warning.startswith(sentence) for warning in after if warning not in before] == [True]


async def test_one_service_that_breaks_the_arithmetic_holds_up_no_other(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await w.active("two", hostname="b.example.test")
        await rounds(w, FEBRUARY + timedelta(hours=26))
        async with w.store.transaction() as tx:
            properties = (await w.service(2)).properties
            await tx.execute(
                "UPDATE service SET properties = ? WHERE id = 2", {**properties, "baseline": {"at": "no time"}}
            )
        assert await close(w) == 2
        assert await found(w, 2) == []


# zones ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "hours"), [(datetime(2026, 3, 1), 743), (datetime(2026, 10, 1), 745)], ids=["march", "october"]
)  # fmt: skip
async def test_a_month_with_a_change_of_the_clocks_is_an_hour_shorter_or_longer(
    begin: datetime, hours: int, open_world: Open
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    since = begin.replace(tzinfo=berlin).astimezone(UTC)
    until = since + timedelta(hours=hours)
    async with open_world(HALF_DAY, configure=plan(zone="Europe/Berlin")) as w:
        await active_at(w, since - timedelta(days=1))
        await rounds(w, until + CLOSES, step=timedelta(hours=6))
        assert await close(w) == 4
        record = await of(w)
        assert (record.since, record.until) == (since, until)
        assert record.until.astimezone(berlin).day == 1
        assert record.expected == hours // 12
        assert not record.held


async def test_the_zone_of_the_bill_and_that_of_the_panel_may_differ(open_world: Open) -> None:
    """The panel's month turns five hours before the bill's: what flows in between is in the bill of the old month."""
    async with open_world(HALF_DAY, configure=plan(zone="America/New_York")) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        turn = FEBRUARY + timedelta(hours=5)
        await rounds(w, FEBRUARY, octets=1000)
        await rounds(w, turn, step=timedelta(hours=1), octets=10)
        await rounds(w, turn + CLOSES, octets=7)
        assert await close(w) == 2
        record = await of(w)
        assert record.until == turn
        assert (record.base_quantity or 0) % 1000 == 50
        assert await proofs(w) == {"intact"}


# holding --------------------------------------------------------------------------------------------------------------------------


async def test_a_month_that_is_known_too_little_is_held_with_the_reason(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        await active_at(w, datetime(2026, 1, 10, tzinfo=UTC))
        await rounds(w, datetime(2026, 1, 28, tzinfo=UTC))
        w.clock.advance_to(FEBRUARY)
        await rounds(w, FEBRUARY + CLOSES)
        assert await close(w) == 2
        record = await of(w)
        assert record.held
        assert "% of the period is known, less than 95 %" in str(record.reason)


async def test_what_nobody_knows_is_null_and_held(open_world: Open) -> None:
    async with open_world(HALF_DAY, servers={"E3-1230-16G": 1}) as w:
        await active_at(w, FEBRUARY - timedelta(days=3))
        await rounds(w, FEBRUARY - timedelta(days=1))
        hidden = w.sandbox.dci.functions["traffic"]
        from tests.modules.spoiled import spoil

        spoil(w.sandbox.dci, "traffic", lambda rows: [{**row, "id": "no-such-server"} for row in rows])
        while w.clock.now() < MARCH + timedelta(hours=26):
            w.clock.advance(12 * 3600)
            await w.statistics.collector.round(MODULE)
        w.sandbox.dci.functions["traffic"] = hidden
        assert await close(w) == 4
        record = await of(w)
        assert (record.base_quantity, record.held, record.reason) == (None, True, "nothing is known of it")
        with pytest.raises(Refused) as refused:
            await revise(w, record)
        assert refused.value.code == "quantity_needed"
        assert (await revise(w, record, "2")).base_quantity == 2048
        assert await proofs(w) == {"intact"}


async def test_a_volume_that_no_port_could_carry_is_held(open_world: Open) -> None:
    async with open_world({**HALF_DAY, "port_speed": "10 Mbit/s"}) as w:
        await active_at(w, datetime(2026, 1, 10, tzinfo=UTC))
        await rounds(w, datetime(2026, 1, 20, tzinfo=UTC))
        await rounds(w, w.clock.now() + timedelta(hours=12), octets=10**12)
        await rounds(w, FEBRUARY + CLOSES)
        await close(w)
        record = await of(w)
        assert (record.held, record.aside) == (True, 10**12)
        assert str(record.reason) == f"{10**12} B are more than the port could carry, and not in it"


async def test_what_the_panel_took_back_is_held(open_world: Open) -> None:
    async with open_world(HALF_DAY) as w:
        service = await active_at(w, datetime(2026, 1, 10, tzinfo=UTC))
        await rounds(w, FEBRUARY - timedelta(days=3, hours=6), octets=10_000)
        w.server(str(service.remote_id)).traffic.rx -= 90_000
        await rounds(w, FEBRUARY + CLOSES, octets=10_000)
        await close(w)
        record = await of(w)
        assert record.held
        assert record.corrected > 0
        assert "took" in str(record.reason)


# late and corrected ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def closed(open_world: Open) -> AsyncIterator[World]:
    """January of one service is closed."""
    async with open_world(HALF_DAY) as w:
        await active_at(w, datetime(2026, 1, 20, tzinfo=UTC))
        await rounds(w, FEBRUARY + timedelta(hours=36))
        assert await close(w) == 2
        yield w


async def test_usage_that_is_pushed_late_makes_one_revision_with_its_reason(closed: World) -> None:
    before = await of(closed)
    await push(closed, FEBRUARY - timedelta(hours=3), 77)
    assert [await close(closed), await close(closed)] == [1, 0]
    made = await of(closed)
    assert (made.revision, made.base_quantity) == (2, (before.base_quantity or 0) + 77)
    assert (made.reason, made.author, made.held) == (of_records.LATE, "daemon", False)
    assert (await found(closed))[0] == before
    assert await proofs(closed) == {"intact"}


async def test_usage_that_is_pushed_after_a_correction_waits_for_a_person(closed: World) -> None:
    by_hand = await revise(closed, await of(closed), "3.5")
    assert (by_hand.base_quantity, by_hand.revision, by_hand.reason, by_hand.author) == (
        3584, 2, "as agreed", "token:bill",
    )  # fmt: skip
    await push(closed, FEBRUARY - timedelta(hours=3), 77)
    assert await close(closed) == 1
    made = await of(closed)
    assert (made.revision, made.held, made.author) == (3, True, "daemon")
    assert "a person had corrected" in str(made.reason)
    accepted = await revise(closed, made)
    assert (accepted.revision, accepted.held, accepted.base_quantity) == (4, False, made.base_quantity)
    assert await close(closed) == 0


async def test_a_correction_leaves_the_old_revision_as_it_was(closed: World) -> None:
    before = await of(closed)
    await revise(closed, before, "1", reason="the panel counted backups")
    old, new = [record for record in await found(closed) if record.resource == "in"]
    assert old == before
    assert (new.base_quantity, new.seal) == (1024, before.seal)
    newest = await found(closed, newest=True)
    assert new in newest
    assert old not in newest
    [event] = [event for event in await closed.events("usage.recorded") if event["actor"] == "token:bill"]
    assert event["reason"] == "the panel counted backups"
    assert not await closed.store.read.events.broken_links()


async def test_a_revision_is_refused_where_it_makes_no_sense(closed: World) -> None:
    record = await of(closed)
    for quantity, code in ((None, "not_held"), ("0.0001", "quantity"), ("9" * 40, "quantity")):
        with pytest.raises(Refused) as refused:
            await revise(closed, record, quantity)
        assert refused.value.code == code
    await revise(closed, record, "1")
    with pytest.raises(Refused) as refused:
        await revise(closed, record, "2")
    assert (refused.value.code, refused.value.status) == ("revised", 409)


async def test_two_corrections_at_once_make_one_revision(closed: World) -> None:
    record = await of(closed)
    made = await asyncio.gather(revise(closed, record, "1"), revise(closed, record, "2"), return_exceptions=True)
    assert sum(isinstance(one, UsageRecord) for one in made) == 1
    assert [one.code for one in made if isinstance(one, Refused)] == ["revised"]


# proving --------------------------------------------------------------------------------------------------------------------------


async def test_a_record_is_made_again_bit_for_bit_after_its_days_were_closed(closed: World) -> None:
    assert await proofs(closed) == {"intact"}
    closed.clock.advance(3 * 86400)
    assert await closed.statistics.upkeep.close_days() > 10
    assert await proofs(closed) == {"intact"}


async def test_a_record_is_made_again_bit_for_bit_whatever_the_settings_say_now(closed: World) -> None:
    """Another rhythm, port speed and zone; and a resource that is not in the settings any more."""
    for file, word in (
        ("modules.d/dci-main.yaml", "poll_every: 1m\nport_speed: 1 Mbit/s\nzone: Asia/Tokyo\n"),
        ("plans.d/ds-small.yaml", "zone: Asia/Tokyo\n"),
    ):
        path = closed.config.parent / file
        lines = [line for line in path.read_text().splitlines() if not line.startswith("poll_every")]
        path.write_text("\n".join([*lines, word]))
    changed = Statistics(closed.store, closed.clock, load(closed.config), _sources(closed), Inline())
    assert await proofs(closed, changed.records) == {"intact"}
    without = Records(
        closed.store, closed.clock, changed.measuring, changed.records._book, {}, changed.records._keeping
    )
    assert await proofs(closed, without) == {"intact"}
    assert [without.shown(record)[0] for record in await found(closed)] == ["KiB", "KiB"]
    await changed.close()


async def test_a_sample_that_was_changed_or_lost_is_found(closed: World) -> None:
    days = closed.statistics.days
    record = await of(closed)
    day = (record.until - timedelta(days=5)).date()
    kept = await days.series("in", 1, record.since, record.until)
    await days.drop_day(day)
    lost = (await proof(closed))["broken"]
    assert {verdict.record.resource for verdict in lost} == {"in", "out"}
    assert "samples" in " ".join(lost[0].differences)
    others = await days.series("out", 1, record.since, record.until)
    assert len(others) < len(kept)
    gone = [sample for sample in kept if sample.at.date() == day]
    for number, sample in enumerate(gone):
        value = sample.value + (number == 0)
        await days.append(
            sample.at, MODULE, {"in": {1: (value, sample.cls)}, "out": {1: (2 * sample.value, sample.cls)}}
        )
    after = await proof(closed)
    [changed] = [verdict for verdict in after["broken"] if verdict.record.resource == "in"]
    assert changed.differences[0].startswith("seal:") or "seal: " in " ".join(changed.differences)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("base_quantity = base_quantity + 1", "quantity:"),
        ("held = NOT held", "held:"),
        ("covered_us = covered_us - 1", "other details"),
        ("author = 'somebody'", "other details"),
        ("revision = 7", "does not have it"),
    ],
)
async def test_a_record_that_was_changed_in_the_database_is_found(change: str, says: str, closed: World) -> None:
    async with closed.store.transaction() as tx:
        await tx.execute("DROP TRIGGER usage_record_append_only_update")
        await tx.execute(f"UPDATE usage_record SET {change} WHERE resource = 'in'")
    [verdict] = (await proof(closed))["broken"]
    assert verdict.record.resource == "in"
    assert says in verdict.differences[0]


async def test_an_audit_log_that_was_changed_is_found(closed: World) -> None:
    async with closed.store.transaction() as tx:
        await tx.execute("DROP TRIGGER event_append_only_update")
        await tx.execute("UPDATE event SET reason = 'none' WHERE kind = 'usage.recorded'")
    broken = (await proof(closed))["broken"]
    assert len(broken) == 2
    assert broken[0].differences[0].startswith("the audit log of service/1 was changed at entry")


async def test_a_record_of_other_rules_is_not_called_broken(closed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_records, "FORMULA", 2)
    [verdicts] = (await proof(closed)).values()
    assert {verdict.proof for verdict in verdicts} == {Proof.OTHER_FORMULA}
    assert "the audit log has the record as it is" in verdicts[0].differences[0]


async def test_samples_expire_and_the_seal_stays(closed: World) -> None:
    await closed.released(1)
    assert await close(closed) == 0
    closed.clock.advance(200 * 86400)
    await closed.statistics.upkeep.run()
    assert await proofs(closed) == {"intact"}
    closed.clock.advance(230 * 86400)
    assert await closed.statistics.upkeep.drop_days()
    [verdicts] = (await proof(closed)).values()
    assert {verdict.proof for verdict in verdicts} == {Proof.EXPIRED}
    assert verdicts[0].differences == ("samples expired, seal intact",)
    async with closed.store.transaction() as tx:
        await tx.execute("DROP TRIGGER usage_record_append_only_update")
        await tx.execute("UPDATE usage_record SET base_quantity = 1 WHERE resource = 'in'")
    assert await proofs(closed) == {"expired", "broken"}
