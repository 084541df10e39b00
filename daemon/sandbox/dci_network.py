"""Connections, switches, PDUs and racks (docs/reference/contracts.md#dcimanager-5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from daemon.sandbox.answers import Document, Element, PanelError, Row, done, flag, listing
from daemon.sandbox.dci_model import Connection, Server
from daemon.sandbox.dci_power import switch_cables
from daemon.sandbox.panel import Call, Function

if TYPE_CHECKING:
    from daemon.sandbox.dcimanager import DciPanel


class NetworkFunctions:
    def __init__(self, panel: DciPanel) -> None:
        self.panel = panel

    def table(self) -> dict[str, Function]:
        return {
            "server.connection": Function(self.connections, admin=False),
            "server.connection.edit": Function(self.edit, "sok"),
            "server.connection.on": Function(self.on, "always"),
            "server.connection.off": Function(self.off, "always"),
            "server.connection.connwizport": Function(self.add_port, "sok"),
            "server.connection.connwizipmi": Function(self.add_ipmi, "sok"),
            "server.connection.autocreateipmi": Function(self.add_ipmi, "sok"),
            "rack": Function(self.racks),
            "switch": Function(lambda _: self._devices("sw")),
            "pdu": Function(lambda _: self._devices("pdu")),
            "switch.port": Function(self.switch_ports),
            "switch.port.edit": Function(self.port_edit, "sok"),
            "switch.port.refresh": Function(self.port_refresh, "always"),
            "switch.port.on": Function(self.on, "always"),
            "switch.port.off": Function(self.off, "always"),
            "pdu.port": Function(self.pdu_ports),
            "pdu.on": Function(self.on, "always"),
            "pdu.off": Function(self.off, "always"),
            "ipmiredirect": Function(self.ipmi_link, admin=False),
        }

    # cables -------------------------------------------------------------------------------------------------------------------

    def connections(self, call: Call) -> Document:
        rows: list[Row] = []
        for cable in self.panel.server_for(call).connections:
            row: Row = {"id": cable.id, "type": cable.type, "device": cable.device, "port": cable.port}
            row["status"] = flag(cable.on)
            if cable.busy:
                row["func_in_progress"] = ""
            rows.append(row)
        return listing(rows)

    def edit(self, call: Call) -> Document:
        cable = self._cable(call.need("elid"), call.get("plid"))
        if call.saving:
            if call.get("speed"):
                cable.speed = _whole(call, "speed")
            return done()
        form: Document = {"elid": cable.id, "type": cable.type, "device": cable.device}
        return form | ({"ip": cable.ip} if cable.type == "IPMI" else {"port": cable.port, "speed": str(cable.speed)})

    def on(self, call: Call) -> Document:
        return self._switch(call, on=True)

    def off(self, call: Call) -> Document:
        return self._switch(call, on=False)

    def _switch(self, call: Call, *, on: bool) -> Document:
        """A port's id is that of the cable in it, so that ports and connections are switched by one function."""
        cables = [self._cable(elid, call.get("plid")) for elid in call.elids]
        settings = self.panel.settings
        switch_cables(self.panel, cables)

        def end() -> None:
            for cable in cables:
                cable.on = on

        self.panel.later(settings.flag_delay + settings.power_seconds, end)
        return done()

    def _cable(self, elid: str, plid: str) -> Connection:
        servers = [self.panel.server(plid)] if plid in self.panel.servers else list(self.panel.servers.values())
        for server in servers:
            for cable in server.connections:
                if cable.id == elid:
                    return cable
        raise PanelError("missed", "elid", elid, "The connection was not found")

    def add_port(self, call: Call) -> Document:
        return self._add_cable(call, Connection("", "Switch", call.get("switch"), call.get("port")))

    def add_ipmi(self, call: Call) -> Document:
        return self._add_cable(call, Connection("", "IPMI", "ipmi", "", speed=0, ip=call.get("ip")))

    def _add_cable(self, call: Call, cable: Connection) -> Document:
        server = self.panel.server(call.need("plid"))
        if not call.saving:
            return {"plid": server.id, "switch": "", "port": "", "ip": ""}
        numbers = [int(other.id.removeprefix(server.id) or 0) for other in server.connections]
        cable.id = f"{server.id}{max(numbers, default=0) + 1}"
        server.connections.append(cable)
        return done(id=cable.id)

    # devices --------------------------------------------------------------------------------------------------------------------

    def racks(self, call: Call) -> Document:
        del call
        return listing([{"id": str(number), "name": name} for number, name in enumerate(self.panel.racks, 1)])

    def _devices(self, prefix: str) -> Document:
        """One switch and one PDU in each rack, with the rack's id."""
        rows: list[Row] = [
            {
                "id": str(number),
                "name": f"{prefix}-{rack}",
                "ip": f"10.1.{number >> 8}.{number & 255}",
                "rack": rack,
                "rack_id": str(number),
            }
            for number, rack in enumerate(self.panel.racks, 1)
        ]
        return listing(rows)

    def _plugged(self, call: Call, kind: str, prefix: str) -> Iterator[tuple[Server, Connection]]:
        number = call.need("elid")
        if not number.isdecimal() or not 1 <= int(number) <= len(self.panel.racks):
            raise PanelError("missed", "elid", number, "The device was not found")
        device = f"{prefix}-{self.panel.racks[int(number) - 1]}"
        for server in self.panel.servers.values():
            for cable in server.connections:
                if cable.type == kind and cable.device in (device, number):
                    yield server, cable

    def switch_ports(self, call: Call) -> Document:
        rows: list[Row] = [
            {
                "id": c.id,
                "identity": f"{c.device}.{c.port}",
                "descr": c.port,
                "serverhname": s.hostname,
                "status": flag(c.on),
            }
            for s, c in self._plugged(call, "Switch", "sw")
        ]
        return listing(rows)

    def pdu_ports(self, call: Call) -> Document:
        rows: list[Row] = [
            {"id": c.id, "identity": f"{c.device}.{c.port}", "serverhname": s.hostname, "power": "1" if c.on else "0"}
            for s, c in self._plugged(call, "PDU", "pdu")
        ]
        return listing(rows)

    def port_edit(self, call: Call) -> Document:
        cable = self._cable(call.need("elid"), "")
        return done() if call.saving else {"elid": cable.id, "descr": cable.port, "vlan": ""}

    def port_refresh(self, call: Call) -> Document:
        call.need("elid")
        return done()

    def ipmi_link(self, call: Call) -> Document:
        server = self.panel.server_for(call)
        return {"ok": Element(f"https://ipmi.example.test/{server.name}", {"type": "url"})}


def _whole(call: Call, name: str) -> int:
    if not call.get(name).isdecimal():
        raise PanelError("value", name, call.get(name), "A whole number is expected")
    return int(call.get(name))
