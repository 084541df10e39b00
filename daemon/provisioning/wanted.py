"""Which addresses an order wants, from its add-ons. Pure: the same order on the same module always wants the same list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.domain.address import Role
from daemon.settings.addons import special_block
from daemon.settings.modules import ModuleSettings


@dataclass(frozen=True)
class Wanted:
    """One address to take. The main one comes first where the module changes main addresses."""

    family: str
    address_type: str
    role: Role

    @property
    def kind(self) -> tuple[str, str]:
        """The pool it comes from."""
        return (self.family, self.address_type)


def special_type(addons: Mapping[str, Any], always: Mapping[str, bool]) -> str | None:
    """The type of the main address that a `special_ip_block_<name>` asks for; None for the public one.

    `always` says which blocks the plan gives without asking (billing do_not_count).
    """
    for name, value in addons.items():
        block = special_block(name)
        if block is not None and (always.get(name) or value == block):
            return block
    return None


def wanted_addresses(addons: Mapping[str, Any], always: Mapping[str, bool], settings: ModuleSettings) -> list[Wanted]:
    """`ip` counts all public IPv4 addresses, the main one included; without parking the server keeps its own main address."""
    block = special_type(addons, always)
    public, private = settings.public_ip_type, settings.private_ip_type
    found = []
    if settings.parking_ip_type is not None:
        found.append(Wanted("ipv4", block or public, Role.MAIN))
    found += [Wanted("ipv4", public, Role.EXTRA)] * (int(addons.get("ip", 1)) - 1)
    found += [Wanted("ipv6", public, Role.EXTRA)] * int(addons.get("ipv6", 0))
    found += [Wanted("ipv4", private, Role.EXTRA)] * int(addons.get("privateip", 0))
    return found
