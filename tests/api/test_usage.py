"""Usage and samples over HTTP: by range, by period, in every step, as JSON and as CSV; and what is refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from daemon.api.csv_answer import cell, table, wanted
from daemon.store.targets import SqliteTarget
from tests.api.house import House, house
from tests.provisioning.world import order

BERLIN = ZoneInfo("Europe/Berlin")


def in_berlin(folder: Path) -> None:
    """The plans are billed there."""
    for path in (folder / "plans.d").glob("*.yaml"):
        path.write_text(path.read_text() + "\nzone: Europe/Berlin\n")


async def active(home: House) -> int:
    placed = (await home.order(order())).body
    await home.world.drive()
    service: int = placed["service"]["id"]
    return service


async def rounds(home: House, service_id: int, *volumes: int, every: int = 300) -> None:
    """A reading after each of these volumes came in."""
    remote_id = (await home.world.service(service_id)).remote_id
    for volume in volumes:
        home.world.sandbox.dci.send_traffic(str(remote_id), volume, 0)
        home.world.clock.advance(every)
        await home.world.statistics.collector.round("dci-main")


async def resource(home: House, query: str, code: str = "in") -> dict:
    answer = await home.get(f"/v1/services/1/usage?{query}")
    assert answer.status == 200, answer.text
    return next(one for one in answer.body["resources"] if one["resource"] == code)


async def test_a_service_that_was_never_billed_shows_what_its_plan_counts(home: House) -> None:
    await home.order(order())
    body = (await home.get("/v1/services/1/usage")).body
    assert (body["from"], body["zone"]) == (None, None)
    assert [(r["resource"], r["total"], r["base_total"], r["coverage"], r["points"]) for r in body["resources"]] == [
        (code, None, None, None, []) for code in ("in", "out")
    ]
    samples = (await home.get("/v1/services/1/samples?metric=in&resolution=raw")).body
    assert (samples["count"], samples["columns"]["at"]) == (0, [])
    assert (await home.get("/v1/services/1/samples?metric=power")).fields == ["metric"]


async def test_what_is_not_known_is_null_and_never_zero(home: House) -> None:
    await active(home)
    home.world.clock.advance(3600)
    found = await resource(home, "resolution=hour")
    assert (found["total"], found["base_total"], found["coverage"], found["points"]) == (None, None, None, [])


async def test_points_have_their_volume_rates_and_coverage(home: House) -> None:
    service_id = await active(home)
    await rounds(home, service_id, 1024, 3072, 2048)
    found = await resource(home, "resolution=year")
    (point,) = found["points"]
    assert (found["total"], found["base_total"], point["value"]) == ("6", "6144", "6")
    assert (found["unit"], found["rate_unit"], found["percent"]) == ("KiB", "bit/s", 95)
    assert (point["maximum"], point["minimum"], point["average"]) == ("82", "27", "54.667")
    assert found["count"] >= 3
    assert sum(found["classes"].values()) >= 3
    raw = await resource(home, "resolution=raw")
    assert [p["value"] for p in raw["points"] if p["value"] not in (None, "0")] == ["1", "3", "2"]


@pytest.mark.parametrize("resolution", ["raw", "hour", "day", "week", "month", "quarter", "half_year", "year"])
async def test_every_resolution_adds_up_to_the_same_total(home: House, resolution: str) -> None:
    service_id = await active(home)
    await rounds(home, service_id, 1000, 24, 7, every=7000)
    found = await resource(home, f"resolution={resolution}")
    assert sum(Decimal(point["value"] or 0) for point in found["points"]) == Decimal(found["total"])
    assert found["base_total"] == "1031"


async def test_a_period_is_asked_for_by_its_name_in_the_billing_zone(
    sqlite_target: SqliteTarget, tmp_path: Path
) -> None:
    async with house(sqlite_target, tmp_path, configure=in_berlin) as home:
        await active(home)
        home.world.clock.advance_to(datetime(2026, 4, 15, tzinfo=UTC))
        body = (await home.get("/v1/services/1/usage?period=2026-03&resolution=day")).body
        assert body["zone"] == "Europe/Berlin"
        assert (body["from"], body["until"]) == ("2026-02-28T23:00:00+00:00", "2026-03-31T22:00:00+00:00")
        spoken = (await home.get("/v1/services/1/usage?period=last%20month")).body
        assert (spoken["from"], spoken["until"]) == (body["from"], body["until"])
        week = (await home.get("/v1/services/1/samples?metric=in&period=2026-W13")).body
        assert (week["from"], week["until"]) == ("2026-03-22T23:00:00+00:00", "2026-03-29T22:00:00+00:00")


async def test_what_the_panel_sent_is_in_the_local_hour_day_and_month_it_was_sent_in(
    sqlite_target: SqliteTarget, tmp_path: Path
) -> None:
    """From before a day of 25 hours over the end of the month."""
    async with house(sqlite_target, tmp_path, configure=in_berlin) as home:
        home.world.clock.advance_to(datetime(2026, 10, 24, 20, 10, tzinfo=UTC))
        service_id = await active(home)
        home.world.clock.advance_to(datetime(2026, 10, 24, 20, 30, tzinfo=UTC))
        await home.world.statistics.collector.round("dci-main")
        hours: Counter[str] = Counter()
        for volume in [*range(1, 80), 10_000, 0, 20_000]:
            if volume == 10_000:
                home.world.clock.advance_to(datetime(2026, 10, 31, 22, tzinfo=UTC))
            if volume == 0:  # what no reading sees before the panel's month turns is lost
                home.world.clock.advance_to(datetime(2026, 11, 1, 5, tzinfo=UTC))
            await rounds(home, service_id, volume, every=1800)
            local = (home.world.clock.now() - timedelta(microseconds=1)).astimezone(BERLIN)
            hours[local.replace(minute=0, second=0, microsecond=0).isoformat()] += volume
        days: Counter[str] = Counter()
        months: Counter[str] = Counter()
        for hour, volume in hours.items():
            days[hour[:10]] += volume
            months[hour[:7]] += volume
        for resolution, length, sent in (("hour", 25, hours), ("day", 10, days), ("month", 7, months)):
            points = (await resource(home, f"resolution={resolution}"))["points"]
            shown: Counter[str] = Counter()
            for point in points:
                begun = (
                    datetime.fromisoformat(point["from"]).astimezone(BERLIN).replace(minute=0, second=0, microsecond=0)
                )
                shown[begun.isoformat()[:length]] += int(Decimal(point["value"] or 0) * 1024)
            assert +shown == +sent
        assert {"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"} <= hours.keys()
        assert dict(months) == {"2026-10": 79 * 40 + 10_000, "2026-11": 20_000}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=2026-11&from=2026-11-01T00:00:00Z", "period"),
        ("period=soon", "period"),
        ("period=2026-02-30", "period"),
        ("from=2026-11-02T00:00:00Z&until=2026-11-01T00:00:00Z", "until"),
        ("format=xml", "format"),
        ("resolution=5m", "resolution"),
    ],
)
async def test_what_can_not_be_looked_at_is_refused_by_its_field(home: House, query: str, field: str) -> None:
    await active(home)
    answer = await home.get(f"/v1/services/1/usage?{query}")
    assert (answer.status, answer.fields) == (400, [field]), answer.text
    assert any(word in answer.body["errors"][0]["message"] for word in ("expected", "should be", "calendar"))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "metric"),
        ("metric=power", "metric"),
        ("metric=in&resolution=30s", "resolution"),
        ("metric=in&resolution=32d", "resolution"),
        ("metric=in&resolution=1m30s", "resolution"),
        ("metric=in&resolution=1m", "resolution"),
    ],
)
async def test_samples_that_can_not_be_had_are_refused_by_their_field(home: House, query: str, field: str) -> None:
    await active(home)
    home.world.clock.advance(86400 * 100)
    answer = await home.get(f"/v1/services/1/samples?{query}")
    assert (answer.status, answer.fields) == (400, [field]), answer.text


async def test_raw_samples_are_what_the_meter_showed(home: House) -> None:
    service_id = await active(home)
    await rounds(home, service_id, 1024, 3072)
    body = (await home.get("/v1/services/1/samples?metric=in&resolution=raw")).body
    columns = body["columns"]
    assert columns.keys() == {"at", "value", "base_value", "class"}
    assert columns["base_value"][-2:] == ["1024", "4096"]
    assert columns["value"][-2:] == ["1", "4"]
    assert set(columns["class"]) <= {"first", "ok", "gap"}
    assert body["count"] == len(columns["at"]) == len(columns["class"])


async def test_a_line_in_steps_adds_up_and_chooses_its_steps(home: House) -> None:
    service_id = await active(home)
    await rounds(home, service_id, *[1024] * 5)
    for resolution in ("&resolution=10m", "&resolution=1h", "&resolution=day", ""):
        body = (await home.get(f"/v1/services/1/samples?metric=in{resolution}")).body
        assert sum(Decimal(value or 0) for value in body["columns"]["value"]) == 5
    assert body["resolution"] == "5m"
    home.world.clock.advance(86400 * 90)
    assert (await home.get("/v1/services/1/samples?metric=in")).body["resolution"] == "2h"


async def test_a_service_of_a_module_that_is_gone_is_refused(home: House) -> None:
    await active(home)
    async with home.world.store.transaction() as tx:
        await tx.fetch("UPDATE service SET module = 'dci-gone' WHERE id = 1")
    for path in ("usage", "samples?metric=in"):
        answer = await home.get(f"/v1/services/1/{path}")
        assert (answer.status, answer.body["code"]) == (409, "module_gone")
        assert "dci-gone" in answer.body["detail"]


# CSV


def read(text: str) -> list[dict[str, str]]:
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_usage_comes_as_csv_with_totals_and_points(home: House) -> None:
    service_id = await active(home)
    await rounds(home, service_id, 1024, 3072)
    for more in ({"path": "&format=csv"}, {"headers": {"Accept": "text/csv"}}):
        answer = await home.get(
            f"/v1/services/1/usage?resolution=day{more.get('path', '')}", headers=more.get("headers")
        )
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = [row for row in read(answer.text) if row["resource"] == "in"]
        assert [(row["row"], row["value"], row["unit"]) for row in rows] == [
            ("total", "4", "KiB"),
            ("point", "4", "KiB"),
        ]
        assert rows[1]["coverage"]


async def test_samples_come_as_csv(home: House) -> None:
    service_id = await active(home)
    await rounds(home, service_id, 1024, 3072)
    rows = read((await home.get("/v1/services/1/samples?metric=in&resolution=raw&format=csv")).text)
    assert (rows[-1]["metric"], rows[-1]["unit"], rows[-1]["base_value"]) == ("in", "KiB", "4096")
    rows = read((await home.get("/v1/services/1/samples?metric=in&resolution=day&format=csv")).text)
    assert rows[0]["value"] == "4"


async def test_every_list_comes_as_csv_page_by_page(home: House) -> None:
    for number in range(3):
        await home.order(order(hostname=f"h{number}.example.test"))
    answer = await home.get("/v1/services?limit=2&format=csv")
    rows = read(answer.text)
    assert [row["server.hostname"] for row in rows] == ["h2.example.test", "h1.example.test"]
    assert rows[0]["customer.ref"] == "C-17"
    following = answer.headers["Link"]
    assert following.endswith('; rel="next"')
    rest = await home.get(following[1 : following.index(">")])
    assert [row["server.hostname"] for row in read(rest.text)] == ["h0.example.test"]
    assert "Link" not in rest.headers


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/tasks", "/v1/operations", "/v1/tokens", "/v1/modules", "/v1/plans", "/v1/usage/quarantine"])  # fmt: skip
async def test_a_list_as_csv_has_a_heading_even_when_it_is_empty(home: House, path: str) -> None:
    answer = await home.get(path, headers={"Accept": "application/json;q=0.1, text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.text.count(",") > 2


async def test_a_name_that_is_a_formula_does_not_run_in_a_spreadsheet(home: House) -> None:
    name = '=HYPERLINK("http://evil.example.test","click")'
    await home.order(order(customer={"ref": "@SUM(A1)", "name": name, "email": "a@example.test"}))
    (row,) = read((await home.get("/v1/orders?format=csv")).text)
    assert row["customer.name"] == f"'{name}"
    assert row["customer.ref"] == "'@SUM(A1)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"), ("+49 30 1", "'+49 30 1"), ("-2+3|cmd", "'-2+3|cmd"), ("@x", "'@x"), ("\tx", "'\tx"),
        ("-12.50", "-12.50"), (-3, "-3"), (None, ""), (True, "true"), (["a"], '["a"]'), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_a_cell_is_never_a_formula_and_a_number_stays_one(value: object, text: str) -> None:
    assert cell(value) == text


def test_quotes_commas_and_line_ends_are_quoted() -> None:
    assert table(["a", "b"], [['say "x"', "1,2\n3"]]) == 'a,b\r\n"say ""x""","1,2\n3"\r\n'


@pytest.mark.parametrize(
    ("accept", "csv_wanted"),
    [
        ("", False), ("*/*", False), ("application/json", False), ("text/csv", True), ("text/csv, */*", True),
        ("application/json, text/csv;q=0.5", False), ("text/csv;q=0", False), ("text/csv;q=x", False),
    ],
)  # fmt: skip
def test_what_a_client_takes_most_gladly_decides(accept: str, csv_wanted: bool) -> None:
    assert wanted(None, accept) is csv_wanted
    assert wanted("csv", accept)
    assert not wanted("json", accept)
