"""What is billed, and why, when a panel's reports or our own rounds go wrong: compared with what the sandbox really sent.

Two things hold everywhere: never more is billed than was sent, and what can't be known is not billed but lowers the coverage.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.quality import Quality
from daemon.domain.service import State
from daemon.sandbox.answers import Row, report
from daemon.sandbox.dci_reports import ReportFunctions
from daemon.sandbox.panel import Function
from tests.modules.spoiled import Rows, exact
from tests.provisioning.conftest import Open
from tests.provisioning.readings import (
    MODULE,
    OTHER,
    RHYTHM,
    a_round,
    bad,
    billed,
    close_month,
    known,
    moment,
    points,
    rate,
    records,
    rounds,
    rounds_until,
    sent,
    stale,
    start_again,
    stored,
    unseen,
)
from tests.provisioning.world import World

ONE: dict[str, Any] = {"servers": {"E3-1230-16G": 1}}
TWO: dict[str, Any] = {"servers": {"E3-1230-16G": 2}}
HOUR: dict[str, object] = {"poll_every": "1h"}
"""A slow rhythm, where a day has to pass."""
MIB = 1024**2


async def _two_services(w: World) -> tuple[str, str]:
    """The servers of service 1 and 2."""
    first = await w.active("one")
    second = await w.active("two", hostname="b.example.test", customer=OTHER)
    return str(first.remote_id), str(second.remote_id)


def _named_fields(rows: Rows, server: str, **fields: Any) -> Rows:
    return [{**row, **fields} if row["id"] == server else row for row in rows]


# a report that is not whole -----------------------------------------------------------------------------------------------------


async def test_half_the_rows_everything_is_billed_once_the_row_is_back_and_the_half_without_has_no_rate(
    open_world: Open,
) -> None:
    """The running total carries the volume over the missing reading; how it was spread over the time is not known."""
    async with open_world(**TWO) as w:
        servers = await _two_services(w)
        for server in servers:
            w.sandbox.dci.send_traffic(server, 1000, 0)
        await a_round(w)
        with bad(w, lambda rows: [row for row in rows if row["id"] != servers[1]]):
            w.sandbox.dci.send_traffic(servers[1], 2000, 0)
            found = await a_round(w, 500, server=servers[0])
        assert (found.samples, found.missing) == (2, 1)
        assert found.problems == ("1 services have no reading",)
        await a_round(w, 250, server=servers[0])
        await a_round(w, 30, server=servers[1])
        assert (await points(w, service_id=2))[-2:] == [(2000, None, "gap"), (30, rate(30), "ok")]
        assert [point[1] for point in await points(w)][-3:] == [rate(500), rate(250), rate(0)]
        for number, server in enumerate(servers, 1):
            await w.released(number)
            (record,) = await records(w, service_id=number)
            assert record.base_quantity == sent(w, server)[0]
            assert known(record) == "100.00"


async def test_servers_that_nobody_knows_are_kept_for_nobody_and_change_no_bill(open_world: Open) -> None:
    async with open_world(**ONE) as w:
        await w.active()
        stranger: Row = {"id": "no-such-server", "hostname": "x.example.test", "rx": exact("7"), "tx": exact("8")}
        free: Row = {"id": "102", "hostname": "free.ds", "rx": exact("7000000"), "tx": exact("8")}
        with bad(w, lambda rows: [stranger, *rows, free, {"name": "Rack R1"}]):
            found = await a_round(w, 4000)
        assert (found.servers, found.samples, found.missing) == (3, 2, 0)
        await w.released(1)
        assert await billed(w) == sent(w)[0] == 4000


@pytest.mark.parametrize("number", ["n/a", "", "1 234", "-", "NaN", "0x10"])
async def test_text_instead_of_a_number_is_no_reading_and_its_volume_comes_with_the_next(
    number: str, open_world: Open
) -> None:
    """Never zero: zero would be a fall, and the whole total would look like new usage afterwards."""
    async with open_world(**ONE) as w:
        await w.active()
        await a_round(w, 10**9, 10**9)
        with bad(w, lambda rows: _named_fields(rows, "101", rx=exact(number, "n/a"))):
            found = await a_round(w, 3000, 100)
        assert (found.samples, found.missing) == (1, 1)
        assert len(found.problems) == 2
        await a_round(w, 500, 200)
        assert (await points(w))[-1] == (3500, None, "gap")
        assert (await points(w, "out"))[-1] == (200, rate(200), "ok")
        await w.released(1)
        assert (await billed(w), await billed(w, "out")) == sent(w)


async def test_without_the_exact_number_nothing_is_believed_and_a_person_decides(open_world: Open) -> None:
    """`1.50 GiB` may stand for ten million different numbers: it is told in every round, and a record without any reading is held."""
    async with open_world(traffic_orig=False, **ONE) as w:
        await w.active()
        found = await a_round(w, 3 * 1024**3, 5)
        assert (found.samples, found.missing) == (0, 1)
        assert "set traffic.text_unit to count the shown text" in found.problems[0]
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, record.held, record.reason) == (None, True, "nothing is known of it")
        assert known(record) == "0.00"


async def test_without_the_exact_number_the_shown_text_is_billed_where_its_unit_is_set(open_world: Open) -> None:
    """In steps of what is shown: here of a hundredth of a GiB, so the bill is that much off at most, and never more with `down`."""
    text = {"traffic": {"text_unit": "GiB", "rounding": "down"}}
    async with open_world(text, traffic_orig=False, **ONE) as w:
        await w.active()
        await rounds(w, 5, 3 * 1024**3 + 5 * MIB, 2 * 1024**3)
        await w.released(1)
        step = 1024**3 // 100
        assert sent(w)[0] - step <= (await billed(w) or 0) <= sent(w)[0] + step
        assert await billed(w, "out") == sent(w)[1]


async def test_a_row_twice_the_first_one_counts_once(open_world: Open) -> None:
    async with open_world(**ONE) as w:
        await w.active()
        with bad(w, lambda rows: [*rows, {**rows[0], "rx": exact("999999999")}, *rows]):
            found = await a_round(w, 4000)
        assert found.samples == 2
        assert "server 101: it is in the report more than once; only the first row counts" in found.problems
        await w.released(1)
        assert await billed(w) == sent(w)[0]


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("-5", "rx is negative"),
        ("-99999999999999999999", "rx is negative"),
        (str(2**63), "rx is beyond all sense"),
        ("9" * 39, "rx is beyond all sense"),
        ("1e39", "rx is beyond all sense"),
        ("9" * 200, "rx holds no number"),
    ],
)
async def test_less_than_nothing_and_more_than_can_be_are_no_readings_and_lose_nothing(
    number: str, problem: str, open_world: Open
) -> None:
    async with open_world(**ONE) as w:
        await w.active()
        await a_round(w, 70_000)
        with bad(w, lambda rows: _named_fields(rows, "101", rx=exact(number))):
            found = await a_round(w, 3000)
        assert found.problems == (f"server 101: {problem}", "1 services have no reading")
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, record.aside, record.held) == (sent(w)[0], 0, False)


async def test_rows_under_each_others_names_are_foreign_to_both_and_billed_when_they_are_right_again(
    open_world: Open,
) -> None:
    """Whose reading it is can't be told: neither pays for the other's, and their own volume comes with the next good report."""
    async with open_world(**TWO) as w:
        one, two = await _two_services(w)
        for server, octets in ((one, 10**9), (two, 10**6)):
            w.sandbox.dci.send_traffic(server, octets, octets)
        await a_round(w)

        def swapped(rows: Rows) -> Rows:
            ids = {one: two, two: one}
            return [{**row, "id": ids[str(row["id"])]} for row in rows]

        with bad(w, swapped):
            found = await a_round(w, 5000, 0, server=one)
        assert found.classes == {"foreign": 4}
        assert sorted(found.problems) == [
            f"server {one}: its row is named b.example.test, as server {two} is",
            f"server {two}: its row is named a.example.test, as server {one} is",
        ]
        await a_round(w, 700, 0, server=two)
        assert (await points(w))[-2:] == [(None, None, "foreign"), (5000, None, "gap")]
        for number, server in enumerate((one, two), 1):
            await w.released(number)
            assert await billed(w, service_id=number) == sent(w, server)[0]


async def test_two_servers_of_the_same_name_are_no_mix_up(open_world: Open) -> None:
    async with open_world(**TWO) as w:
        first = await w.active("one")
        second = await w.active("two", customer=OTHER)
        for server in (first.remote_id, second.remote_id):
            found = await a_round(w, 600, server=str(server))
        assert (found.samples, found.problems) == (4, ())
        for number in (1, 2):
            await w.released(number)
            assert await billed(w, service_id=number) == 600


# old reports --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 10**12], ids=["of little", "of much"])
async def test_an_old_report_for_a_round_everything_is_billed_once(before: int, open_world: Open) -> None:
    """The old total is a fall that the next reading takes back: only what lies above the height that is billed already is billed."""
    async with open_world(**ONE) as w:
        w.sandbox.dci.send_traffic("101", before, before)
        await w.active()
        await a_round(w, 1000, 10)
        with stale(w):
            await rounds(w, 2, 50_000, 60)
            await _good_round_within(w, 50_000, 60)
            await a_round(w, 7, 8)  # the report of the start again
        await a_round(w, 300, 4)
        await rounds(w, 2, 20, 2)
        await w.released(1)
        assert (await billed(w), await billed(w, "out")) == (sent(w)[0] - before, sent(w)[1] - before)


async def _good_round_within(w: World, rx: int, tx: int) -> None:
    old = w.sandbox.dci.functions["traffic"]
    w.sandbox.dci.functions["traffic"] = ReportFunctions(w.sandbox.dci).table()["traffic"]
    await a_round(w, rx, tx)
    w.sandbox.dci.functions["traffic"] = old


async def test_an_old_report_for_a_day_its_volume_is_billed_at_once_and_has_no_rate(open_world: Open) -> None:
    """A total that stands still is an idle server, as far as anybody can tell; the volume is believed, its rate is not."""
    async with open_world({**HOUR, "port_speed": "1 Gbit/s"}, **ONE) as w:
        await w.active()
        await rounds(w, 3, 10**9, after=3600)
        fast = (
            100 * 10**9
        )  # in an hour: a quarter of what the port can carry, in a day of them six times as much as in one
        with stale(w):
            await rounds(w, 23, fast, after=3600)
        await rounds(w, 2, 10**9, after=3600)
        assert (await points(w))[-2:] == [(23 * fast + 10**9, None, "gap"), (10**9, rate(10**9, 3600), "ok")]
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, record.aside) == (sent(w)[0], 0)


async def test_an_old_report_over_the_turn_of_the_month_no_month_pays_for_the_other(open_world: Open) -> None:
    """The old month's total after its end is no new month of that size: nothing is billed for it, and the new month from zero."""
    async with open_world(**ONE) as w:
        w.clock.advance_to(moment(2026, 1, 31, 20))
        w.sandbox.dci.send_traffic("101", 10**10, 0)
        await w.active()
        await rounds_until(w, moment(2026, 1, 31, 23, 55), 1000)
        january = sent(w)[0] - 10**10
        w.clock.advance_to(moment(2026, 1, 31, 23, 59))
        with stale(w):
            await rounds(w, 12, 500)
        await rounds(w, 3, 70)
        await close_month(w)
        await w.released(1)
        first, second = await records(w)
        february = w.server("101").traffic.rx
        assert (first.base_quantity, second.base_quantity) == (january, february)
        assert sent(w)[0] - 10**10 == january + february + 500  # those of January's last minute, in no report any more


