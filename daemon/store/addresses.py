"""The ledger of addresses: which one is held for which service, in which state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daemon.domain.address import AddressState, Allocation, Role
from daemon.store.connection import Connection
from daemon.store.models import AllocationRow


def to_domain(row: AllocationRow) -> Allocation:
    return Allocation(
        id=row.id,
        key=row.key,
        service_id=row.service_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        operation_id=row.operation_id,  # type: ignore[attr-defined]  # as above
        ipam=row.ipam,
        family=row.family,
        address_type=row.address_type,
        role=Role(row.role),
        address=row.address,
        state=AddressState(row.state),
        module=row.module,
        remote_id=row.remote_id,
        created_at=row.created_at,
        released_at=row.released_at,
    )


class Allocations:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def hold(
        self,
        key: str,
        *,
        service_id: int,
        operation_id: int,
        ipam: str,
        family: str,
        address_type: str,
        role: Role,
        module: str,
        remote_id: str,
        address: str | None = None,
    ) -> None:
        """Write that an address is (being) taken under `key`; the same key again changes nothing."""
        await self._c.execute(
            "INSERT INTO allocation (key, service_id, operation_id, ipam, family, address_type, role, address, state,"
            " module, remote_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'held', ?, ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            key, service_id, operation_id, ipam, family, address_type, role.value, address, module, remote_id,
            self._c.clock.now(),
        )  # fmt: skip

    async def fill(self, key: str, address: str) -> None:
        """The IPAM has answered: this is the address."""
        await self._c.execute("UPDATE allocation SET address = ? WHERE key = ?", address, key)

    async def set_state(self, key: str, state: AddressState) -> None:
        released = self._c.clock.now() if state is AddressState.RELEASED else None
        await self._c.execute(
            "UPDATE allocation SET state = ?, released_at = ? WHERE key = ?", state.value, released, key
        )

    async def release_empty(self, operation_id: int) -> None:
        """Rows of addresses that were surely never given."""
        await self._c.execute(
            "UPDATE allocation SET state = 'released', released_at = ? WHERE operation_id = ? AND state = 'held'"
            " AND address IS NULL",
            self._c.clock.now(), operation_id,
        )  # fmt: skip

    async def bind_all(self, service_id: int) -> None:
        """All addresses held for a service are on its server now."""
        await self._c.execute(
            "UPDATE allocation SET state = 'bound' WHERE service_id = ? AND state = 'held'", service_id
        )

    async def release_parked(self, module: str, remote_id: str, address: str) -> None:
        """A parking address that we put on this server earlier is given back."""
        await self._c.execute(
            "UPDATE allocation SET state = 'released', released_at = ? WHERE module = ? AND remote_id = ? AND address = ?"
            " AND state = 'parked'",
            self._c.clock.now(), module, remote_id, address,
        )  # fmt: skip

    async def is_held(self, address: str) -> bool:
        """Whether any service holds an address, from whatever IPAM it came."""
        rows = await self._c.fetch(
            "SELECT 1 AS x FROM allocation WHERE address = ? AND state <> 'released' LIMIT 1", address
        )
        return bool(rows)

    async def of_service(self, service_id: int, *, states: Sequence[AddressState] = ()) -> list[Allocation]:
        """In the order in which they were taken; all states when none is named."""
        query = AllocationRow.filter(service_id=service_id).using_db(self._c.db).order_by("id")
        if states:
            query = query.filter(state__in=[state.value for state in states])
        return [to_domain(row) for row in await query]

    async def live_in(self, ipam: str, limit: int) -> list[str]:
        """The newest addresses that are held in an IPAM."""
        rows = await self._c.fetch(
            "SELECT address FROM allocation WHERE ipam = ? AND state <> 'released' AND address IS NOT NULL"
            " ORDER BY id DESC LIMIT ?",
            ipam, limit,
        )  # fmt: skip
        return [row["address"] for row in rows]

    async def of_services(self, service_ids: Sequence[int]) -> dict[int, list[Allocation]]:
        found: dict[int, list[Allocation]] = {service_id: [] for service_id in service_ids}
        query = AllocationRow.filter(service_id__in=list(service_ids)).using_db(self._c.db).order_by("id")
        for row in await query:
            allocation = to_domain(row)
            found[allocation.service_id].append(allocation)
        return found

    async def counts(self) -> dict[tuple[str, str], int]:
        """(ipam, state) -> number of addresses."""
        rows: list[dict[str, Any]] = await self._c.fetch(
            "SELECT ipam, state, COUNT(*) AS n FROM allocation GROUP BY ipam, state"
        )
        return {(row["ipam"], row["state"]): row["n"] for row in rows}
