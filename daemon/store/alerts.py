"""Alerts of services: which are wanted, and what of the running period has been reported."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from daemon.domain.alerts import AlertState, CoverageState, Wanted
from daemon.domain.service import State
from daemon.store.connection import Connection

AT_ONCE = 200
"""Rows that are read or written before others get their turn."""
_PART = 2**32
_COUNTED = (State.ACTIVE.value, State.SUSPENDED.value)


@dataclass(frozen=True)
class ServiceAlerts:
    """One service's. `sent`: resource -> its state; `coverage` None: its coverage was never too low."""

    wanted: Wanted = field(default_factory=Wanted)
    sent: Mapping[str, AlertState] = field(default_factory=dict)
    coverage: CoverageState | None = None


NONE_YET = ServiceAlerts()


class Alerts:
    def __init__(self, connection: Connection) -> None:
        self._c = connection
        self._given = (
            "SELECT value FROM json_each(?)"
            if connection.dialect == "sqlite"
            else "SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(? AS json))"
        )

    async def of(self, service_ids: Collection[int]) -> dict[int, ServiceAlerts]:
        """Of each of the services, whether or not it has a row."""
        return await self._read(sorted(service_ids))

    async def locked(self, service_ids: Collection[int]) -> dict[int, ServiceAlerts]:
        """The same, in a transaction that holds them until its end: another one that wants to change them waits."""
        ids = sorted(
            service_ids
        )  # in one order everywhere, so that two transactions wait for each other and not for ever
        for start in range(0, len(ids), AT_ONCE):
            await self._c.execute(
                "INSERT INTO service_alerts (service_id, switches, sent)"  # noqa: S608 - no values
                f" SELECT id, '{{}}', '{{}}' FROM service WHERE id IN ({self._given}) ORDER BY id ON CONFLICT DO NOTHING",
                ids[start : start + AT_ONCE],
            )
        return await self._read(ids, lock=True)

    async def keep(self, changed: Mapping[int, ServiceAlerts]) -> None:
        """Write these; their rows were locked before."""
        ids = sorted(changed)
        for start in range(0, len(ids), AT_ONCE):
            await self._c.execute_many(
                "UPDATE service_alerts SET switches = ?, sent = ? WHERE service_id = ?",
                [[*_written(changed[one]), one] for one in ids[start : start + AT_ONCE]],
            )

    async def pushed(
        self, service_ids: Collection[int], since: datetime, until: datetime
    ) -> dict[tuple[int, str], int]:
        """(service, resource) -> what was pushed with since <= at < until and counts, in all; where anything was."""
        which = (
            f"FROM pushed_event e JOIN service s ON s.id = e.service_id WHERE e.service_id IN ({self._given})"
            " AND e.at >= ? AND e.at < ? AND e.state = 'accepted' AND e.at >= s.billing_from"
        )
        values = (list(service_ids), since, until)
        rows = await self._c.fetch(
            # In two parts: the sum of many large quantities is more than a whole number of the database holds.
            f"SELECT service_id, resource, SUM(quantity / {_PART}) AS high, SUM(quantity - quantity / {_PART} * {_PART}) AS low"  # noqa: S608 - no values
            f" FROM (SELECT e.service_id, e.resource, e.quantity {which}"
            f" UNION ALL SELECT e.service_id, e.second_resource, e.second_quantity {which} AND e.second_resource IS NOT NULL) p"
            " GROUP BY service_id, resource",
            *values, *values,
        )  # fmt: skip
        return {(row["service_id"], row["resource"]): int(row["high"]) * _PART + int(row["low"]) for row in rows}

    async def low_coverage(self) -> dict[str, int]:
        """Module -> how many of its services have too low a coverage."""
        low = (
            "json_extract(a.sent, '$.coverage.low') = 1"
            if self._c.dialect == "sqlite"
            else "a.sent #>> '{coverage,low}' = 'true'"
        )
        rows = await self._c.fetch(
            "SELECT s.module, COUNT(*) AS n FROM service_alerts a JOIN service s ON s.id = a.service_id"  # noqa: S608 - no values
            f" WHERE {low} AND s.module IS NOT NULL AND s.state IN (?, ?) GROUP BY s.module",
            *_COUNTED,
        )
        return {row["module"]: int(row["n"]) for row in rows}

    async def _read(self, ids: list[int], *, lock: bool = False) -> dict[int, ServiceAlerts]:
        found = dict.fromkeys(ids, NONE_YET)
        # On SQLite a transaction has the whole database for itself from its first moment on.
        end = " ORDER BY service_id FOR UPDATE" if lock and self._c.dialect == "postgres" else ""
        for start in range(0, len(ids), AT_ONCE):
            rows = await self._c.fetch(
                f"SELECT service_id, switches, sent FROM service_alerts WHERE service_id IN ({self._given}){end}",  # noqa: S608 - as above
                ids[start : start + AT_ONCE],
            )
            found |= {row["service_id"]: _alerts(_plain(row["switches"]), _plain(row["sent"])) for row in rows}
        return found


def _plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


def _alerts(switches: Mapping[str, bool], sent: Mapping[str, Any]) -> ServiceAlerts:
    coverage = sent.get("coverage")
    return ServiceAlerts(
        Wanted.from_dict(switches),
        {resource: AlertState.from_dict(state) for resource, state in sent.get("resources", {}).items()},
        CoverageState.from_dict(coverage) if coverage else None,
    )


def _written(alerts: ServiceAlerts) -> list[dict[str, Any]]:
    sent: dict[str, Any] = {"resources": {resource: state.as_dict() for resource, state in alerts.sent.items()}}
    if alerts.coverage is not None:
        sent["coverage"] = alerts.coverage.as_dict()
    return [dict(alerts.wanted.as_dict()), sent]