# clocks -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zone", "turns"), [("Etc/GMT-1", "early"), ("Etc/GMT+1", "late")])
async def test_the_panels_clock_is_wrong_by_an_hour_its_month_turns_early_or_late_and_each_octet_is_billed_at_most_once(
    zone: str, turns: str, open_world: Open
) -> None:
    """A total that begins anew at another hour than ours is a reset: believed when it has grown. Only what flowed around the panel's turn,
    between two rounds, is not known."""
    async with open_world(zone=zone, **ONE) as w:
        w.clock.advance_to(moment(2026, 1, 31, 20))
        w.sandbox.dci.send_traffic("101", 10**9, 0)
        await w.active()
        turn = moment(2026, 1, 31, 23) if turns == "early" else moment(2026, 2, 1, 1)
        before = sent(w)[0]
        while w.clock.now() < moment(2026, 2, 1, 2):
            await a_round(w, 1000 if w.clock.now() < turn - timedelta(seconds=RHYTHM) else 40)
        await close_month(w)
        await w.released(1)
        january, february = await records(w)
        assert (january.base_quantity or 0) + (february.base_quantity or 0) <= sent(w)[0] - before
        assert (january.base_quantity or 0) + (february.base_quantity or 0) >= sent(w)[0] - before - 2 * 1000
        assert unseen(january) + unseen(february) <= timedelta(minutes=25)


