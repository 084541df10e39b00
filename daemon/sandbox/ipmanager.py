"""IPmanager 5 in memory: pools by type and family, and who holds which address (docs/reference/contracts.md#ipmanager-5).

Taking an address is `ip.edit` without `elid`, giving it back is `ip.delete`; both are what docs/reference/contracts.md#assumed
says where the vendor's documents are silent.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from daemon.sandbox.answers import Document, PanelError, Row, Value, done, listing, select
from daemon.sandbox.clock import SandboxClock
from daemon.sandbox.faults import FaultBoard
from daemon.sandbox.panel import Call, Function, Panel
from daemon.sandbox.sessions import Account
from daemon.sandbox.users import UserFunctions

IPV4, IPV6 = "ipv4", "ipv6"
FREE_NAME = "free.ds"


@dataclass(slots=True)
class Pool:
    """Addresses of one type and family: `size` of them from `first` on; the lowest free one is given out first."""

    type: str
    family: str
    first: int
    size: int
    _free: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._free = list(range(self.size))

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self) -> str:
        if not self._free:
            raise PanelError(
                "limit", "iptype", self.type, f"There is no free {self.family} address of the type {self.type}"
            )
        return self._text(heapq.heappop(self._free))

    def take_this(self, address: str) -> bool:
        """Take exactly `address`; False when it isn't one of the free ones."""
        index = self._index(address)
        if index is None or index not in self._free:
            return False
        self._free.remove(index)
        heapq.heapify(self._free)
        return True

    def give_back(self, address: str) -> None:
        index = self._index(address)
        if index is not None and index not in self._free:
            heapq.heappush(self._free, index)

    def _text(self, index: int) -> str:
        kind = ipaddress.IPv4Address if self.family == IPV4 else ipaddress.IPv6Address
        return str(kind(self.first + index))

    def _index(self, address: str) -> int | None:
        index = int(ipaddress.ip_address(address)) - self.first
        return index if 0 <= index < self.size else None


class Pools:
    """All pools of an installation, by type and family."""

    def __init__(self, pools: list[Pool] | None = None) -> None:
        self.pools = {(pool.type, pool.family): pool for pool in pools or []}

    def of(self, iptype: str, family: str) -> Pool:
        pool = self.pools.get((iptype, family))
        if pool is None:
            raise PanelError("missed", "iptype", iptype, f"There are no {family} addresses of the type {iptype}")
        return pool

    @property
    def types(self) -> list[str]:
        return sorted({iptype for iptype, _ in self.pools})

    def state(self) -> list[dict[str, Any]]:
        return [
            {
                "type": pool.type,
                "family": pool.family,
                "size": pool.size,
                "free": pool.free,
                "used": pool.size - pool.free,
            }
            for pool in self.pools.values()
        ]


@dataclass(slots=True)
class Held:
    """An address that an account holds."""

    address: str
    family: str
    type: str
    domain: str
    note: str
    holder: str
    since: datetime

    def state(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "family": self.family,
            "type": self.type,
            "domain": self.domain,
            "note": self.note,
            "holder": self.holder,
            "since": self.since.isoformat(),
        }


