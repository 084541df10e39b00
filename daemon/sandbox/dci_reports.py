"""Reports: traffic, burst, power (docs/reference/contracts.md#statistics).

Every report answers without `sok` and `period` as it does with them: clients send neither, either or both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.sandbox.answers import Document, Element, Row, Value, report, scaled
from daemon.sandbox.dci_model import Server
from daemon.sandbox.panel import Call, Function

if TYPE_CHECKING:
    from daemon.sandbox.dcimanager import DciPanel


class ReportFunctions:
    def __init__(self, panel: DciPanel) -> None:
        self.panel = panel

    def table(self) -> dict[str, Function]:
        reads = {
            "traffic": self.traffic,
            "trafficpie": self.pie,
            "trafficburstable": self.burst,
            "trafficburstable_pie": self.burst_pie,
            "powerconsumption": self.power,
            "currentdetails": self.details,
        }
        return {name: Function(run, admin=False) for name, run in reads.items()}

    def _rolled(self, call: Call) -> list[Server]:
        """The servers the caller sees, their totals those of the month that it is in the panel's zone."""
        month, servers = self.panel.month(), list(self.panel.seen_by(call))
        for server in servers:
            server.traffic.roll(month)
        return servers

    def traffic(self, call: Call) -> Document:
        """Running totals since the first of the month: `rx` towards the server, `tx` from it."""
        orig = self.panel.settings.traffic_orig
        rows: list[Row] = [
            {
                "id": server.id,
                "hostname": server.hostname,
                "rx": scaled(server.traffic.rx, with_orig=orig),
                "tx": scaled(server.traffic.tx, with_orig=orig),
            }
            for server in self._rolled(call)
        ]
        return report("traff", rows)

    def pie(self, call: Call) -> Document:
        orig = self.panel.settings.traffic_orig
        rows: list[Row] = [
            {"id": s.id, "hostname": s.hostname, "traff": scaled(s.traffic.rx + s.traffic.tx, with_orig=orig)}
            for s in self._rolled(call)
        ]
        return {"reportdata": {"trafficpie": {"elem": [{"traff": {"elem": rows}}]}}}

    def burst(self, call: Call) -> Document:
        rows: list[Row] = []
        for server in self._rolled(call):
            row: Row = {"id": server.id, "hostname": server.hostname}
            if self.panel.settings.burst_both:
                row |= {"burst_in": _number(server.burst_in), "burst_out": _number(server.burst_out)}
            else:
                row["burst"] = _number(max(server.burst_in, server.burst_out))
            rows.append(row)
        return report("burst", rows)

    def burst_pie(self, call: Call) -> Document:
        rows: list[Row] = [
            {"hostname": s.hostname, "burst": _number(max(s.burst_in, s.burst_out))} for s in self._rolled(call)
        ]
        return report("traff", rows)

    def power(self, call: Call) -> Document:
        rows: list[Row] = [
            {"id": s.id, "hostname": s.hostname, "power": _number(s.power if s.powered else 0.0)}
            for s in self._rolled(call)
        ]
        return report("power", rows)

    def details(self, call: Call) -> Document:
        server = self.panel.server_for(call)
        server.traffic.roll(self.panel.month())
        return report(
            "details",
            [{"name": "rx", "value": str(server.traffic.rx)}, {"name": "tx", "value": str(server.traffic.tx)}],
        )


def _number(value: float) -> Value:
    """Text rounded for people, the exact number in `orig`."""
    return Element(f"{value:.1f}", {"orig": f"{value:g}"})