# rounds of ours that are missing ------------------------------------------------------------------------------------------------


async def test_a_poll_that_takes_longer_than_its_rhythm_the_volume_is_billed_and_the_rate_is_a_gap(
    open_world: Open,
) -> None:
    """The rounds in between are left out; their volume comes with the next one, and is never spread over the time."""
    async with open_world(**ONE) as w:
        await w.active()
        await rounds(w, 2, 1000)
        honest = w.sandbox.dci.functions["traffic"]

        def slow(call: Any) -> Any:
            w.clock.advance(400)
            return honest.run(call)

        w.sandbox.dci.functions["traffic"] = Function(slow, admin=False)
        await a_round(w, 2000)
        w.sandbox.dci.functions["traffic"] = honest
        left_out = await a_round(w, 4000)
        assert left_out.samples == 0
        assert "left in peace as long, until" in left_out.problems[0]
        await a_round(w, 8000)
        assert [point[0] for point in await points(w)][-3:] == [1000, 2000, 12000]
        assert (await points(w))[-1] == (12000, None, "gap")
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, known(record)) == (sent(w)[0], "100.00")


async def test_the_daemon_off_for_two_days_everything_is_billed_and_nothing_is_spread(open_world: Open) -> None:
    """The total was read before and after: the volume of the time between is known, so it is covered; no rate of it is."""
    async with open_world(**ONE) as w:
        await w.active()
        await rounds(w, 2, 1000)
        w.sandbox.dci.send_traffic("101", 5 * 10**9, 0)
        w.clock.advance(2 * 86400)
        await start_again(w)
        await a_round(w, 300)
        await a_round(w, 20)
        assert (await stored(w))[-2:] == ["gap", "ok"]
        assert (await points(w))[-2:] == [(5 * 10**9 + 300, None, "gap"), (20, rate(20), "ok")]
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, known(record), record.held) == (sent(w)[0], "100.00", False)
        assert record.samples < record.expected


