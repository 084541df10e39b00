"""The reports of a DCImanager over real HTTP: exact on good days, and what is told and left out on bad ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.domain.errors import Permanent, Temporary
from daemon.domain.resources import Kind, Resource
from daemon.modules.base import Report
from daemon.modules.registry import build
from daemon.sandbox.answers import Row, report
from daemon.sandbox.panel import Call, Function
from daemon.settings.dcimanager import BurstReport, CustomReport, PowerReport, ReportField, TrafficReport
from daemon.settings.secrets import Secret
from tests.modules.contract import NOW
from tests.modules.spoiled import exact, put, spoil
from tests.modules.test_dcimanager import World, world

PANEL = BurstReport(source="panel")


def firsts(w: World, count: int = 2) -> list[str]:
    return list(w.dci.servers)[:count]


# which ones -------------------------------------------------------------------------------------------------------------------


async def test_burst_is_asked_for_only_where_the_panel_is_its_source() -> None:
    traffic, power = Report("traffic", ("in", "out")), Report("power", ("power",))
    async with world() as w:
        assert w.module.reports() == (traffic, power)
        with pytest.raises(Permanent) as caught:
            await w.module.measure("burst", NOW)
        assert caught.value.code == "no_report"
    async with world({"burst": PANEL}) as w:
        assert w.module.reports() == (traffic, power, Report("burst", ("burst_in_day", "burst_out_day")))


async def test_a_panel_without_the_report_says_so_and_an_unreadable_answer_is_temporary() -> None:
    async with world({"power": PowerReport(function="nosuchreport")}) as w:
        with pytest.raises(Permanent):
            await w.module.measure("power", NOW)
    async with world() as w:
        w.fault("traffic", "truncated", times=0)
        with pytest.raises(Temporary):
            await w.module.measure("traffic", NOW)


# traffic ----------------------------------------------------------------------------------------------------------------------


async def test_traffic_is_exact_and_comes_in_one_call() -> None:
    async with world() as w:
        first, second = firsts(w)
        w.dci.send_traffic(first, 1_610_612_737, 5)
        w.dci.send_traffic(second, 2**53 + 1, 0)
        measured = await w.module.measure("traffic", NOW)
        assert (measured.values["in"][first], measured.values["out"][first]) == (1_610_612_737, 5)
        assert (measured.values["in"][second], measured.values["out"][second]) == (2**53 + 1, 0)
        assert set(measured.values["in"]) == set(measured.values["out"]) == set(w.dci.servers)
        assert measured.hostnames[first] == w.dci.servers[first].hostname
        assert w.count("traffic") == 1


async def test_traffic_may_be_counted_from_the_other_side() -> None:
    async with world({"traffic": TrafficReport(swap=True)}) as w:
        (first,) = firsts(w, 1)
        w.dci.send_traffic(first, 3, 4)
        values = (await w.module.measure("traffic", NOW)).values
        assert (values["in"][first], values["out"][first]) == (4, 3)


async def test_text_without_exact_bytes_is_told_and_left_out() -> None:
    async with world(traffic_orig=False) as w:
        measured = await w.module.measure("traffic", NOW)
        assert measured.values == {"in": {}, "out": {}}
        assert len(measured.problems) == 2 * len(w.dci.servers)
        assert "orig" in measured.problems[0]
        assert "traffic.text_unit" in measured.problems[0]


async def test_a_configured_unit_makes_the_shown_text_count_and_a_unit_in_the_text_goes_before_it() -> None:
    async with world({"traffic": TrafficReport(text_unit="GiB")}, traffic_orig=False) as w:
        first, second = firsts(w)
        w.dci.send_traffic(first, 3 * 2**29, 2**30)
        w.dci.send_traffic(second, 3 * 2**19, 17)  # shown as 1.50 MiB and 17 B
        values = (await w.module.measure("traffic", NOW)).values
        assert (values["in"][first], values["out"][first]) == (3 * 2**29, 2**30)
        assert (values["in"][second], values["out"][second]) == (3 * 2**19, 17)


async def test_shown_text_that_is_no_whole_number_of_bytes_needs_a_rounding() -> None:
    for rounding, expected in (("exact", None), ("down", 1_320_702_443), ("up", 1_320_702_444)):
        async with world({"traffic": TrafficReport(text_unit="GiB", rounding=rounding)}) as w:  # type: ignore[arg-type]
            (first,) = firsts(w, 1)
            put(w.dci, "traffic", "rx", "1.23")
            measured = await w.module.measure("traffic", NOW)
            assert measured.values["in"].get(first) == expected
            told = [problem for problem in measured.problems if "1.23" in problem]
            assert bool(told) == (expected is None)
            assert all("does not come out whole" in problem and "traffic.rounding" in problem for problem in told)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (exact("many"), "rx holds no number"),
        (exact("12 34"), "rx holds no number"),
        (exact("1,5"), "rx holds no number"),
        (exact("٣"), "rx holds no number"),
        (exact("0x10"), "rx holds no number"),
        (exact("NaN"), "rx holds no number"),
        (exact("inf"), "rx holds no number"),
        (exact("-1"), "rx is negative"),
        (
            exact("1.5"),
            "1.5 B in rx does not come out whole in the base unit of in; name a rounding in traffic.rounding",
        ),
        (exact(str(2**63)), "rx is beyond all sense"),
        (exact("9" * 39), "rx is beyond all sense"),
        (exact("9" * 5000), "rx holds no number"),
        (exact("", "5 B"), "rx has no exact number (attribute orig); set traffic.text_unit to count the shown text"),
        ("5", "rx has no exact number (attribute orig); set traffic.text_unit to count the shown text"),
        (None, "it has no field rx"),
    ],
)
async def test_what_is_no_number_is_told_and_never_zero(value: Any, problem: str) -> None:
    async with world() as w:
        first, second = firsts(w)
        w.dci.send_traffic(first, 1, 2)
        put(w.dci, "traffic", "rx", value)
        measured = await w.module.measure("traffic", NOW)
        assert measured.problems == (f"server {first}: {problem}",)
        assert first not in measured.values["in"]
        assert measured.values["out"][first] == 2
        assert measured.values["in"][second] == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "rx holds no number"),
        ("many", "rx holds no number"),
        ("-5 GiB", "rx is negative"),
        ("5 GB", "rx is shown in GB, where traffic.text_unit says GiB"),
        ("5 apples", "rx is shown in apples, where traffic.text_unit says GiB"),
        ("5 W", "rx is shown in W, where traffic.text_unit says GiB"),
    ],
)
async def test_shown_text_that_can_mean_something_else_is_told(text: str, problem: str) -> None:
    async with world({"traffic": TrafficReport(text_unit="GiB")}) as w:
        (first,) = firsts(w, 1)
        put(w.dci, "traffic", "rx", text)
        measured = await w.module.measure("traffic", NOW)
        assert measured.problems == (f"server {first}: {problem}",)
        assert first not in measured.values["in"]


async def test_the_largest_number_that_can_be_kept_is_kept() -> None:
    async with world() as w:
        (first,) = firsts(w, 1)
        put(w.dci, "traffic", "rx", exact(str(2**63 - 1)))
        assert (await w.module.measure("traffic", NOW)).values["in"][first] == 2**63 - 1


# whole reports ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["xml", "json"])
async def test_half_the_rows_are_half_the_readings_and_no_zeros(out: str) -> None:
    async with world({"out": out}) as w:
        spoil(w.dci, "traffic", lambda rows: rows[: len(rows) // 2])
        measured = await w.module.measure("traffic", NOW)
        half = len(w.dci.servers) // 2
        assert list(measured.values["in"]) == firsts(w, half)
        assert measured.problems == ()


async def test_servers_nobody_knows_headings_and_repetitions_change_no_other_reading() -> None:
    def change(rows: list[Row]) -> list[Row]:
        unknown: Row = {"id": "no-such-server", "rx": exact("7"), "tx": exact("8")}
        nameless: Row = {"id": "", "rx": exact("7"), "tx": exact("8")}
        heading: Row = {"name": "Rack R1"}
        return [heading, unknown, nameless, *rows, {**rows[0], "rx": exact("999")}]

    async with world() as w:
        (first,) = firsts(w, 1)
        w.dci.send_traffic(first, 5, 6)
        spoil(w.dci, "traffic", change)
        measured = await w.module.measure("traffic", NOW)
        assert measured.values["in"][first] == 5
        assert measured.values["in"]["no-such-server"] == 7
        assert set(measured.values["in"]) == {"no-such-server", *w.dci.servers}
        assert measured.problems == (
            "server (no id): its id is empty",
            f"server {first}: it is in the report more than once; only the first row counts",
        )


async def test_an_answer_that_is_no_report_is_a_problem_and_no_reading() -> None:
    async with world() as w:
        w.dci.functions["traffic"] = Function(lambda _: {"ok": ""}, admin=False)
        measured = await w.module.measure("traffic", NOW)
        assert measured.values == {"in": {}, "out": {}}
        assert measured.problems == ("the answer of traffic is no report: it has no reportdata",)


async def test_rows_under_another_name_of_the_id_are_told_once() -> None:
    async with world({"traffic": TrafficReport(id_field="server")}) as w:
        measured = await w.module.measure("traffic", NOW)
        assert measured.values == {"in": {}, "out": {}}
        assert measured.problems == ("no row of traffic has a server's id in server",)


async def test_the_panels_clock_changes_no_time_and_its_early_month_is_what_it_says() -> None:
    """The total begins anew when the panel's month does, by a clock that is an hour ahead; the reading keeps our time."""
    async with world() as w:
        (first,) = firsts(w, 1)
        w.dci.send_traffic(first, 100, 200)
        assert (await w.module.measure("traffic", NOW)).values["in"][first] == 100
        w.sandbox.advance(3600)
        ahead = await w.module.measure("traffic", NOW + timedelta(minutes=5))
        assert ahead.at == NOW + timedelta(minutes=5)
        assert ahead.values["in"][first] == 100
        w.sandbox.advance(40 * 86400)
        w.dci.send_traffic(first, 3, 4)
        later = await w.module.measure("traffic", NOW + timedelta(minutes=10))
        assert (later.values["in"][first], later.values["out"][first]) == (3, 4)
        assert later.problems == ()


