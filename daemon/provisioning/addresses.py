"""Addresses of a server: taken under a key, put on it, made its main one, parked and given back.

The ledger row is written with the intent, so that no answer that is lost can lose an address. An address goes back to its IPAM only
after the platform shows that the server has lost it.
"""

from __future__ import annotations

from typing import Any

from daemon.domain.address import AddressState, Role
from daemon.domain.errors import Capacity, ConfigError
from daemon.ipam.base import Ipam
from daemon.modules.base import Part, RemoteAddress
from daemon.provisioning.journal import WithResult
from daemon.provisioning.outcomes import Found, Json, NotThere, Seen
from daemon.provisioning.server import ServerSteps
from daemon.provisioning.wanted import Wanted
from daemon.store.repositories import Repositories

WITNESSES = 5


class AddressSteps:
    """The address steps of one operation on one server."""

    def __init__(self, steps: ServerSteps, service_id: int, hostname: str, key: str, beside: str = "") -> None:
        """`key`: of the operation, so that no two of them share the key of an address. `beside`: an address that is on the server."""
        self.steps = steps
        self.service_id = service_id
        self.hostname = hostname
        self._key = key
        self._beside = beside
        self._journal = steps.journal
        self._carrier = steps.carrier

    @property
    def ipam(self) -> Ipam:
        if self._carrier.ipam is None:
            raise ConfigError("no_ipam", f"module {self._carrier.name} has no IPAM")
        return self._carrier.ipam

    def key(self, ordinal: int, prefix: str = "") -> str:
        """Key of an address: the same step of the same operation always has the same one."""
        return f"{self._key}-{prefix}{self.steps.base + ordinal}"

    # giving -------------------------------------------------------------------------------------------------------------------

    async def add(self, wanted: Wanted, ordinal: int, missing: int = 1) -> str:
        """Take an address and put it on the server; the address. `missing`: how many of its kind the order still needs."""
        key = self.key(ordinal)
        address = await self._take("take", key, wanted, self.hostname, ordinal, undo=True, missing=missing)
        await self._put("put", address, wanted.address_type, wanted.family, self.hostname, ordinal, undo=True)
        return address

    async def unpark(self, main: str, parking: str) -> None:
        """Make `main` the main address and give the parking address back, after the change is verified."""

        async def park_again(_result: Json) -> None:
            await self._park_again(parking)

        await self._set_main("main", main, undo=park_again)
        if parking:
            await self.remove("unpark", parking)
            await self.give_back_noted("give-back-parking", parking)

    # taking away --------------------------------------------------------------------------------------------------------------

    async def remove(self, name: str, address: str, ordinal: int = 0) -> None:
        """Take an address off the server and see it gone."""

        async def call() -> Json:
            if self._carrier.by_hand:
                await self.steps.module.remove_address(self.steps.remote_id, RemoteAddress(address, address, ""))
                return None
            view = await self.steps.view(Part.ADDRESSES)
            listed = view.address(address)
            if listed is not None:
                await self.steps.module.remove_address(self.steps.remote_id, listed)
            return None

        await self.steps.make(name, call, lambda v: v.address(address) is None, Part.ADDRESSES, ordinal=ordinal)

    async def give_back(
        self, name: str, address: str, note: str, ordinal: int = 0, effects: WithResult | None = None
    ) -> None:
        """Give an address back to the IPAM, and see that it is not ours any more.

        Only while it still carries `note`: with another note it is somebody else's by now, and ours is gone.
        """

        async def ours() -> bool:
            held = await self.ipam.holds(address)
            return held is not None and held.note == note

        async def call() -> Json:
            if await ours():
                await self.ipam.give_back(address)

        async def seen() -> Seen:
            return NotThere() if await ours() else Found()

        await self._journal.step(
            name,
            call,
            seen=seen,
            limits=self._carrier.ipam_limits,
            ordinal=self.steps.base + ordinal,
            effects=effects,
            confirm=True,
        )

    async def give_back_noted(self, name: str, parking: str) -> None:
        """Give a parking address back. Somebody else may have put it there, so its note is read first and kept."""

        async def read() -> Json:
            held = await self.ipam.holds(parking)
            return None if held is None else held.note

        async def effects(tx: Repositories, _result: Json) -> None:
            await tx.allocations.release_parked(self._carrier.name, self.steps.remote_id, parking)

        limits, base = self._carrier.ipam_limits, self.steps.base
        note = await self._journal.look(f"{name}:note", read, limits=limits, ordinal=base)
        if note is None:  # nobody holds it any more
            await self._journal.note(name, base, {}, effects)
        else:
            await self.give_back(name, parking, note, effects=effects)

    async def park(self, prefix: str = "", own: str | None = None) -> str:
        """Change the main address into a fresh one of the parking type; the parking address."""
        parking_type = self._carrier.settings.parking_ip_type
        assert parking_type is not None
        wanted = Wanted("ipv4", parking_type, Role.MAIN)
        free = self.steps.module.free_hostname
        address = own or await self._take(f"{prefix}take-parking", self.key(0, "p"), wanted, free, 0, undo=False)
        await self._put(f"{prefix}put-parking", address, parking_type, "ipv4", free, 0, undo=False)
        await self._set_main(f"{prefix}park", address)
        return address

    async def _park_again(self, old: str) -> None:
        """Undo of `unpark`: back to the old parking address as long as it is ours, else to a fresh one."""
        gone = not old or self._journal.begun("give-back-parking", self.steps.base)
        address = await self.park("undo:", None if gone else old)

        async def parked(tx: Repositories, _result: Json) -> None:
            if gone:
                await tx.allocations.set_state(self.key(0, "p"), AddressState.PARKED)

        if gone:
            await self._journal.note("undo:parked", self.steps.base, {"address": address}, parked)

    # inside -------------------------------------------------------------------------------------------------------------------

    async def _witnesses(self) -> list[str]:
        """Addresses that the IPAM's list must show before it may prove that another one is not there."""
        live = await self._journal.store.read.allocations.live_in(self.ipam.name, WITNESSES)
        return [*live, *([self._beside] if self._beside else [])]

    async def _take(
        self, name: str, key: str, wanted: Wanted, hostname: str, ordinal: int, *, undo: bool, missing: int = 1
    ) -> str:
        ipam = self.ipam

        async def call() -> Json:
            family, kind = wanted.family, wanted.address_type
            try:
                address = await ipam.take(family=family, address_type=kind, hostname=hostname, key=key)
            except Capacity as empty:
                text = "1 more is needed" if missing == 1 else f"{missing} more are needed"
                raise Capacity(empty.code, f"{empty.message}; {text}", **empty.context, missing=missing) from None
            return {"address": address, "key": key}

        async def seen() -> Seen:
            held = await ipam.find(key, await self._witnesses())
            return Found({"address": held.address, "key": key}) if held else NotThere()

        async def prepare(tx: Repositories) -> None:
            await tx.allocations.hold(
                key,
                service_id=self.service_id,
                operation_id=self._journal.operation.id,
                ipam=ipam.name,
                family=wanted.family,
                address_type=wanted.address_type,
                role=wanted.role,
                module=self._carrier.name,
                remote_id=self.steps.remote_id,
            )

        async def fill(tx: Repositories, result: Json) -> None:
            await tx.allocations.fill(key, result["address"])

        async def give_back(result: dict[str, Any]) -> None:
            async def effects(tx: Repositories, _result: Json) -> None:
                await tx.allocations.set_state(key, AddressState.RELEASED)

            await self.give_back(f"undo:{name}", result["address"], key, ordinal, effects)

        result = await self._journal.step(
            name,
            call,
            seen=seen,
            limits=self._carrier.ipam_limits,
            ordinal=self.steps.base + ordinal,
            prepare=prepare,
            effects=fill,
            undo=give_back if undo else None,
        )
        address: str = result["address"]
        return address

    async def _put(
        self, name: str, address: str, address_type: str, family: str, hostname: str, ordinal: int, *, undo: bool
    ) -> None:
        async def take_off(_result: Json) -> None:
            await self.remove(f"undo:{name}", address, ordinal)

        await self.steps.make(
            name,
            lambda: self.steps.module.put_address(self.steps.remote_id, address, address_type, family, hostname),
            lambda v: v.address(address) is not None,
            Part.ADDRESSES,
            ordinal=ordinal,
            undo=take_off if undo else None,
        )

    async def _set_main(self, name: str, address: str, undo: Any = None) -> None:
        await self.steps.make(
            name,
            lambda: self.steps.module.set_main_address(self.steps.remote_id, address),
            lambda v: v.main_address == address,
            Part.ROW,
            undo=undo,
        )