async def test_the_daemon_off_over_a_months_end_the_new_month_is_billed_from_zero_and_the_unread_rest_of_the_old_is_not(
    open_world: Open,
) -> None:
    """What flowed after the last reading of the old month was forgotten by the panel: it lowers the coverage, and the record is held."""
    async with open_world(**ONE) as w:
        w.clock.advance_to(moment(2026, 1, 28))
        await w.active()
        await rounds(w, 2, 100_000)
        read = sent(w)[0]
        w.sandbox.dci.send_traffic("101", 777, 0)  # nobody reads this
        w.clock.advance_to(moment(2026, 2, 1, 12))
        await start_again(w)
        await a_round(w, 5000)
        await rounds(w, 2, 60)
        await close_month(w)
        await w.released(1)
        january, february = await records(w)
        assert january.base_quantity == read == sent(w)[0] - 777 - 5120
        assert february.base_quantity == 5120
        assert january.held
        assert unseen(january) > timedelta(days=3)
        assert known(february) == "100.00"


async def test_two_readings_of_one_moment_the_first_one_stays(open_world: Open) -> None:
    async with open_world(**ONE) as w:
        await w.active()
        await a_round(w, 1000)
        w.sandbox.dci.send_traffic("101", 500, 0)
        found = await w.statistics.collector.round(MODULE)
        assert found.classes == {"duplicate": 2}
        await a_round(w, 30)
        assert (await points(w))[-2:] == [(1000, rate(1000), "ok"), (530, rate(530), "ok")]
        await w.released(1)
        assert await billed(w) == sent(w)[0]


# counters -----------------------------------------------------------------------------------------------------------------------


def _with_ports(kind: str) -> dict[str, Any]:
    def configure(folder: Path) -> None:
        main = folder / "provisiond.yaml"
        main.write_text(main.read_text() + f"resources: {{octets: {{unit: KiB, kind: {kind}}}}}\n")

    return {"configure": configure, "resources": ("in", "out", "octets"), **ONE}


PORTS: dict[str, object] = {
    "reports": [{"name": "ports", "function": "portcounters", "fields": {"octets": {"field": "octets", "unit": "B"}}}]
}


def _count(w: World, value: int) -> None:
    """The counter of the server's port from now on."""
    rows: list[Row] = [{"id": "101", "octets": exact(str(value))}]
    w.sandbox.dci.functions["portcounters"] = Function(lambda _: report("ports", rows), admin=False)


async def test_a_counter_of_32_bits_goes_over_its_top_what_it_moved_on_by_is_billed(open_world: Open) -> None:
    """With a port that can't carry half of the range in one rhythm: a faster one may have gone round unseen."""
    async with open_world({**PORTS, "port_speed": "10 Mbit/s"}, **_with_ports("counter32")) as w:
        _count(w, 2**32 - 1000)
        await w.active()
        for value in (2**32 - 1000, 2**32 - 400, 200, 5200):
            _count(w, value)
            await a_round(w)
        assert [point[2] for point in await points(w, "octets")] == ["first", "ok", "wrap32", "ok"]
        assert (await points(w, "octets"))[-2] == (600, rate(600), "wrap32")
        await w.released(1)
        assert await billed(w, "octets") == 600 + 600 + 5000


