"""What alerts say: amounts as people read them, and the values of the mail templates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from heapq import nsmallest
from typing import Any

from daemon.domain.alerts import Alert, Threshold
from daemon.domain.order import Customer
from daemon.domain.periods import Period
from daemon.domain.resources import Kind, Resource, Rounding, convert, to_decimal
from daemon.domain.service import Service
from daemon.stats.terms import Included

NO_PRICE = "no price yet"
MOST_NAMED = 20
"""Services that one mail to operators names."""
_LADDERS: tuple[tuple[str, ...], ...] = (
    ("B", "KiB", "MiB", "GiB", "TiB", "PiB"),
    ("B", "KB", "MB", "GB", "TB", "PB"),
    ("bit/s", "Kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"),
    ("mW", "W", "kW", "MW"),
    ("Wh", "kWh", "MWh"),
    ("s", "min", "h"),
)
_NAMES = {
    "in": "incoming traffic",
    "out": "outgoing traffic",
    "power": "electric power (average)",
    "energy": "electric energy",
    "burst_in_day": "incoming bandwidth",
    "burst_out_day": "outgoing bandwidth",
    "addresses": "IP addresses",
    "active_calls": "active calls (average)",
    "concurrent_calls": "concurrent calls",
    "pbx_extensions": "PBX extensions",
}


@dataclass(frozen=True)
class Used:
    """What a service used of a resource in a period so far, and what its plan includes of it; base units."""

    resource: Resource
    period: Period
    month: str
    """The name of the period."""
    zone: tzinfo
    included: Included
    quantity: int | None


@dataclass(frozen=True)
class Passed:
    """The thresholds that it passed, lowest first; at least one."""

    used: Used
    alerts: tuple[Alert, ...]

    @property
    def key(self) -> str:
        """The same for the same thresholds of the same amounts in the same period."""
        thresholds = ",".join(f"{alert.threshold}@{alert.at}" for alert in self.alerts)
        return f"{self.used.resource.code}/{self.used.month}/{thresholds}"


@dataclass(frozen=True)
class Low:
    """A service whose readings cover too little of its period."""

    service: Service
    covered: timedelta
    length: timedelta

    @property
    def share(self) -> int:
        """In hundredths of a percent, rounded down."""
        return 10_000 * self.covered // self.length


def readable(resource: Resource, quantity: int, unit: str) -> str:
    """Two decimals of the unit that suits the amount, of the kind of `unit`: whoever sells by TB reads no TiB. Rounded down."""
    ladder = next((steps for steps in _LADDERS if unit in steps[1:]), None)
    ladder = ladder or next((steps for steps in _LADDERS if unit in steps), (unit,))
    value = Fraction(quantity) / 10**resource.scale
    units = [step for step in ladder if convert(value, resource.base_unit, step) >= 1]
    chosen = units[-1] if units else ladder[0]
    return f"{_short(convert(value, resource.base_unit, chosen))} {chosen}"


def _short(value: Fraction) -> str:
    number: Decimal = to_decimal(value, 2, Rounding.DOWN)
    return f"{number:f}".rstrip("0").rstrip(".")


# To the customer.


def usage_key(service_id: int, passed: Sequence[Passed]) -> str:
    """The same for the same thresholds, so that no one puts the mail in twice."""
    digest = hashlib.sha256(";".join(one.key for one in passed).encode()).hexdigest()[:32]
    return f"alert:{service_id}:{passed[0].used.month}:{digest}"


def usage_letter(customer: Customer, service: Service, passed: Sequence[Passed], at: datetime) -> dict[str, Any]:
    """The payload of the mail that tells a customer of everything that was passed."""
    values = {
        "hostname": service.hostname,
        "label": service.label,
        "service": service.id,
        "at": _local(at, passed[0].used.zone),
        "resources": [_about(one.used, one.alerts) for one in passed],
    }
    subject = f"{service.hostname}: {_headline(passed)}"
    return {"to": customer.email, "subject": subject, "template": "usage_alert", "values": values}


def _headline(passed: Sequence[Passed]) -> str:
    if len(passed) > 1:
        return "usage of " + ", ".join(_name(one.used.resource) for one in passed)
    highest, name = passed[0].alerts[-1].threshold, _name(passed[0].used.resource)
    if highest is Threshold.EIGHTY:
        return f"80 % of the included {name} reached"
    return f"{'all of the included' if highest is Threshold.HUNDRED else 'more than the included'} {name} used"


def _about(used: Used, alerts: Sequence[Alert]) -> dict[str, Any]:
    alert, name = alerts[0], _name(used.resource)

    def amount(quantity: int) -> str:
        return readable(used.resource, quantity, used.included.unit)

    return {
        "name": name[:1].upper() + name[1:],
        "period": used.month,
        "until": _local(used.period.until, used.zone),
        "used": amount(alert.usage),
        "percent": 100 * alert.usage // alert.included if alert.included else None,
        "included": amount(alert.included),
        "remaining": amount(alert.remaining) if alert.usage < alert.included else None,
        "excess": amount(alert.excess),
        "passed": [_threshold(each, used.included.step, amount) for each in alerts],
        "price": NO_PRICE,
        "so_far": used.resource.kind in (Kind.GAUGE, Kind.RATE),
    }


def _threshold(alert: Alert, step: int | None, amount: Callable[[int], str]) -> str:
    if alert.threshold is not Threshold.BEYOND:
        return f"{alert.threshold} % of what is included"
    beyond = amount(alert.at - alert.included)
    if alert.count == 1 or step is None:
        return f"{beyond} beyond what is included"
    return f"each {amount(step)} beyond what is included, up to {beyond} ({alert.count} times)"


def _name(resource: Resource) -> str:
    return _NAMES.get(resource.code, resource.code)


def _local(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} ({zone})"


# To operators.


def coverage_key(module: str, low: Sequence[Low], at: datetime) -> str:
    """One for each module and moment; services fall and recover more than once."""
    digest = hashlib.sha256(",".join(str(one.service.id) for one in low).encode()).hexdigest()[:16]
    return f"coverage:{module}:{at.isoformat()}:{digest}"


def coverage_letter(department: str, module: str, low: Sequence[Low], least: int) -> dict[str, Any]:
    """The payload of the mail that tells a department of services whose readings are incomplete, worst first."""
    worst = nsmallest(MOST_NAMED, low, key=lambda one: (one.share, one.service.id))
    values = {
        "module": module,
        "count": len(low),
        "least": least,
        "services": [
            {
                "id": one.service.id,
                "hostname": one.service.hostname,
                "share": f"{one.share / 100:.2f}",
            }
            for one in worst
        ],
    }
    return {
        "department": department,
        "subject": f"Module {module}: readings of {_services(len(low))} cover less than {least} %",
        "template": "coverage_alert",
        "values": values,
    }


def _services(count: int) -> str:
    return "1 service" if count == 1 else f"{count} services"