# burst ------------------------------------------------------------------------------------------------------------------------


async def test_burst_is_counted_in_bits_a_second() -> None:
    async with world({"burst": PANEL}) as w:
        first, second = firsts(w)
        w.dci.servers[first].burst_in, w.dci.servers[first].burst_out = 12.5, 940.25
        values = (await w.module.measure("burst", NOW)).values
        assert (values["burst_in_day"][first], values["burst_out_day"][first]) == (12_500_000, 940_250_000)
        assert (values["burst_in_day"][second], values["burst_out_day"][second]) == (0, 0)
        assert w.count("trafficburstable") == 1


async def test_one_burst_counts_for_both_directions_where_only_it_is_given() -> None:
    async with world({"burst": PANEL}, burst_both=False) as w:
        (first,) = firsts(w, 1)
        w.dci.servers[first].burst_in, w.dci.servers[first].burst_out = 12.5, 30.0
        values = (await w.module.measure("burst", NOW)).values
        assert values["burst_in_day"][first] == values["burst_out_day"][first] == 30_000_000


async def test_one_burst_stands_in_for_none_of_two_that_are_there() -> None:
    def change(rows: list[Row]) -> list[Row]:
        del rows[0]["burst_out"]
        return [{**row, "burst": exact("5")} for row in rows]

    async with world({"burst": PANEL}) as w:
        (first,) = firsts(w, 1)
        spoil(w.dci, "trafficburstable", change)
        measured = await w.module.measure("burst", NOW)
        assert measured.problems == (f"server {first}: it has no field burst_out",)
        assert measured.values["burst_in_day"][first] == 0
        assert first not in measured.values["burst_out_day"]


