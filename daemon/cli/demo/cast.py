"""Who rents what in the demo's month: two plans and four customers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon.sandbox.dci_load import Load

SYSTEM = "ISPsystem__Debian-12-x86_64"
SMALL, LARGE = "E3-1230-16G", "E5-2690-64G"
INCLUDED_TO_CLEO = 10 * 1024**4
"""Bytes out; as `included` of the large plan says it."""
RESOURCES = ("in", "out", "power", "energy", "burst_in_day", "burst_out_day")
MONTH_END = {"ds-small": datetime(2026, 3, 31, 22, tzinfo=UTC), "ds-large": datetime(2026, 4, 1, tzinfo=UTC)}
"""Of the plans' zones: Berlin has summer time by then."""
PLAN = """\
name: {name}
server_type: {type}
modules: [dci-main]
prices: {{EUR: {{month: "49.00"}}}}
addons: {{ostempl: {{billing: client_selects, values: [{system}], default: {system}}}}}
resources:
  in: {{}}
  out: {{{out}}}
  power: {{}}
  energy: {{}}
  burst_in_day: {{{burst}}}
  burst_out_day: {{{burst}}}
"""


@dataclass(frozen=True)
class Customer:
    name: str
    plan: str
    load: Load

    @property
    def email(self) -> str:
        return f"{self.name.lower()}@example.test"

    def order(self) -> dict[str, object]:
        return {
            "plan": self.plan,
            "customer": {"ref": f"C-{self.name}", "name": self.name, "email": self.email},
            "currency": "EUR",
            "period": "month",
            "hostname": f"{self.name.lower()}.example.test",
            "addons": {},
        }


ADA = Customer("Ada", "ds-small", Load(rx_mbit=3.3, tx_mbit=17.0, watts=96.4, seed=1))
BOB = Customer("Bob", "ds-small", Load(rx_mbit=41.0, tx_mbit=2.9, watts=104.1, seed=2))
CLEO = Customer("Cleo", "ds-large", Load(rx_mbit=12.1, tx_mbit=37.7, watts=288.8, seed=3))
DANA = Customer("Dana", "ds-small", Load(rx_mbit=1.7, tx_mbit=9.3, watts=88.0, seed=4))


def write_plans(folder: Path) -> None:
    small = PLAN.format(name="ds-small", type=SMALL, system=SYSTEM, out="", burst="") + "zone: Europe/Berlin\n"
    large = PLAN.format(
        name="ds-large",
        type=LARGE,
        system=SYSTEM,
        out="included: 10 TiB, alert_every: 1 TiB",
        burst="direction: larger",
    )
    (folder / "ds-small.yaml").write_text(small)
    (folder / "ds-large.yaml").write_text(large)
