"""Readings of a server's counters at the edges of a service's life: never another customer's traffic, never the time after."""

from __future__ import annotations

from typing import Any

from daemon.provisioning.journal import Journal
from daemon.provisioning.outcomes import Json
from daemon.provisioning.server import ServerSteps
from daemon.provisioning.workflow import Metering

TRAFFIC = "traffic"
METRICS = ("in", "out")
TRIES = 3
"""A report may leave a server out that had no traffic: after so many looks the reading counts as missing. It may also show a row
under another host name: once that is a mix-up, always it is how this platform names its rows."""


async def read_counters(
    name: str, journal: Journal, steps: ServerSteps, service_id: int, hostname: str, metering: Metering
) -> dict[str, Any]:
    """Read the server's running totals and keep them as a sample; {"at", "in", "out"}, or {"at", "missing": true}.

    A module without a traffic report has none to give: nothing is known of what its servers used before or after.
    """
    if all(report.name != TRAFFIC for report in steps.module.reports()):
        return {"at": journal.clock.now().isoformat(), "missing": True}

    async def check(memory: dict[str, Any]) -> Json:
        at = journal.clock.now()
        report = await steps.module.measure(TRAFFIC, at)
        found = {code: report.values[code].get(steps.remote_id) for code in METRICS}
        totals = {code: total for code, total in found.items() if total is not None}
        name = report.hostnames.get(steps.remote_id, "")
        memory["tries"] = memory.get("tries", 0) + 1
        if len(totals) == len(METRICS) and (name in ("", hostname) or memory["tries"] >= TRIES):
            # Before the step's outcome: a reading too many is one more sample, a missing one is traffic of nobody.
            await metering.keep(service_id, steps.carrier.name, at, totals)
            return {"at": at.isoformat(), **totals}
        return {"at": at.isoformat(), "missing": True} if memory["tries"] >= TRIES else None

    settings = steps.carrier.settings
    reading: dict[str, Any] = await journal.until(
        name,
        check,
        limits=steps.carrier.limits,
        every=settings.watch_every,
        reason="the server's counters",
        ordinal=steps.base,
    )
    return reading
