"""Functions `iplist`, `iplist.edit`, `iplist.delete`, `ipdb.edit` (docs/reference/contracts.md#addresses-of-a-server)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from daemon.sandbox.answers import Document, PanelError, Row, done, listing, select
from daemon.sandbox.dci_model import Address, Server
from daemon.sandbox.ipmanager import IPV4, IPV6, Pool
from daemon.sandbox.panel import Call, Function

if TYPE_CHECKING:
    from daemon.sandbox.dcimanager import DciPanel


class AddressFunctions:
    def __init__(self, panel: DciPanel) -> None:
        self.panel = panel

    def table(self) -> dict[str, Function]:
        return {
            "iplist": Function(self.list, admin=False),
            "iplist.edit": Function(self.edit, "sok", admin=False),
            "iplist.delete": Function(self.delete, "always"),
            "ipdb.edit": Function(self.add_pool, "sok"),
        }

    def list(self, call: Call) -> Document:
        """Rows stand under a heading row for each address type, as in the panel's table (`type=group`)."""
        server = self.panel.server_for(call)
        rows: list[Row] = []
        for iptype in dict.fromkeys(address.type for address in server.addresses):
            if self.panel.settings.iplist_groups:
                rows.append({"id": f"group_{iptype}", "name": iptype, "type": "group"})
            rows += [{"id": a.id, "ip": a.ip, "domain": a.domain} for a in server.addresses if a.type == iptype]
        return listing(rows)

    def edit(self, call: Call) -> Document:
        elid = call.get("elid")
        if not call.saving:
            return self._form(self._find(call, elid)[1] if elid else Address("", "", "", "public", IPV4))
        if not elid:
            if not call.user.is_admin:
                raise PanelError("access", "func", call.func, "You have no right to do this")
            return self._add(self.panel.server_for(call, "plid"), call)
        address = self._find(call, elid)[1]
        address.domain = call.get("domain", "" if self.panel.settings.save_trap == "all" else address.domain)
        return done(ip=address.ip)

    def _form(self, address: Address) -> Document:
        form: Document = {"ip": address.ip, "domain": address.domain, "family": address.family, "iptype": address.type}
        types = [(name, name) for name in self.panel.base.types]
        return form | {"slist": [select("family", [(IPV4, "IPv4"), (IPV6, "IPv6")]), select("iptype", types)]}

    def _find(self, call: Call, elid: str) -> tuple[Server, Address]:
        """`plid` may be left out; an address of another server is as missing as none."""
        servers = [self.panel.server_for(call, "plid")] if call.get("plid") else list(self.panel.seen_by(call))
        for server in servers:
            for address in server.addresses:
                if address.id == elid:
                    return server, address
        raise PanelError("missed", "elid", elid, "The address was not found")

    def _add(self, server: Server, call: Call) -> Document:
        family = call.get("family", IPV4).lower() or IPV4
        if family not in (IPV4, IPV6):
            raise PanelError("value", "family", family, "The family is ipv4 or ipv6")
        iptype, domain = call.get("iptype") or "public", call.get("domain")
        ip = _parsed(call.get("ip"), family) if call.get("ip") else self._pick(iptype, family)
        own = not call.get("ip")
        address = self.panel.put(
            server, Address(str(self.panel.serial()), ip, domain, iptype, family, from_own_base=own)
        )
        return done(id=address.id, ip=address.ip)

    def _pick(self, iptype: str, family: str) -> str:
        """The next address of the panel's own base that isn't on a server by another way."""
        pool = self.panel.base.of(iptype, family)
        ip = pool.take()
        while ip in self.panel.used:
            ip = pool.take()
        return ip

    def delete(self, call: Call) -> Document:
        found = [self._find(call, elid) for elid in call.elids]
        for server, address in found:
            if address.ip == server.main_ip:
                raise PanelError("main_ip", "ip", address.ip, "The main address can't be deleted")
        for server, address in found:
            self.panel.take_off(server, address)
        return done()

    def add_pool(self, call: Call) -> Document:
        """A network for the panel's own base, of the type `iptype` (public if not given)."""
        if not call.saving:
            return {"range": "", "netmask": "", "gateway": "", "iptype": "public"}
        try:
            network = ipaddress.ip_network(call.need("range"), strict=False)
        except ValueError as error:
            raise PanelError("value", "range", call.get("range"), "This is no network") from error
        family, iptype = f"ipv{network.version}", call.get("iptype") or "public"
        hosts = max(1, min(network.num_addresses - 2, 65536))
        self.panel.base.pools[iptype, family] = Pool(iptype, family, int(network.network_address) + 1, hosts)
        return done(id=str(self.panel.serial()))


def _parsed(text: str, family: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise PanelError("value", "ip", text, "This is no address") from error
    if f"ipv{address.version}" != family:
        raise PanelError("value", "family", family, "The address is of the other family")
    return str(address)
