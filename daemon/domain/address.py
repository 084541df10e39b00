"""Addresses held for services, and the names of what holds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AddressState(StrEnum):
    HELD = "held"
    """Taken (or being taken) from the IPAM; `address` is empty until the IPAM has answered."""
    BOUND = "bound"
    """On the server of an active service."""
    PARKED = "parked"
    """Main address of a freed server; kept in the IPAM, belongs to no service."""
    COOLING = "cooling"
    """Off the server, not yet shown as given back by the IPAM."""
    RELEASED = "released"


LIVE_ADDRESS = (AddressState.HELD, AddressState.BOUND, AddressState.PARKED, AddressState.COOLING)


class Role(StrEnum):
    MAIN = "main"
    EXTRA = "extra"


@dataclass(frozen=True)
class Allocation:
    id: int
    key: str
    """Ours, unique for ever, and written into the IPAM's note: the same key always gives the same address."""
    service_id: int
    operation_id: int
    ipam: str
    """Name of the IPAM, or "" for an address that stays with its server for life."""
    family: str
    address_type: str
    role: Role
    address: str | None
    state: AddressState
    module: str | None
    remote_id: str | None
    created_at: datetime
    released_at: datetime | None
