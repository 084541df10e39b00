"""Settings of a processing module of type `dcimanager` (DCImanager 5).

Names that no live panel has confirmed are settings, so that an admin can correct one without a new release; what is known and
how sure it is stands in docs/reference/contracts.md.
"""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator, model_validator

from daemon.settings.base import About, Faults, SettingsModel
from daemon.settings.modules import ManualSettings, ModuleSettings
from daemon.settings.remote import RemoteSettings
from daemon.settings.resources import ABOUT_ROUNDING, RoundingName, Unit
from daemon.settings.types import Duration, Name, Positive, Text, Word, Words, Zone


class PanelNames(SettingsModel):
    """Functions, fields and words of the panel."""

    main_address_function: Annotated[
        Word, About("function that changes a server's main address, saved as a form", unverified=True)
    ] = "server.edit"
    main_address_field: Annotated[Word, About("its field for the new main address", unverified=True)] = "ip"
    save_fields: Annotated[
        Words | None,
        About(
            "fields of server.edit sent back unchanged with each save",
            why="every field as it was read, as a field left out may be erased",
            example="[mac, name, notes, type, owner]",
            unverified=True,
        ),
    ] = None
    notes_field: Annotated[
        Word, About("field of server.edit that carries our key, one line of it", unverified=True)
    ] = "notes"
    owner_field: Annotated[Word, About("field of server.edit for the owner's user id")] = "owner"
    no_owner: Annotated[Word, About("the owner of a server that nobody owns")] = "no_owner"
    add_address_function: Annotated[Word, About("function that puts an address on a server")] = "iplist.edit"
    address_field: Annotated[
        Word, About("its field for a given address (an empty one makes the panel choose)", unverified=True)
    ] = "ip"
    address_type_field: Annotated[Word, About("its field for the address type")] = "iptype"
    hostname_field: Annotated[
        Word, About("field of an address that names the host; set on every address of a server")
    ] = "domain"
    main_address_errors: Annotated[
        Words, About("error types that mean 'this is the main address, it can't be deleted'", unverified=True)
    ] = ("main_ip",)
    power_off_function: Annotated[Word, About("function for a soft power off")] = "server.poweroff"
    hard_power_off_function: Annotated[Word, About("function for a hard power off", unverified=True)] = (
        "server.poweroff"
    )
    install_operation: Annotated[Word, About("operation of server.operations that installs a template")] = "ostemplate"
    no_recipe: Annotated[Text, About("recipe of an install without one")] = "null"
    installed_system_field: Annotated[
        Word, About("field of server.operations that shows the installed template", unverified=True)
    ] = "ostemplate"
    unsellable_flags: Annotated[
        Words,
        About(
            "flags that keep a server from being sold",
            why="the vendor's three, and three that mean 'not ready'",
            unverified=True,
        ),
    ] = ("blocked", "hwproblem", "diag_in_progress", "install_in_progress", "operation_failed", "disabled")
    user_level: Annotated[Word, About("level given to a new panel user")] = "lvUser"
    port_speed_function: Annotated[
        Word, About("function that sets the speed of a switch connection", unverified=True, later=True)
    ] = "server.connection.edit"
    port_speed_field: Annotated[Word, About("its field for the speed", unit="Mbit/s", unverified=True, later=True)] = (
        "speed"
    )


class TrafficReport(SettingsModel):
    """The report that traffic is read from: per server a running total of the panel's calendar month."""

    function: Annotated[Word, About("function of the report")] = "traffic"
    period: Annotated[Word, About("period asked for", unverified=True)] = "currentmonth"
    id_field: Annotated[Word, About("field with the server's id")] = "id"
    rx_field: Annotated[Word, About("field of traffic in")] = "rx"
    tx_field: Annotated[Word, About("field of traffic out")] = "tx"
    swap: Annotated[
        bool,
        About(
            "exchange in and out",
            why="the vendor takes rx for in; a panel that counts from the switch's side needs true",
            unverified=True,
        ),
    ] = False
    text_unit: Annotated[
        Literal["B", "KiB", "MiB", "GiB", "TiB"] | None,
        About(
            "unit of the shown text, for panels that give no exact bytes (attribute orig)",
            why="such a row is reported and left out, as the text is rounded for people",
            example="GiB",
        ),
    ] = None
    rounding: Annotated[RoundingName, ABOUT_ROUNDING] = "exact"


