"""Functions `server`, `server.edit`, `osmgr`, `chassistempl` (docs/reference/contracts.md#servers)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from daemon.sandbox.answers import Document, Element, PanelError, Row, done, flag, listing, select
from daemon.sandbox.dci_model import FORM_FIELDS, FREE_NAME, VENDOR_ERASES, Address, Server
from daemon.sandbox.panel import Call, Function

if TYPE_CHECKING:
    from daemon.sandbox.dcimanager import DciPanel

NO_OWNER = "no_owner"


class ServerFunctions:
    def __init__(self, panel: DciPanel) -> None:
        self.panel = panel

    def table(self) -> dict[str, Function]:
        return {
            "server": Function(self.servers, admin=False),
            "server.edit": Function(self.edit, "sok"),
            "osmgr": Function(self.templates, admin=False),
            "chassistempl": Function(self.types),
        }

    # the list ---------------------------------------------------------------------------------------------------------------

    def servers(self, call: Call) -> Document:
        if call.get("hint_field"):
            return self._hint(call)
        return listing([self._row(server) for server in self.panel.seen_by(call)])

    def _row(self, server: Server) -> Row:
        row: Row = {
            "id": server.id,
            "name": server.name,
            "hostname": server.hostname,
            "ip": server.main_ip,
            "type": server.type,
            "chassis_templ": server.chassis_templ,
            "gen_chassis_name": f"{server.chassis_templ} 1U" if server.chassis_templ else "",
            "rack": f"{server.rack} unit {server.unit}",
            "ipmi": "on",
        }
        if server.owner:
            row["owner"] = self.panel.owner_name(server.owner)
        for name in server.flags():
            row[name] = ""
        return row

    def _hint(self, call: Call) -> Document:
        """The progress text that the web interface shows over a flag."""
        server = self.panel.server_for(call)
        field = call.get("hint_field")
        if field not in server.flags():
            return {"value": ""}
        install = server.install
        return {"value": f"Installing {install.template}" if install and field == "install_in_progress" else field}

    def templates(self, call: Call) -> Document:
        del call
        rows: list[Row] = [
            {"id": template, "name": template.partition("__")[2], "repository": template.partition("__")[0]}
            for template in self.panel.settings.templates
        ]
        return listing(rows)

    def types(self, call: Call) -> Document:
        del call
        return listing([{"id": str(number), "name": name} for number, name in enumerate(self.panel.chassis, 1)])

    # the form ---------------------------------------------------------------------------------------------------------------

    def edit(self, call: Call) -> Document:
        if not call.get("elid"):
            return self._create(call) if call.saving else self._form(Server("", "", "", "", "", "R1", ""))
        server = self.panel.server(call.get("elid"))
        return self._save(server, call) if call.saving else self._form(server)

    def _form(self, server: Server) -> Document:
        form: Document = {
            "elid": server.id,
            "name": server.name,
            "mac": server.mac,
            "notes": server.notes,
            "type": server.type,
            "chassistempl": self._chassis_id(server.chassis_templ),
            "owner": server.owner or NO_OWNER,
            "hostname": server.hostname,
            "ip": server.main_ip,
            "rack": server.rack,
            "unit": server.unit,
            "hwproblem": flag(server.hwproblem),
        }
        if server.disabled:
            form["disabled"] = "on"
        return form | {"slist": self._choices(server)}

    def _choices(self, server: Server) -> list[Element]:
        owners = [(NO_OWNER, "-- no owner --"), *((user.id, user.name) for user in self.panel.accounts.by_id.values())]
        chassis = [(str(number), name) for number, name in enumerate(self.panel.chassis, 1)]
        return [
            select("owner", owners),
            select("chassistempl", chassis),
            select("ip", [(address.ip, address.ip) for address in server.addresses]),
        ]

    def _chassis_id(self, name: str) -> str:
        chassis = self.panel.chassis
        return str(chassis.index(name) + 1) if name in chassis else ""

    def _chassis_name(self, elid: str) -> str:
        chassis = self.panel.chassis
        if not elid or elid == "null":
            return ""
        if not elid.isdecimal() or not 1 <= int(elid) <= len(chassis):
            raise PanelError("value", "chassistempl", elid, "There is no such server type")
        return chassis[int(elid) - 1]

    def _save(self, server: Server, call: Call) -> Document:
        """A form submit: a left-out field may be erased, which is the trap this panel exists to show.

        In the mode "vendor" that happens to mac, name, notes, type and owner, in the mode "all" to every field of the form.
        The main address stays in both: a server can't be without one, so an empty or absent `ip` changes nothing.
        """
        wanted = self._checked(server, call)
        had_owner = server.owner
        for name, value in wanted.items():
            _write(server, name, value)
        if call.get("ip"):
            server.main_ip = call.get("ip")
        if had_owner and not server.owner:
            self._diagnose(server)
        return done()

    def _checked(self, server: Server, call: Call) -> dict[str, str]:
        """The values to write; everything is checked before anything is written."""
        erased = frozenset(FORM_FIELDS) if self.panel.settings.save_trap == "all" else VENDOR_ERASES
        wanted = {name: call.get(name) for name in FORM_FIELDS if name in call.params or name in erased}
        if "owner" in wanted:
            wanted["owner"] = self._owner(wanted["owner"])
        if "chassistempl" in wanted:
            wanted["chassistempl"] = self._chassis_name(wanted["chassistempl"])
        address = call.get("ip")
        if address and address not in {held.ip for held in server.addresses}:
            raise PanelError("value", "ip", address, "The address is not on this server")
        return wanted

    def _owner(self, owner: str) -> str:
        if owner in ("", NO_OWNER):
            return ""
        if owner not in self.panel.accounts.by_id:
            raise PanelError("value", "owner", owner, "There is no such user")
        return owner

    def _diagnose(self, server: Server) -> None:
        """A server that lost its owner is looked over by the panel's own policy."""
        seconds = self.panel.settings.diag_seconds
        if seconds <= 0:
            return
        server.diagnosing += 1

        def end() -> None:
            server.diagnosing -= 1

        self.panel.later(seconds, end)

    def _create(self, call: Call) -> Document:
        """Only what clients send who register machines: name, mac, types, notes, rack, unit, hostname and a main address."""
        server = Server(
            "",
            call.get("name"),
            self._chassis_name(call.get("chassistempl")),
            call.get("type"),
            "",
            call.get("rack"),
            "",
        )
        wanted = self._checked(server, Call(call.func, {**call.params, "ip": ""}, call.user))
        for name, value in wanted.items():
            _write(server, name, value)
        server.id = str(max((int(elid) for elid in self.panel.servers), default=100) + 1)
        address = self._first_address(call)
        self.panel.servers[server.id] = server
        self.panel.put(server, address)
        return done(id=server.id)

    def _first_address(self, call: Call) -> Address:
        iptype, domain, asked = call.get("ip_block") or "public", call.get("hostname") or FREE_NAME, call.get("ip")
        if not asked:
            ip = self.panel.base.of(iptype, "ipv4").take()
            return Address(str(self.panel.serial()), ip, domain, iptype, "ipv4", from_own_base=True)
        try:
            address = ipaddress.ip_address(asked)
        except ValueError as error:
            raise PanelError("value", "ip", asked, "This is no address") from error
        if str(address) in self.panel.used:
            raise PanelError("exists", "ip", asked, "The address is in use")
        return Address(str(self.panel.serial()), str(address), domain, iptype, f"ipv{address.version}")


def _write(server: Server, name: str, value: str) -> None:
    if name == "chassistempl":
        server.chassis_templ = value
    elif name == "hwproblem":
        server.hwproblem = value == "on"
    else:
        setattr(server, name, value)
