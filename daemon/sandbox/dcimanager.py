"""DCImanager 5 in memory (docs/reference/contracts.md#dcimanager-5).

The functions stand in `dci_servers`, `dci_power`, `dci_addresses`, `dci_network` and `dci_reports`; this file holds what they
share: the servers, the panel's own address base, the month of its zone, and what a test may ask or change directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from daemon.sandbox.answers import PanelError, Value
from daemon.sandbox.clock import SandboxClock
from daemon.sandbox.dci_addresses import AddressFunctions
from daemon.sandbox.dci_load import Load, Running, Sent
from daemon.sandbox.dci_model import Address, Connection, Server
from daemon.sandbox.dci_network import NetworkFunctions
from daemon.sandbox.dci_power import PowerFunctions
from daemon.sandbox.dci_reports import ReportFunctions
from daemon.sandbox.dci_servers import ServerFunctions
from daemon.sandbox.faults import FaultBoard
from daemon.sandbox.ipmanager import Pools
from daemon.sandbox.panel import Call, Panel
from daemon.sandbox.users import UserFunctions

RACK_UNITS = 40


@dataclass(frozen=True)
class DciSettings:
    """How the panel behaves. Seconds are those of the sandbox's clock.

    `flag_delay` is how long after an accepted request its flags appear, `power_seconds` how long switching takes after that,
    `install_seconds` how long an install runs, `diag_seconds` how long diagnostics run when a server loses its owner.
    `save_trap` is "vendor" or "all": which left-out fields a form save erases.
    """

    flag_delay: float = 0.0
    power_seconds: float = 0.0
    install_seconds: float = 0.0
    diag_seconds: float = 0.0
    save_trap: str = "vendor"
    zone: str = "UTC"
    traffic_orig: bool = True
    burst_both: bool = True
    iplist_groups: bool = True
    single_as_object: bool = True
    templates: Sequence[str] = (
        "ISPsystem__Debian-12-x86_64",
        "ISPsystem__Ubuntu-24.04-x86_64",
        "ISPsystem__AlmaLinux-9-x86_64",
    )
    recipes: Sequence[str] = field(default=("ISPsystem__lamp", "#local__base"))


class DciPanel(Panel):
    """The model. `servers` is by id, in the panel's order; `base` is its own address base (used with an empty `ip`).

    `chassis` names the server types; the id of one is its place in the list, from 1.
    """

    kind = "dcimgr"

    def __init__(self, name: str, clock: SandboxClock, board: FaultBoard, base: Pools, settings: DciSettings) -> None:
        super().__init__(name, clock, board, single_as_object=settings.single_as_object)
        self.settings = settings
        self.base = base
        self.zone = ZoneInfo(settings.zone)
        self.servers: dict[str, Server] = {}
        self.ledger: dict[str, list[Sent]] = {}
        """By server, what loads have really sent."""
        self._loads: dict[str, Running] = {}
        self.racks: list[str] = ["R1", "R2"]
        self.chassis: list[str] = []
        self.used: dict[str, Server] = {}
        self.failing_installs = 0
        self._serial = 0
        self.functions = {
            **UserFunctions(self).table(),
            **ServerFunctions(self).table(),
            **PowerFunctions(self).table(),
            **AddressFunctions(self).table(),
            **NetworkFunctions(self).table(),
            **ReportFunctions(self).table(),
        }

    # what functions share -----------------------------------------------------------------------------------------------------

    def serial(self) -> int:
        """A new number, for addresses, connections, installs and requests."""
        self._serial += 1
        return self._serial

    def server(self, elid: str) -> Server:
        server = self.servers.get(elid)
        if server is None:
            raise PanelError("missed", "elid", elid, "The server was not found")
        return server

    def seen_by(self, call: Call) -> Iterator[Server]:
        """An administrator sees all servers, a user his own."""
        return (s for s in self.servers.values() if call.user.is_admin or s.owner == call.user.id)

    def server_for(self, call: Call, name: str = "elid") -> Server:
        server = self.server(call.need(name))
        if not call.user.is_admin and server.owner != call.user.id:
            raise PanelError("missed", "elid", server.id, "The server was not found")
        return server

    def owner_name(self, user_id: str) -> str:
        user = self.accounts.by_id.get(user_id)
        return user.name if user else ""

    def month(self) -> str:
        return f"{self.now().astimezone(self.zone):%Y-%m}"

    def put(self, server: Server, address: Address) -> Address:
        """Add an address; the first one becomes the main one. Raises PanelError `exists` where it is on a server already."""
        if address.ip in self.used:
            raise PanelError("exists", "ip", address.ip, "The address is in use")
        server.addresses.append(address)
        self.used[address.ip] = server
        server.main_ip = server.main_ip or address.ip
        return address

    def take_off(self, server: Server, address: Address) -> None:
        server.addresses.remove(address)
        self.used.pop(address.ip, None)
        if address.from_own_base:
            self.base.of(address.type, address.family).give_back(address.ip)

    # for the composition of a sandbox and for tests -----------------------------------------------------------------------------

    def add_server(self, server_type: str, main_ip: str, main_type: str, domain: str) -> Server:
        """A free server with a main address and three cables, racked next to the others."""
        number = len(self.servers)
        rack, unit = f"R{number // RACK_UNITS + 1}", number % RACK_UNITS + 1
        for name, known in ((rack, self.racks), (server_type, self.chassis)):
            if name not in known:
                known.append(name)
        server = Server(
            id=str(101 + number),
            name=f"{rack}U{unit:02d}",
            chassis_templ=server_type,
            type=server_type.split("-", maxsplit=1)[0],
            mac=f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            rack=rack,
            unit=str(unit),
            power=85.0,
        )
        self.servers[server.id] = server
        self.put(server, Address(str(self.serial()), main_ip, domain, main_type, "ipv4"))
        port = str(unit)
        server.connections = [
            Connection(f"{server.id}1", "Switch", f"sw-{rack}", port),
            Connection(f"{server.id}2", "PDU", f"pdu-{rack}", port, speed=0, on=False),
            Connection(
                f"{server.id}3",
                "IPMI",
                f"ipmi-{server.name}",
                "",
                speed=0,
                ip=f"10.0.{number >> 8 & 255}.{number & 255}",
            ),
        ]
        return server

    def send_traffic(self, server_id: str, rx: int, tx: int) -> None:
        """Bytes that went to (`rx`) and from (`tx`) a server just now."""
        self.settle()
        server = self.server(server_id)
        server.traffic.roll(self.month())
        server.traffic.add(rx, tx)

    def put_load(self, server_id: str, load: Load) -> None:
        """From now on the server sends and draws by itself as the clock passes, instead of what it did before."""
        self.settle()
        before = self._loads.get(server_id)
        if before is not None:
            before.stopped = True
        self._loads[server_id] = Running(self, self.server(server_id), load)
        self._loads[server_id].begin()

    def free_servers(self) -> list[Server]:
        """Servers that are free by the panel's own rule: no owner, the free name, and nothing wrong with them."""
        self.settle()
        return [
            s
            for s in self.servers.values()
            if not s.owner and s.hostname == "free.ds" and not (s.blocked or s.hwproblem or s.diagnosing)
        ]

    # faults and truth -------------------------------------------------------------------------------------------------------

    def forget_installs(self) -> None:
        """A restart that loses running installs: no flag, and the old system is still on the disk."""
        for server in self.servers.values():
            if server.install is not None:
                server.install.outcome, server.install.ended = "forgotten", self.now()
                server.install = None

    def fail_next_install(self) -> None:
        self.failing_installs += 1

    def wrong_result(self, call: Call) -> dict[str, Value]:
        if call.func == "user.edit" and not call.get("elid"):
            return {"id": "1"}
        if call.func == "iplist.edit" and not call.get("elid") and self.used:
            return {"ip": next(iter(self.used))}
        return {}

    def wrong_element(self, params: Mapping[str, str]) -> dict[str, str]:
        others = [elid for elid in self.servers if elid != params.get("elid")]
        return {"elid": others[0]} if params.get("elid") in self.servers and others else {}

    def state(self) -> dict[str, Any]:
        truth = super().state()
        month = self.month()
        for server in self.servers.values():
            server.traffic.roll(month)
        servers = [server.state(self.owner_name) for server in self.servers.values()]
        return truth | {"servers": servers, "pools": self.base.state()}