class BurstReport(SettingsModel):
    """Where burstable bandwidth comes from, and the panel's report of it."""

    source: Annotated[
        Literal["samples", "panel"],
        About(
            "where burst comes from: samples (computed from the traffic that was read) or panel (its report)",
            why="our own samples can be recomputed, a panel's number can't",
        ),
    ] = "samples"
    function: Annotated[Word, About("function of the report")] = "trafficburstable"
    period: Annotated[Word, About("period asked for", unverified=True)] = "currentday"
    id_field: Annotated[Word, About("field with the server's id")] = "id"
    in_field: Annotated[Word, About("field of burst in", unverified=True)] = "burst_in"
    out_field: Annotated[Word, About("field of burst out", unverified=True)] = "burst_out"
    both_field: Annotated[Word, About("field that counts for both where only it is given", unverified=True)] = "burst"
    swap: Annotated[
        bool, About("exchange in and out", why="as for traffic, but a setting of its own", unverified=True)
    ] = False
    unit: Annotated[
        Literal["bit/s", "Kbit/s", "Mbit/s", "Gbit/s"],
        About("unit of the exact number (attribute orig): bit/s, Kbit/s, Mbit/s or Gbit/s", unverified=True),
    ] = "Mbit/s"
    text_unit: Annotated[
        Literal["bit/s", "Kbit/s", "Mbit/s", "Gbit/s"] | None,
        About(
            "unit of the shown text, for panels that give no exact number (attribute orig)",
            why="such a row is reported and left out, as the text is rounded for people",
            example="Mbit/s",
        ),
    ] = None
    rounding: Annotated[RoundingName, ABOUT_ROUNDING] = "exact"


PowerUnit = Literal["W", "kW", "Wh", "kWh", "Ah"]
_ENERGY = ("Wh", "kWh", "Ah")


class PowerReport(SettingsModel):
    """The report of power consumption."""

    function: Annotated[Word, About("function of the report", unverified=True)] = "powerconsumption"
    period: Annotated[Word, About("period asked for", unverified=True)] = "currentday"
    id_field: Annotated[Word, About("field with the server's id", unverified=True)] = "id"
    field: Annotated[Word, About("field of the reading", unverified=True)] = "power"
    unit: Annotated[
        PowerUnit,
        About(
            "unit of the exact number (attribute orig): W, kW, Wh, kWh or Ah. Energy becomes power by the time it was used in (over): "
            "watts = watt-hours x 3600 / seconds, watt-hours = ampere-hours x volts",
            unverified=True,
        ),
    ] = "W"
    text_unit: Annotated[
        PowerUnit | None,
        About(
            "unit of the shown text, for panels that give no exact number (attribute orig)",
            why="such a row is reported and left out, as the text may be rounded for people",
            example="W",
        ),
    ] = None
    over: Annotated[
        Positive | None,
        About(
            "the time in which a reading in Wh, kWh or Ah was used; for a total that grows all day or month declare a resource of your "
            "own (reports)",
            why="unused for W and kW",
            example="1h",
        ),
    ] = None
    volts: Annotated[
        int | None,
        About("mains voltage, needed for Ah", unit="V", why="unused for the other units", example="230"),
        Field(ge=1, le=1000),
    ] = None
    rounding: Annotated[RoundingName, ABOUT_ROUNDING] = "exact"

    @model_validator(mode="after")
    def _energy(self) -> PowerReport:
        units = {self.unit, self.text_unit}
        faults = Faults()
        if "Ah" in units and self.volts is None:
            faults.add(("volts",), "is required when the unit is Ah")
        energy = [unit for unit in (self.unit, self.text_unit) if unit in _ENERGY]
        if energy and self.over is None:
            faults.add(("over",), f"is required when the unit is {energy[0]}: the time in which it was used")
        faults.raise_if_any()
        return self


class ReportField(SettingsModel):
    """One field of a report, read as one resource."""

    field: Annotated[Word, About("the field of a row")]
    unit: Annotated[Unit, About("unit of the exact number (attribute orig)")]
    text_unit: Annotated[
        Unit | None,
        About(
            "unit of the shown text, for fields that have no exact number (attribute orig)",
            why="such a row is reported and left out, as the text may be rounded for people",
            example="W",
        ),
    ] = None
    rounding: Annotated[RoundingName, ABOUT_ROUNDING] = "exact"