class IpPanel(Panel):
    """The model. `held` maps an address to its holder's record; `pools` knows what is left."""

    kind = "ipmgr"

    def __init__(
        self,
        name: str,
        clock: SandboxClock,
        board: FaultBoard,
        pools: Pools,
        *,
        single_as_object: bool = True,
        save_trap: str = "vendor",
    ) -> None:
        super().__init__(name, clock, board, single_as_object=single_as_object)
        self.pools = pools
        self.held: dict[str, Held] = {}
        self.erases_all = save_trap == "all"
        self.functions = {
            **UserFunctions(self).table(),
            "ip": Function(self._list, admin=False),
            "ip.edit": Function(self._edit, "sok", admin=False),
            "ip.delete": Function(self._delete, "always", admin=False),
        }

    # for tests and for the composition of a sandbox -------------------------------------------------------------------------

    def hold(self, iptype: str, family: str, domain: str, note: str, holder: Account) -> Held:
        """Take the next address of a pool. Raises PanelError `limit` when the pool is empty, `missed` without such a pool."""
        address = self.pools.of(iptype, family).take()
        return self._keep(Held(address, family, iptype, domain, note, holder.name, self.now()))

    def _keep(self, held: Held) -> Held:
        self.held[held.address] = held
        return held

    def free(self, iptype: str, family: str = IPV4) -> int:
        self.settle()
        return self.pools.of(iptype, family).free

    # functions --------------------------------------------------------------------------------------------------------------

    def _list(self, call: Call) -> Document:
        rows: list[Row] = [
            {"ip": held.address, "domain": held.domain, "iptype": held.type, "note": held.note}
            for held in self.held.values()
            if held.holder == call.user.name
        ]
        return listing(rows)

    def _edit(self, call: Call) -> Document:
        if not call.get("elid"):
            return self._take(call) if call.saving else self._form(Held("", IPV4, "public", "", "", "", self.now()))
        held = self._own(call.get("elid"), call.user)
        if not call.saving:
            return self._form(held)
        held.domain = call.get("domain", "" if self.erases_all else held.domain)
        held.note = call.get("note", "" if self.erases_all else held.note)
        return done(ip=held.address)

    def _form(self, held: Held) -> Document:
        form: Document = {
            "ip": held.address,
            "domain": held.domain,
            "iptype": held.type,
            "family": held.family,
            "note": held.note,
        }
        types = [(name, name) for name in self.pools.types]
        return form | {"slist": [select("family", [(IPV4, "IPv4"), (IPV6, "IPv6")]), select("iptype", types)]}

    def _take(self, call: Call) -> Document:
        family = call.get("family", IPV4).lower() or IPV4
        if family not in (IPV4, IPV6):
            raise PanelError("value", "family", family, "The family is ipv4 or ipv6")
        iptype = call.get("iptype") or "public"
        if call.get("ip"):
            return self._take_this(call, iptype, family)
        held = self.hold(iptype, family, call.get("domain"), call.get("note"), call.user)
        return done(ip=held.address)

    def _take_this(self, call: Call, iptype: str, family: str) -> Document:
        try:
            address = str(ipaddress.ip_address(call.get("ip")))
        except ValueError as error:
            raise PanelError("value", "ip", call.get("ip"), "This is no address") from error
        if not self.pools.of(iptype, family).take_this(address):
            raise PanelError("exists", "ip", address, "The address is taken or not of this type")
        held = Held(address, family, iptype, call.get("domain"), call.get("note"), call.user.name, self.now())
        return done(ip=self._keep(held).address)

    def _delete(self, call: Call) -> Document:
        for held in [self._own(elid, call.user) for elid in call.elids]:
            if self.held.pop(held.address, None) is not None:
                self.pools.of(held.type, held.family).give_back(held.address)
        return done()

    def _own(self, elid: str, user: Account) -> Held:
        """Another user's address is as missing as one that nobody holds."""
        held = self.held.get(elid)
        if held is None or held.holder != user.name:
            raise PanelError("missed", "elid", elid, "The address was not found")
        return held

    # faults and truth -------------------------------------------------------------------------------------------------------

    def wrong_result(self, call: Call) -> dict[str, Value]:
        """A take that took nothing names an address that is held already, if there is one."""
        if call.func == "ip.edit" and not call.get("elid") and self.held:
            return {"ip": next(iter(self.held))}
        return {}

    def wrong_element(self, params: Mapping[str, str]) -> dict[str, str]:
        others = [address for address in self.held if address != params.get("elid")]
        return {"elid": others[0]} if params.get("elid") and others else {}

    def state(self) -> dict[str, Any]:
        truth = super().state()
        return truth | {"pools": self.pools.state(), "held": [held.state() for held in self.held.values()]}