async def test_a_counter_of_32_bits_behind_a_fast_port_is_no_more_than_a_lower_bound_and_a_person_decides(
    open_world: Open,
) -> None:
    """10 Gbit/s carry the whole range in four seconds: how often it went round in five minutes nobody knows. It is billed, and not covered."""
    async with open_world(PORTS, **_with_ports("counter32")) as w:
        _count(w, 100)
        await w.active()
        for value in (100, 5000, 3000, 9000):
            _count(w, value)
            await a_round(w)
        await w.released(1)
        (record,) = await records(w, "octets")
        assert known(record) == "0.00"
        assert record.held


async def test_a_counter_of_64_bits_goes_over_its_top_what_it_moved_on_by_is_billed(open_world: Open) -> None:
    async with open_world(PORTS, **_with_ports("counter64")) as w:
        _count(w, 2**64 - 1000)
        await w.active()
        for value in (2**64 - 1000, 2**64 - 400, 200, 5200):
            _count(w, value)
            await a_round(w)
        assert [point[2] for point in await points(w, "octets")] == ["first", "ok", "wrap64", "ok"]
        assert (await stored(w, "octets")) == ["first", "ok", "wrap64", "ok"]
        await w.released(1)
        assert await billed(w, "octets") == 600 + 600 + 5000


# more than can be ---------------------------------------------------------------------------------------------------------------


async def test_a_jump_beyond_the_port_is_kept_aside_and_the_record_waits_for_a_person(open_world: Open) -> None:
    async with open_world({"port_speed": "100 Mbit/s"}, **ONE) as w:
        await w.active()
        await a_round(w, 1000)
        jump = 10**12
        found = await a_round(w, jump)
        assert found.classes == {"impossible": 1, "ok": 1}
        await rounds(w, 2, 500)
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, record.aside, record.held) == (2000, jump, True)
        assert sent(w)[0] == 2000 + jump


async def test_a_jump_that_is_taken_back_was_never_used_and_nothing_is_held(open_world: Open) -> None:
    async with open_world({"port_speed": "100 Mbit/s"}, **ONE) as w:
        await w.active()
        await a_round(w, 1000)
        with bad(w, lambda rows: _named_fields(rows, "101", rx=exact(str(10**15)))):
            await a_round(w, 200)
        await a_round(w, 40)
        await w.released(1)
        (record,) = await records(w)
        assert (record.base_quantity, record.aside, record.held) == (sent(w)[0], 0, False)


# services -----------------------------------------------------------------------------------------------------------------------


async def test_a_server_changes_hands_twice_within_a_month_each_pays_for_its_own_and_nobody_for_the_time_between(
    open_world: Open,
) -> None:
    async with open_world(**ONE) as w:
        free, used = 0, []
        for number in (1, 2, 3):
            w.sandbox.dci.send_traffic("101", 10**6 + number, 9)
            await rounds(w, 2)
            await w.active(str(number), hostname=f"h{number}.example.test", customer={**OTHER, "ref": f"C-{number}"})
            start = sent(w)
            await rounds(w, 3, 1000 * number, number)
            w.sandbox.dci.send_traffic("101", 5, 50)
            await w.released(number)
            used.append((sent(w)[0] - start[0], sent(w)[1] - start[1]))
            free += 10**6 + number
        found = [(await billed(w, "in", n), await billed(w, "out", n)) for n in (1, 2, 3)]
        assert found == used == [(3005, 53), (6005, 56), (9005, 59)]
        assert sum(each[0] for each in used) + free == sent(w)[0]


async def test_a_suspended_service_goes_on_being_counted(open_world: Open) -> None:
    """What flows while its ports are closed did flow: a switch that did not obey, or the traffic of the last seconds."""
    async with open_world(**ONE) as w:
        await w.active()
        await a_round(w, 1000)
        async with w.store.transaction() as tx:
            await tx.services.move(await w.service(1), State.SUSPENDED, operation_id=1)
        found = await a_round(w, 20)
        assert found.samples == 2
        await w.released(1)
        assert await billed(w) == sent(w)[0]


async def test_a_report_beside_traffic_that_fails_bills_the_others_and_makes_nobody_ill(open_world: Open) -> None:
    """Its own resource has no value for the time, which is not zero, and is held."""
    async with open_world({"power": {"function": "nosuchreport"}}, resources=("in", "out", "power"), **ONE) as w:
        await w.active()
        found = await a_round(w, 1000, 7)
        assert (found.samples, len(found.problems)) == (2, 1)
        assert await w.store.read.module_health.all() == {}
        await w.released(1)
        assert (await billed(w), await billed(w, "out")) == sent(w)
        (power,) = await records(w, "power")
        assert (power.base_quantity, power.held) == (None, True)


def test_every_class_has_a_rule() -> None:
    assert all(quality.rule for quality in Quality)