async def test_burst_may_be_swapped_and_come_as_text() -> None:
    async with world({"burst": BurstReport(source="panel", swap=True, text_unit="Mbit/s")}) as w:
        (first,) = firsts(w, 1)
        put(w.dci, "trafficburstable", "burst_in", "1.5 Gbit/s")
        put(w.dci, "trafficburstable", "burst_out", "7.25")
        values = (await w.module.measure("burst", NOW)).values
        assert (values["burst_in_day"][first], values["burst_out_day"][first]) == (7_250_000, 1_500_000_000)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (exact("-0.5"), "burst_in is negative"),
        (exact("fast"), "burst_in holds no number"),
        (exact("100000001"), "burst_in is beyond all sense"),
        (exact("0.0000001"), "0.0000001 Mbit/s in burst_in does not come out whole in the base unit of burst_in_day; name a rounding in burst.rounding"),
        ("5", "burst_in has no exact number (attribute orig); set burst.text_unit to count the shown text"),
    ],
)  # fmt: skip
async def test_a_burst_that_can_not_be_is_told(value: Any, problem: str) -> None:
    async with world({"burst": PANEL}) as w:
        (first,) = firsts(w, 1)
        put(w.dci, "trafficburstable", "burst_in", value)
        measured = await w.module.measure("burst", NOW)
        assert measured.problems == (f"server {first}: {problem}",)
        assert first not in measured.values["burst_in_day"]


