"""Resources of an admin's own, the reports that give them, and quantities as plans write them."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from daemon.domain.resources import RESOURCES, UNITS, Kind, UnitError, convert
from daemon.settings import DcimanagerSettings, PlanSettings
from daemon.settings.resources import Quantity, ResourceDeclaration, catalogue, parse_quantity

from .conftest import Folder

DAEMON_FILE = "provisiond.yaml"
MODULE_FILE = "modules.d/dci-main.yaml"
PLAN_FILE = "plans.d/ds-small.yaml"

OWN = """\
resources:
  gpu_power: {unit: W, kind: gauge, late_by: 1h}
  storage: {unit: GB, kind: counter64}
  seats: {unit: items, kind: stock}
"""
REPORTS = """\
reports:
- name: gpu
  function: gpustat
  fields:
    gpu_power: {field: watts, unit: kW}
    storage: {field: stored, unit: MiB, text_unit: GiB, rounding: down}
    active_calls: {field: calls, unit: calls}
"""


def add(config: Folder, name: str, text: str) -> None:
    config.write(name, (config.path / name).read_text() + text)


# quantities -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "base"),
    [
        ("10 TiB", "10 TiB", 10 * 2**40),
        ("10TiB", "10 TiB", 10 * 2**40),
        ("1.50 GB", "1.5 GB", 1_500_000_000),
        ("007 kB", "7 KB", 7000),
        ("0 B", "0 B", 0),
        ("0.5 KiB", "0.5 KiB", 512),
    ],
)
def test_a_quantity_is_a_number_and_a_unit(text: str, shown: str, base: int) -> None:
    found = parse_quantity(text)
    assert str(found) == shown
    assert found.of(RESOURCES["in"]) == base
    assert parse_quantity(shown) == found


@given(st.decimals(min_value=0, max_value=10**15 - 1, places=9), st.sampled_from(sorted(UNITS)))
def test_every_quantity_reads_back_as_it_is_written(number: Decimal, unit: str) -> None:
    found = parse_quantity(f"{number:f} {unit}")
    assert found == Quantity(number, unit)
    assert parse_quantity(str(found)) == found


@pytest.mark.parametrize(
    "wrong", [10, 1.5, None, True, "10", "TiB", "-1 B", "1e3 B", "1,5 GB", "1 tib", "1 B B", ".5 B", "٣ B", []]
)
def test_nothing_else_is_a_quantity(wrong: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_quantity(wrong)


def test_a_quantity_says_what_does_not_come_out_whole() -> None:
    assert Quantity(Decimal("2.5"), "Gbit/s").whole("bit/s") == 2_500_000_000
    with pytest.raises(UnitError, match=r"0\.5 bit/s is not a whole number of bit/s"):
        Quantity(Decimal("0.5"), "bit/s").whole("bit/s")


# resources --------------------------------------------------------------------------------------------------------------------


def test_declared_resources_stand_beside_the_built_in_ones(config: Folder) -> None:
    add(config, DAEMON_FILE, OWN)
    found = config.load().resources
    assert set(found) == {*RESOURCES, "gpu_power", "storage", "seats"}
    power, storage, seats = found["gpu_power"], found["storage"], found["seats"]
    assert (power.base_unit, power.unit, power.kind, power.late_by) == ("mW", "W", Kind.GAUGE, timedelta(hours=1))
    assert (storage.base_unit, storage.kind, storage.late_by) == ("B", Kind.COUNTER64, timedelta(minutes=15))
    assert (seats.base_unit, seats.kind, seats.declared) == ("items", Kind.STOCK, True)
    assert not power.declared


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_every_unit_can_be_shown_with_all_its_digits(unit: str) -> None:
    declaration = ResourceDeclaration(unit=unit, kind="gauge")
    resource = declaration.resource("own")
    assert resource.shown(1) >= 0
    assert convert(1, resource.base_unit, unit) > 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("in: {unit: KiB, kind: gauge}", ":11:7: resources.in: is a built-in resource; choose another name"),
        ("own: {unit: KiB}", ":11:3: resources.own.kind: is required"),
        ("own: {unit: Kib, kind: gauge}", f':11:15: resources.own.unit: expected a unit: {", ".join(UNITS)}, got "Kib"'),
        ("own: {unit: W, kind: level}", ':11:24: resources.own.kind: expected running_total, counter32, counter64, gauge or stock, got "level"'),
        ("own: {unit: W, base_unit: B, kind: gauge}", ":11:29: resources.own.base_unit: B is data, W is power: no conversion"),
        ("own: {unit: h, base_unit: s, kind: gauge}", ":11:29: resources.own.base_unit: 1 s is 1/3600 h, which has no end as a decimal"),
        ("Own: {unit: W, kind: gauge}", ':11:3: resources.Own: expected a name of lower-case letters, digits, dots, dashes, underscores, got "Own"'),
    ],
)  # fmt: skip
def test_a_declaration_that_can_not_be_is_shown_with_its_place(config: Folder, line: str, expected: str) -> None:
    add(config, DAEMON_FILE, f"resources:\n  {line}\n")
    assert config.problems() == [f"config/{DAEMON_FILE}{expected}"]


def test_evidence_is_kept_at_least_as_long_as_samples(config: Folder) -> None:
    add(config, DAEMON_FILE, "samples_keep: 500d\n")
    assert config.problems() == [
        "config/provisiond.yaml:1:1: evidence_keep: expected at least samples_keep (500d), got 400d, its default"
    ]


def test_the_settings_of_metering_have_defaults(config: Folder) -> None:
    daemon = config.load().daemon
    assert (daemon.samples_keep, daemon.evidence_keep) == (timedelta(days=100), timedelta(days=400))
    assert (daemon.grace, daemon.coverage_least, daemon.coverage_alert) == (timedelta(hours=2), 95, 99)
    module = config.load().modules[0]
    assert module.port_speed.whole("bit/s") == 10**10


# reports ----------------------------------------------------------------------------------------------------------------------


def test_reports_give_declared_and_built_in_resources(config: Folder) -> None:
    add(config, DAEMON_FILE, OWN)
    add(config, MODULE_FILE, REPORTS)
    module = config.load().module("dci-main")
    assert isinstance(module, DcimanagerSettings)
    assert set(module.reports[0].fields) == {"gpu_power", "storage", "active_calls"}
    assert module.catalogue["storage"].base_unit == "B"
    assert config.load().modules == config.load().modules


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    storage:", "    storrage:", ':24:5: reports.0.fields.storrage: there is no resource named "storrage"; did you mean "storage"?'),
        ("    storage:", "    seats:", ":24:5: reports.0.fields.seats: can't be read from a report: it is counted from our own data"),
        ("unit: kW", "unit: kWh", ":23:37: reports.0.fields.gpu_power.unit: kWh is energy, mW is power: no conversion"),
        ("text_unit: GiB", "text_unit: W", ":24:52: reports.0.fields.storage.text_unit: W is power, B is data: no conversion"),
        ("    storage:", "    in:", ":24:9: reports.0.fields.in: is read from the report traffic already"),
        ("    storage:", "    power:", ":24:12: reports.0.fields.power: is read from the report power already"),
        ("name: gpu", "name: burst", ':20:9: reports.0.name: "burst" is taken already'),
        ("field: watts, ", "", ":23:5: reports.0.fields.gpu_power.field: is required"),
        ("rounding: down", "rounding: off", ':24:67: reports.0.fields.storage.rounding: expected exact, down, up or half_away, got "off"'),
        ("  function: gpustat\n", "", ":20:3: reports.0.function: is required"),
    ],
)  # fmt: skip
def test_a_report_that_can_not_be_is_shown_with_its_place(config: Folder, old: str, new: str, expected: str) -> None:
    add(config, DAEMON_FILE, OWN)
    add(config, MODULE_FILE, REPORTS)
    config.replace(MODULE_FILE, old, new)
    assert config.problems()[0] == f"config/{MODULE_FILE}{expected}"


def test_burst_is_free_for_another_report_unless_the_panels_own_is_read(config: Folder) -> None:
    """Even then it is no resource that a report can give: it is computed."""
    report = "reports:\n- {name: b, function: f, fields: {burst_in_day: {field: x, unit: Mbit/s}}}\n"
    add(config, MODULE_FILE, report)
    assert "it is computed from another resource" in config.problems()[0]
    add(config, MODULE_FILE, "burst: {source: panel}\n")
    assert "is read from the report burst already" in config.problems()[0]


# plans ------------------------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_is_included_and_how_burst_is_counted(config: Folder) -> None:
    add(config, DAEMON_FILE, OWN)
    config.replace(
        PLAN_FILE,
        "{in: {}, out: {}, power: {}, burst_in_day: {}, burst_out_day: {}}",
        "{out: {included: 10 TiB, alert_every: 1 TiB}, burst_in_day: {percentile: 90, direction: larger}, "
        "burst_out_day: {direction: larger}, seats: {amount: 5 items}, storage: {included: 1.5 GB}}\nport_speed: 1 Gbit/s",
    )
    plan = config.load().plans[0]
    out = plan.resources["out"]
    assert out.included is not None
    assert out.included.of(RESOURCES["out"]) == 10 * 2**40
    assert plan.port_speed is not None
    assert plan.port_speed.whole("bit/s") == 10**9
    assert plan.resources["burst_in_day"].percentile == 90
    content: Any = json.loads(json.dumps(plan.content()))
    assert content["resources"]["out"] == {"included": "10 TiB", "alert_every": "1 TiB"}
    assert content["port_speed"] == "1 Gbit/s"
    again = PlanSettings.model_validate(content)
    assert again == plan
    assert again.revision == plan.revision


def test_what_a_plan_does_not_set_is_not_in_its_content(config: Folder) -> None:
    """Plans that were sold before these settings were there keep their id."""
    content = config.load().plans[0].content()
    assert "port_speed" not in content
    assert content["resources"] == {"in": {}, "out": {}, "power": {}, "burst_in_day": {}, "burst_out_day": {}}


def test_a_declared_resource_can_not_hide_a_built_in_one() -> None:
    declared = {"in": ResourceDeclaration(unit="W", kind="gauge")}
    assert catalogue(declared)["in"] is RESOURCES["in"]
