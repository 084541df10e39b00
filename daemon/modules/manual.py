"""The processing module where a person is the platform: every change is a task, closing the task continues the operation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NoReturn

from daemon.domain.clock import Clock
from daemon.domain.errors import Permanent
from daemon.domain.platform import Finding, PlatformReport
from daemon.modules.base import (
    FreeServer,
    Install,
    Measurement,
    Owner,
    Part,
    PersonNeeded,
    ProcessingModule,
    RemoteAddress,
    Report,
    ServerView,
    Stock,
)
from daemon.modules.registry import Credentials, Plugin
from daemon.settings.modules import ManualSettings

OWN_ID = "daemon"
"""Owner of a reserved server, by name: there is no platform that would keep one."""

FREE_HOSTNAME = "free"
PASSWORD_HINT = "take it from `provisiond service access`"  # noqa: S105 - says where it is, never what it is


class Manual:
    """Knows nothing and can read nothing. `stock` is the ceiling that a person keeps in the settings."""

    by_hand = True
    parks = False

    def __init__(self, settings: ManualSettings) -> None:
        self.name = settings.name
        self.install_shows_within = timedelta()
        self.install_at_least = timedelta()
        self._settings = settings

    async def close(self) -> None:
        """Nothing is open."""

    async def check(self) -> PlatformReport:
        types = self._settings.stock
        problems = () if types else ("stock is empty: nothing can be sold by this module",)
        return PlatformReport("", problems, {name: str(number) for name, number in types.items()})

    async def probe(self) -> tuple[Finding, ...]:
        return ()

    @property
    def free_hostname(self) -> str:
        return FREE_HOSTNAME

    async def stock(self, server_type: str) -> Stock:
        """As many placeholders as may be sold at the same time; the caller takes off what it holds already."""
        number = self._settings.stock.get(server_type, 0)
        return Stock(
            tuple(
                FreeServer(f"by-hand-{server_type}-{n}", server_type, FREE_HOSTNAME, "") for n in range(1, number + 1)
            )
        )

    async def read(self, remote_id: str, parts: Collection[Part]) -> ServerView | None:  # noqa: ARG002 - nothing can be read
        return ServerView(remote_id)

    # marks and owner --------------------------------------------------------------------------------------------------------

    async def own_id(self) -> str:
        return OWN_ID

    async def reserve(self, remote_id: str, key: str) -> None:  # noqa: ARG002 - the placeholder says nothing to a person
        _ask(
            "Choose a server and set it aside",
            f"Take a free server, note {key} on it and set it aside. Nobody else may be given it.",
            {
                "remote_id": "Name of the server, as your inventory has it",
                "main_address": "Its main IP address",
                "hostname": "Its host name (optional)",
            },
        )

    async def unreserve(self, remote_id: str, key: str, owners: Collection[str]) -> None:  # noqa: ARG002 - no user ids by hand
        _ask(
            f"Put server {remote_id} back into stock",
            f"Remove the note {key} from server {remote_id}; it is free again.",
        )

    def owner_name(self, customer_id: int) -> str:
        return f"customer {customer_id}"

    async def find_owner(self, name: str) -> Owner | None:
        """Customers have no account on a person; their name stands for them."""
        return Owner(name, name, created=False)

    async def create_owner(self, name: str, password: str) -> Owner:  # noqa: ARG002 - no account is made
        return Owner(name, name, created=False)

    async def hand_over(self, remote_id: str, owner_id: str) -> None:
        _ask(
            f"Hand server {remote_id} over to {owner_id}",
            f"Note {owner_id} as the customer who uses server {remote_id}. For the root password: {PASSWORD_HINT}.",
        )

    # addresses --------------------------------------------------------------------------------------------------------------

    async def put_address(self, remote_id: str, address: str, address_type: str, family: str, hostname: str) -> None:
        _ask(
            f"Route {address} to server {remote_id}",
            f"Route the {family} address {address} (type {address_type}) to server {remote_id} "
            f"and set its reverse name to {hostname}.",
        )

    async def remove_address(self, remote_id: str, address: RemoteAddress) -> None:
        _ask(
            f"Take {address.address} off server {remote_id}",
            f"End the route of {address.address} to server {remote_id}. Somebody else may get the address afterwards.",
        )

    async def set_main_address(self, remote_id: str, address: str) -> None:
        _ask(
            f"Make {address} the main address of server {remote_id}",
            f"Change the main address of server {remote_id} to {address}, in its network set-up and in your inventory.",
        )

    async def set_hostname(self, remote_id: str, addresses: Collection[RemoteAddress], hostname: str) -> None:
        wrong = sorted(address.address for address in addresses if address.name != hostname)
        if not wrong:
            return
        _ask(f"Name server {remote_id} {hostname}", f"Set the reverse name of {', '.join(wrong)} to {hostname}.")

    # power and system -------------------------------------------------------------------------------------------------------

    async def enable(self, remote_id: str) -> None:
        _ask(f"Connect server {remote_id}", f"Switch the network ports of server {remote_id} on.")

    async def power_on(self, remote_id: str) -> None:
        _ask(f"Switch server {remote_id} on", f"Switch server {remote_id} on and wait until it runs.")

    async def power_off(self, remote_id: str) -> None:
        _ask(f"Switch server {remote_id} off", f"Shut server {remote_id} down and switch it off.")

    async def install(self, remote_id: str, install: Install) -> None:
        recipe = f" with the recipe {install.recipe}" if install.recipe else ""
        _ask(
            f"Install {install.template} on server {remote_id}",
            f"Install {install.template}{recipe} on server {remote_id}, host name {install.hostname}, main address "
            f"{install.address}. For the root password: {PASSWORD_HINT}. Close this task when the system runs.",
        )

    async def cancel_install(self, remote_id: str) -> None:
        _ask(
            f"Stop the install of server {remote_id}",
            f"Stop the running install of server {remote_id}, if there is one.",
        )

    # statistics -------------------------------------------------------------------------------------------------------------

    def reports(self) -> tuple[Report, ...]:
        return ()

    async def measure(self, report: str, at: datetime) -> Measurement:  # noqa: ARG002 - nothing is measured by hand
        raise Permanent("no_report", f"{self.name} has no report named {report}", report=report)


def _ask(title: str, instructions: str, wants: Mapping[str, str] | None = None) -> NoReturn:
    raise PersonNeeded(title, instructions, wants=wants)


def _make(settings: ManualSettings, _credentials: Credentials, _clock: Clock) -> ProcessingModule:
    return Manual(settings)


PLUGIN = Plugin("manual", ManualSettings, _make)
