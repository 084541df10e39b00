"""The contract of an address manager (IPAM).

Like a processing module it only talks to its platform. The ledger of what we hold is `daemon.provisioning.addresses`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from daemon.domain.platform import Finding, PlatformReport


@dataclass(frozen=True)
class HeldAddress:
    """An address that the platform shows as held by our account."""

    address: str
    family: str
    """ipv4 or ipv6."""
    address_type: str
    name: str
    """The host name on it."""
    note: str
    """Free text; carries our key for addresses that we took."""


class Ipam(Protocol):
    name: str

    async def close(self) -> None: ...

    async def check(self) -> PlatformReport: ...

    async def probe(self) -> tuple[Finding, ...]: ...

    async def take(self, *, family: str, address_type: str, hostname: str, key: str) -> str:
        """Take a free address of a type; `key` is stored with it so that a lost answer can be found.

        Raises Capacity when the pool of that type is empty.
        """
        ...

    async def find(self, key: str, witnesses: Collection[str] = ()) -> HeldAddress | None:
        """The address that carries `key`; None when a complete list surely lacks it; Temporary when the list is doubtful.

        `witnesses`: addresses that our account should hold. A list that hides one of them is filtered, and proves no absence.
        """
        ...

    async def holds(self, address: str) -> HeldAddress | None:
        """The address, if our account holds it; None when the platform surely says that it doesn't."""
        ...

    async def give_back(self, address: str) -> None:
        """Make it absent: an address that isn't there counts as given back."""
        ...

    async def relabel(self, address: str, *, hostname: str, key: str) -> None:
        """Change name and note of an address we hold."""
        ...