# power ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "number", "milliwatts"),
    [
        ({}, "85.5", 85_500),
        ({"unit": "kW"}, "0.0855", 85_500),
        ({"unit": "Wh", "over": timedelta(hours=1)}, "85.5", 85_500),
        ({"unit": "Wh", "over": timedelta(minutes=5)}, "7.125", 85_500),
        ({"unit": "Wh", "over": timedelta(days=1)}, "2052", 85_500),
        ({"unit": "kWh", "over": timedelta(hours=24)}, "2.052", 85_500),
        ({"unit": "Ah", "volts": 230, "over": timedelta(hours=1)}, "0.5", 115_000),
        ({"unit": "Ah", "volts": 228, "over": timedelta(minutes=5)}, "0.03125", 85_500),
        ({"unit": "Wh", "over": timedelta(minutes=7), "rounding": "half_away"}, "10", 85_714),
        ({"unit": "Wh", "over": timedelta(minutes=7), "rounding": "up"}, "10", 85_715),
        ({"rounding": "down"}, "85.1239", 85_123),
        ({}, "0", 0),
        ({}, "1e3", 1_000_000),
    ],
)
async def test_power_is_counted_in_milliwatts(settings: dict[str, Any], number: str, milliwatts: int) -> None:
    async with world({"power": PowerReport(**settings)}) as w:
        (first,) = firsts(w, 1)
        put(w.dci, "powerconsumption", "power", exact(number))
        measured = await w.module.measure("power", NOW)
        assert measured.values["power"][first] == milliwatts
        assert measured.problems == ()
        assert w.count("powerconsumption") == 1


async def test_power_of_a_running_server_is_what_the_panel_measured() -> None:
    async with world() as w:
        first, second = firsts(w)
        w.dci.servers[first].power, w.dci.servers[first].powered = 91.5, True
        w.dci.servers[second].powered = False
        values = (await w.module.measure("power", NOW)).values["power"]
        assert (values[first], values[second]) == (91_500, 0)


@pytest.mark.parametrize(
    ("settings", "value", "problem"),
    [
        ({}, exact("85.1234"), "85.1234 W in power does not come out whole in the base unit of power; name a rounding in power.rounding"),
        ({"unit": "Wh", "over": timedelta(minutes=7)}, exact("10"), "10 Wh in power does not come out whole in the base unit of power; name a rounding in power.rounding"),
        ({}, exact("-3"), "power is negative"),
        ({}, exact("1000001"), "power is beyond all sense"),
        ({}, "85.0", "power has no exact number (attribute orig); set power.text_unit to count the shown text"),
        ({"text_unit": "W"}, "85 kWh", "power is shown in kWh, where power.text_unit says W"),
        ({"text_unit": "W"}, "n/a", "power holds no number"),
        ({"text_unit": "W"}, None, "it has no field power"),
    ],
)  # fmt: skip
async def test_a_power_that_can_not_be_read_is_told(settings: dict[str, Any], value: Any, problem: str) -> None:
    async with world({"power": PowerReport(**settings)}) as w:
        (first,) = firsts(w, 1)
        put(w.dci, "powerconsumption", "power", value)
        measured = await w.module.measure("power", NOW)
        assert measured.problems == (f"server {first}: {problem}",)
        assert first not in measured.values["power"]


async def test_power_may_come_as_text() -> None:
    energy = {"text_unit": "Wh", "over": timedelta(minutes=30)}
    async with world({"power": PowerReport.model_validate(energy)}) as w:
        first, second = firsts(w)
        put(w.dci, "powerconsumption", "power", "42.5", "1.2 kWh")
        values = (await w.module.measure("power", NOW)).values["power"]
        assert (values[first], values[second]) == (85_000, 2_400_000)