class CustomReport(SettingsModel):
    """Any other report of the panel, and the resources that are read from its fields."""

    name: Annotated[Name, About("its name in logs and problems")]
    function: Annotated[Word, About("function of the report")]
    period: Annotated[Word | None, About("period asked for", why="none is sent", example="currentmonth")] = None
    id_field: Annotated[Word, About("field with the server's id")] = "id"
    fields: Annotated[
        dict[Name, ReportField],
        About("what is read from it, by resource: {gpu_power: {field: gpu, unit: W}}"),
        Field(min_length=1),
    ]


class DcimanagerSettings(RemoteSettings, ModuleSettings):
    """A DCImanager 5."""

    type: Annotated[Literal["dcimanager"], About("which kind of module")] = "dcimanager"
    ipam: Annotated[
        Name,
        About(
            "address manager that gives this module's services their addresses",
            if_missing="is required: the panel's own address base isn't supported yet, name an address manager of ipam.d",
        ),
    ]
    free_hostname: Annotated[Text, About("host name of a server that is free", why="the panel's own rule")] = "free.ds"
    server_type_by: Annotated[
        Literal["any", "chassis_templ", "type"],
        About(
            "which field of a server is compared with a plan's server_type: any, chassis_templ (new types) or type (old ones)",
            why="a panel uses one of the two",
        ),
    ] = "any"
    user_prefix: Annotated[
        Word,
        About("start of the panel users' names that are made for customers", why="shows on the panel whose they are"),
    ] = "pd-"
    install_start_within: Annotated[
        Positive,
        About(
            "how long the panel may take to show a running install",
            why="'no install running' right after the call is not 'done'",
            unverified=True,
        ),
    ] = timedelta(seconds=60)
    install_at_least: Annotated[
        Duration,
        About(
            "how long an install runs at least: one of the system that was there before, seen for less, is done once more",
            why="a panel that restarts forgets a running install, and the old system looks like the new one",
            unverified=True,
        ),
    ] = timedelta(minutes=2)
    zone: Annotated[Zone, About("time zone of the panel, in which its calendar month begins", unverified=True)] = (
        ZoneInfo("UTC")
    )
    panel: Annotated[PanelNames, About("functions, fields and words of the panel")] = PanelNames()
    traffic: Annotated[TrafficReport, About("the traffic report")] = TrafficReport()
    burst: Annotated[BurstReport, About("where burstable bandwidth comes from, and the panel's report of it")] = (
        BurstReport()
    )
    power: Annotated[PowerReport, About("the report of power consumption")] = PowerReport()
    reports: Annotated[
        tuple[CustomReport, ...],
        About(
            "other reports of the panel, for resources of your own",
            why="nothing else is read",
            example="[{name: gpu, function: gpustat, fields: {active_calls: {field: calls, unit: calls}}}]",
        ),
        Field(strict=False, max_length=100),
    ] = ()

    @property
    def month_zone(self) -> tzinfo:
        return self.zone

    @field_validator("reports")
    @classmethod
    def _each_resource_once(cls, reports: tuple[CustomReport, ...], info: ValidationInfo) -> tuple[CustomReport, ...]:
        faults = Faults()
        names = {"traffic", "power", "burst"}
        burst: BurstReport | None = info.data.get("burst")
        owners = {"in": "traffic", "out": "traffic", "power": "power"}
        if burst is not None and burst.source == "panel":
            owners |= {"burst_in_day": "burst", "burst_out_day": "burst"}
        for number, report in enumerate(reports):
            if report.name in names:
                faults.add((number, "name"), f'"{report.name}" is taken already')
            names.add(report.name)
            for code in report.fields:
                owner = owners.setdefault(code, report.name)
                if owner != report.name:
                    faults.add((number, "fields", code), f"is read from the report {owner} already")
        faults.raise_if_any()
        return reports


MODULE_TYPES: dict[str, type[ModuleSettings]] = {"dcimanager": DcimanagerSettings, "manual": ManualSettings}
