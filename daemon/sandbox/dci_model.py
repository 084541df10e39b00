"""What a simulated DCImanager holds: servers with addresses, connections, installs and traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

FREE_NAME = "free.ds"
FORM_FIELDS = ("mac", "name", "notes", "type", "owner", "chassistempl", "rack", "unit", "hwproblem")
"""Fields of the server's form that a save writes; `ip` comes on top, and `hostname`, `disabled` are shown only."""
VENDOR_ERASES = frozenset({"mac", "name", "notes", "type", "owner"})


@dataclass(slots=True)
class Address:
    id: str
    ip: str
    domain: str
    type: str
    family: str
    from_own_base: bool = False


@dataclass(slots=True)
class Connection:
    """A server's cable: `type` is Switch, PDU or IPMI. `busy` counts the switchings that are under way."""

    id: str
    type: str
    device: str
    port: str
    speed: int = 1000
    on: bool = True
    busy: int = 0
    ip: str = ""


@dataclass(slots=True)
class Install:
    """One accepted install; `outcome` is waiting, running, done, failed, cancelled or forgotten."""

    id: int
    template: str
    recipe: str
    password_sha256: str
    requested: datetime
    hostname: str
    ip: str
    fails: bool = False
    started: datetime | None = None
    ended: datetime | None = None
    outcome: str = "waiting"

    def state(self) -> dict[str, Any]:
        moments = {"requested": self.requested, "started": self.started, "ended": self.ended}
        return {
            "id": self.id,
            "template": self.template,
            "recipe": self.recipe,
            "password_sha256": self.password_sha256,
            "hostname": self.hostname,
            "ip": self.ip,
            "outcome": self.outcome,
            **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
        }


@dataclass(slots=True)
class Traffic:
    """Running totals of a server in the panel's calendar month, and of all months by "2026-01"."""

    month: str = ""
    rx: int = 0
    tx: int = 0
    history: dict[str, tuple[int, int]] = field(default_factory=dict)
    sent_rx: int = 0
    sent_tx: int = 0

    def roll(self, month: str) -> None:
        """A new month begins at zero."""
        if self.month == month:
            return
        if self.month:
            self.history[self.month] = (self.rx, self.tx)
        self.month, self.rx, self.tx = month, 0, 0

    def add(self, rx: int, tx: int) -> None:
        self.rx += rx
        self.tx += tx
        self.sent_rx += rx
        self.sent_tx += tx

    def state(self) -> dict[str, Any]:
        months = {month: {"rx": rx, "tx": tx} for month, (rx, tx) in self.history.items()}
        sent = {"sent_rx": self.sent_rx, "sent_tx": self.sent_tx}
        return {"month": self.month, "rx": self.rx, "tx": self.tx, "history": months, **sent}


@dataclass(slots=True)
class Server:
    """A machine in a rack. `switching` is the number of the last power request: an older one that ends later changes nothing."""

    id: str
    name: str
    chassis_templ: str
    type: str
    mac: str
    rack: str
    unit: str
    main_ip: str = ""
    owner: str = ""
    notes: str = ""
    addresses: list[Address] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    powered: bool = False
    power_error: bool = False
    disabled: bool = False
    blocked: bool = False
    hwproblem: bool = False
    diagnosing: int = 0
    operation_failed: bool = False
    ostemplate: str = ""
    recipe: str = ""
    install: Install | None = None
    install_log: list[Install] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    burst_in: float = 0.0
    burst_out: float = 0.0
    power: float = 0.0
    switching: int = 0
    blocking: int = 0

    @property
    def main(self) -> Address | None:
        return next((address for address in self.addresses if address.ip == self.main_ip), None)

    @property
    def hostname(self) -> str:
        """Follows the name on the main address."""
        main = self.main
        return main.domain if main else ""

    @property
    def installing(self) -> bool:
        return self.install is not None and self.install.outcome == "running"

    def flags(self) -> list[str]:
        """Names of the flags that stand in its row; a flag that is not set is not there at all."""
        power = "powererror" if self.power_error else "poweron" if self.powered else "poweroff"
        others = {
            "disabled": self.disabled,
            "blocked": self.blocked,
            "hwproblem": self.hwproblem,
            "diag_in_progress": bool(self.diagnosing),
            "install_in_progress": self.installing,
            "operation_failed": self.operation_failed,
        }
        return [power, *(name for name, there in others.items() if there)]

    def state(self, owner_name: Callable[[str], str]) -> dict[str, Any]:
        """Shape: see the table of the state door in this folder's README."""
        iplist = [
            {"id": a.id, "ip": a.ip, "domain": a.domain, "type": a.type, "family": a.family} for a in self.addresses
        ]
        cables = [
            {"id": c.id, "type": c.type, "port": c.port, "speed": c.speed, "on": c.on, "func_in_progress": bool(c.busy)}
            for c in self.connections
        ]
        return {
            "id": self.id,
            "name": self.name,
            "hostname": self.hostname,
            "ip": self.main_ip,
            "owner": owner_name(self.owner) or None,
            "owner_id": self.owner or None,
            "notes": self.notes,
            "type": self.type,
            "chassis_templ": self.chassis_templ,
            "mac": self.mac,
            "flags": self.flags(),
            "power": "error" if self.power_error else "on" if self.powered else "off",
            "iplist": iplist,
            "connections": cables,
            "os": self.ostemplate or None,
            "recipe": self.recipe or None,
            "installs": [install.state() for install in self.install_log],
            "traffic": self.traffic.state(),
        }