def test_energy_becomes_power_only_where_its_time_is_known() -> None:
    with pytest.raises(ValidationError, match="is required when the unit is Wh"):
        PowerReport(unit="Wh")
    with pytest.raises(ValidationError, match="is required when the unit is Ah"):
        PowerReport(unit="Ah", over=timedelta(hours=1))


# resources of an admin's own -------------------------------------------------------------------------------------------------

GPU = CustomReport(
    name="gpu",
    function="gpustat",
    period="currentmonth",
    id_field="server",
    fields={
        "gpu_power": ReportField(field="watts", unit="W"),
        "gpu_data": ReportField(field="moved", unit="MB", text_unit="MB"),
    },
)
DECLARED = {
    "gpu_power": Resource("gpu_power", "mW", 0, "W", Kind.GAUGE, timedelta(minutes=15)),
    "gpu_data": Resource("gpu_data", "B", 0, "GB", Kind.RUNNING_TOTAL, timedelta(minutes=15)),
}


async def test_any_field_of_any_report_can_be_a_resource() -> None:
    async with world({"reports": (GPU,)}) as w:
        settings = w.module._settings.knowing({**w.module._settings.catalogue, **DECLARED})  # type: ignore[attr-defined]
        module = build(settings, lambda _: Secret(w.sandbox.settings.password), w.clock)
        asked: list[str] = []

        def gpustat(call: Call) -> Any:
            asked.append(call.get("period") or "")
            rows: list[Row] = [
                {"server": "101", "watts": exact("250.5"), "moved": "1.5"},
                {"server": "102", "watts": exact("-1"), "moved": exact("7")},
            ]
            return report("gpu", rows)

        w.dci.functions["gpustat"] = Function(gpustat, admin=False)
        try:
            assert module.reports()[-1] == Report("gpu", ("gpu_power", "gpu_data"))
            measured = await module.measure("gpu", NOW)
        finally:
            await module.close()
        assert measured.values == {"gpu_power": {"101": 250_500}, "gpu_data": {"101": 1_500_000, "102": 7_000_000}}
        assert measured.problems == ("server 102: watts is negative",)
        assert asked == ["currentmonth"]
        assert measured.hostnames == {}


@pytest.mark.parametrize("kind", [Kind.COUNTER64, Kind.COUNTER32, Kind.RUNNING_TOTAL])
async def test_only_a_counter_of_64_bits_is_read_beyond_63(kind: Kind) -> None:
    declared = {**DECLARED, "gpu_data": Resource("gpu_data", "B", 0, "GB", kind, timedelta(minutes=15))}
    report_of_bytes = GPU.model_copy(update={"fields": {"gpu_data": ReportField(field="moved", unit="B")}})
    async with world({"reports": (report_of_bytes,)}) as w:
        settings = w.module._settings.knowing({**w.module._settings.catalogue, **declared})  # type: ignore[attr-defined]
        module = build(settings, lambda _: Secret(w.sandbox.settings.password), w.clock)
        totals = {"101": 2**63 - 1, "102": 2**63, "103": 2**64 - 1, "104": 2**64}
        rows: list[Row] = [{"server": server, "moved": exact(str(total))} for server, total in totals.items()]
        w.dci.functions["gpustat"] = Function(lambda _: report("gpu", rows), admin=False)
        try:
            found = (await module.measure("gpu", NOW)).values["gpu_data"]
        finally:
            await module.close()
        most = 2**64 - 1 if kind is Kind.COUNTER64 else 2**63 - 1
        assert found == {server: total for server, total in totals.items() if total <= most}


# many -------------------------------------------------------------------------------------------------------------------------


async def test_probe_tells_of_each_report_that_is_asked_for() -> None:
    async with world({"burst": PANEL}) as w:
        found = {finding.setting: finding.verdict for finding in await w.module.probe()}
        assert found["power.function"] == found["power.field"] == "confirmed"
        assert found["burst.in_field"] == found["burst.out_field"] == "confirmed"
        assert "burst.both_field" not in found
    async with world({"power": PowerReport(field="nosuch")}) as w:
        found = {finding.setting: finding.verdict for finding in await w.module.probe()}
        assert found["power.field"] == "contradicted"
        assert not any(setting.startswith("burst.") for setting in found)
