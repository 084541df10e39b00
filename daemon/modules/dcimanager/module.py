"""DCImanager 5 as a processing module: what the panel's words mean for us (docs/reference/contracts.md#dcimanager)."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from daemon.coremanager.client import Observer
from daemon.coremanager.documents import Elem
from daemon.coremanager.errors import AlreadyThereError, NotThereError
from daemon.coremanager.forms import Form
from daemon.coremanager.lists import Listing
from daemon.domain.clock import Clock
from daemon.domain.errors import Permanent, ServerTaken, Temporary, Uncertain, Unhealthy
from daemon.domain.platform import Finding, PlatformReport
from daemon.modules.base import Install, Measurement, Owner, Part, Power, RemoteAddress, Report, ServerView, Stock
from daemon.modules.dcimanager import survey
from daemon.modules.dcimanager.client import DciClient
from daemon.modules.dcimanager.marks import marks_in, with_mark, without_mark
from daemon.modules.dcimanager.statistics import layouts, measurement
from daemon.modules.dcimanager.stock import stock_of, types_of
from daemon.modules.registry import Credentials
from daemon.settings.dcimanager import DcimanagerSettings

USER_LEVEL = "16"
"""What the list of users shows for an ordinary user."""


class Dcimanager:
    """One configured DCImanager."""

    by_hand = False

    def __init__(self, settings: DcimanagerSettings, credentials: Credentials, clock: Clock) -> None:
        self.name = settings.name
        self.parks = settings.parking_ip_type is not None
        self.install_shows_within = settings.install_start_within
        self.install_at_least = settings.install_at_least
        self._settings = settings
        self._names = settings.panel
        self._panel = DciClient(settings, lambda: credentials(settings.password).reveal(), clock)
        self._layouts = layouts(settings)
        self._own_id: str | None = None
        self._known_addresses: dict[str, tuple[RemoteAddress, ...]] = {}

    async def close(self) -> None:
        await self._panel.core.close()

    def watch(self, observer: Observer) -> None:
        """Tell `observer` of each call to the panel."""
        self._panel.core.observe = observer

    def repetitions_left(self) -> float:
        """What is left of the panel's budget for repeating reads."""
        return self._panel.core.repetitions_left()

    async def check(self) -> PlatformReport:
        return await survey.check(self._panel)

    async def probe(self) -> tuple[Finding, ...]:
        return await survey.probe(self._panel)

    @property
    def free_hostname(self) -> str:
        return self._settings.free_hostname

    # reading ----------------------------------------------------------------------------------------------------------------

    async def stock(self, server_type: str) -> Stock:
        listing = await self._panel.servers()
        stock = stock_of(listing, server_type, self._settings)
        if not stock.free:
            listing.require_whole()
        return stock

    async def read(self, remote_id: str, parts: Collection[Part]) -> ServerView | None:
        known: dict[str, Any] = {}
        try:
            if Part.FORM in parts:
                known |= self._from_form(await self._panel.server_form(remote_id))
            if Part.ADDRESSES in parts:
                known["addresses"] = await self._addresses(remote_id)
            if Part.CONNECTIONS in parts:
                known["busy"] = await self._panel.switching(remote_id)
            if Part.SYSTEM in parts:
                known["system"] = await self._panel.installed_system(remote_id)
        except NotThereError:
            await self._require_absent(remote_id, await self._panel.servers())
            return None
        # No address at all is never true of a server with a main address: then the row is read as well.
        if not parts or Part.ROW in parts or known.get("addresses") == ():
            listing = await self._panel.servers()
            row = listing.by_id(remote_id)
            if row is None:
                await self._require_absent(remote_id, listing)
                return None
            known |= _from_row(row, self._settings)
        view = ServerView(remote_id, **known)
        self._require_main_address(view, parts)
        return view

    def _require_main_address(self, view: ServerView, parts: Collection[Part]) -> None:
        """The main address stands in the list of addresses; a list without it is not whole."""
        if Part.ADDRESSES in parts and view.main_address and view.address(view.main_address) is None:
            raise Temporary(
                "short_list",
                f"{self.name}: the addresses of server {view.remote_id} lack its main address {view.main_address}",
                server=view.remote_id,
            )

    async def _require_absent(self, remote_id: str, listing: Listing) -> None:
        """A server is absent when the whole list lacks it and its form is missing; anything less is doubt."""
        doubt = Temporary(
            "panel_contradiction",
            f"{self.name} both shows and misses server {remote_id}; looking again later",
            server=remote_id,
        )
        if listing.by_id(remote_id) is not None:
            raise doubt
        listing.require_whole()
        try:
            await self._panel.server_form(remote_id)
        except NotThereError:
            return
        raise doubt

    async def _addresses(self, remote_id: str) -> tuple[RemoteAddress, ...]:
        """All of them. One that was there before and is not listed now is asked for by its id: a filter may only hide it."""
        listing, addresses = await self._panel.addresses(remote_id)
        listing.require_whole()
        listed = {address.remote_id for address in addresses}
        for known in self._known_addresses.get(remote_id, ()):
            if known.remote_id not in listed and await self._panel.is_still_there(remote_id, known):
                raise Temporary(
                    "short_list",
                    f"{self.name} hides {known.address} of server {remote_id} in its list",
                    server=remote_id,
                )
        self._known_addresses[remote_id] = addresses
        return addresses

    def _from_form(self, form: Form) -> dict[str, Any]:
        owner = form.get(self._names.owner_field)
        return {
            "owner_id": None if owner in {"", self._names.no_owner} else owner,
            "marks": marks_in(form.get(self._names.notes_field)),
            "enabled": form.get("disabled") != "on",
        }

    # marks and owner --------------------------------------------------------------------------------------------------------

    async def own_id(self) -> str:
        if self._own_id is None:
            listing = await self._panel.users()
            row = listing.find("name", self._settings.username)
            if row is None:
                listing.require_whole()
                raise Unhealthy(
                    "own_user_missing",
                    f"{self.name} does not list the user {self._settings.username}: it needs more rights, or a filter hides it",
                )
            self._own_id = row.text("id") or ""
        return self._own_id

    async def reserve(self, remote_id: str, key: str) -> None:
        with self._panel.core.one_deadline():
            own = await self.own_id()
            try:
                form = await self._panel.server_form(remote_id)
            except NotThereError:
                raise self._taken(remote_id, "it is gone") from None
            owner, notes = form.get(self._names.owner_field), form.get(self._names.notes_field)
            if owner == own and key in marks_in(notes):
                return
            if owner not in {"", self._names.no_owner}:
                raise self._taken(remote_id, f"it belongs to user {owner}")
            if form.get("disabled") == "on" or form.get("hwproblem") == "on":
                raise self._taken(remote_id, "it is disabled or has a hardware problem")
            changes = {self._names.owner_field: own, self._names.notes_field: with_mark(notes, key)}
            await self._panel.save_server(form, changes)

    async def unreserve(self, remote_id: str, key: str, owners: Collection[str]) -> None:
        with self._panel.core.one_deadline():
            form = await self._panel.server_form(remote_id)
            owner, notes = form.get(self._names.owner_field), form.get(self._names.notes_field)
            changes: dict[str, str] = {}
            if key in marks_in(notes):
                changes[self._names.notes_field] = without_mark(notes, key)
            if owner in owners:
                changes[self._names.owner_field] = self._names.no_owner
            if changes:
                await self._panel.save_server(form, changes)

    def owner_name(self, customer_id: int) -> str:
        return f"{self._settings.user_prefix}{customer_id}"

    async def find_owner(self, name: str) -> Owner | None:
        listing = await self._panel.users()
        row = listing.find("name", name)
        if row is None:
            listing.require_whole()
            return None
        return self._owner(row, name)

    async def create_owner(self, name: str, password: str) -> Owner:
        with self._panel.core.one_deadline():
            found = await self.find_owner(name)
            if found is not None:
                return found
            created = True
            try:
                await self._panel.create_user(name, password)
            except AlreadyThereError:
                created = False
            # The id is taken from the list, never from the answer: a wrong one would give the server to somebody else.
            row = (await self._listed(self._panel.users())).find("name", name)
        if row is None:
            raise Uncertain("user_not_listed", f"{self.name} does not list the user {name} after making it", name=name)
        return replace(self._owner(row, name), created=created)

    async def _listed(self, reading: Awaitable[Listing]) -> Listing:
        """A reading that follows a write: its failure leaves open what the write did."""
        try:
            return await reading
        except Temporary as error:
            raise Uncertain(error.code, error.message, **error.context) from None

    def _owner(self, row: Elem, name: str) -> Owner:
        level = row.text("level")
        if level and level not in {USER_LEVEL, self._names.user_level}:
            raise Permanent(
                "owner_is_admin",
                f"the user {name} of {self.name} is no ordinary user (level {level}): no server is given to it",
            )
        return Owner(row.text("id") or "", name, created=False)

    async def hand_over(self, remote_id: str, owner_id: str) -> None:
        with self._panel.core.one_deadline():
            form = await self._panel.server_form(remote_id)
            owner = form.get(self._names.owner_field)
            if owner == owner_id:
                return
            if not marks_in(form.get(self._names.notes_field)):
                raise self._taken(remote_id, f"its notes lost our line, and it belongs to user {owner}")
            await self._panel.save_server(form, {self._names.owner_field: owner_id})

    # addresses --------------------------------------------------------------------------------------------------------------

    async def put_address(self, remote_id: str, address: str, address_type: str, family: str, hostname: str) -> None:
        with self._panel.core.one_deadline():
            if await self._has_address(remote_id, address):
                return
            try:
                got = await self._panel.add_address(remote_id, address, address_type, family, hostname)
            except AlreadyThereError:
                if await self._has_address(remote_id, address):
                    return
                raise
        if got and got != address:
            raise Permanent(
                "wrong_address",
                f"{self.name} put {got} on server {remote_id} instead of {address}",
                server=remote_id,
                asked=address,
                got=got,
            )

    async def _has_address(self, remote_id: str, address: str) -> bool:
        _, addresses = await self._panel.addresses(remote_id)
        return any(known.address == address for known in addresses)

    async def remove_address(self, remote_id: str, address: RemoteAddress) -> None:
        try:
            await self._panel.delete_address(remote_id, address)
        except NotThereError:
            return

    async def set_main_address(self, remote_id: str, address: str) -> None:
        with self._panel.core.one_deadline():
            await self._panel.save_main_address(remote_id, address)

    async def set_hostname(self, remote_id: str, addresses: Collection[RemoteAddress], hostname: str) -> None:
        with self._panel.core.one_deadline():
            for address in addresses:
                if address.name != hostname:
                    await self._panel.rename_address(remote_id, address, hostname)

    # power and system -------------------------------------------------------------------------------------------------------

    async def enable(self, remote_id: str) -> None:
        await self._panel.switch("server.enable", remote_id)

    async def power_on(self, remote_id: str) -> None:
        await self._panel.switch("server.poweron", remote_id)

    async def power_off(self, remote_id: str) -> None:
        await self._panel.switch(self._names.power_off_function, remote_id)

    async def install(self, remote_id: str, install: Install) -> None:
        await self._panel.install(remote_id, install)

    async def cancel_install(self, remote_id: str) -> None:
        await self._panel.switch("server.opercancel", remote_id)

    # statistics -------------------------------------------------------------------------------------------------------------

    def reports(self) -> tuple[Report, ...]:
        return tuple(layout.report for layout in self._layouts.values())

    async def measure(self, report: str, at: datetime) -> Measurement:
        layout = self._layouts.get(report)
        if layout is None:
            raise Permanent("no_report", f"{self.name} has no report named {report}", report=report)
        return await measurement(await self._panel.report(layout.function, layout.period), at, layout)

    def _taken(self, remote_id: str, why: str) -> ServerTaken:
        return ServerTaken("server_taken", f"server {remote_id} of {self.name} is not free: {why}", server=remote_id)


def _from_row(row: Elem, settings: DcimanagerSettings) -> Mapping[str, Any]:
    owner = row.text("owner") or ""
    return {
        "server_types": types_of(row, settings),
        "owner_name": "" if owner == settings.panel.no_owner else owner,
        "hostname": row.text("hostname") or "",
        "main_address": row.text("ip") or "",
        "power": _power(row),
        "enabled": not row.has("disabled"),
        "installing": row.has("install_in_progress"),
        "failed": row.has("operation_failed"),
        "diagnosing": row.has("diag_in_progress"),
    }


def _power(row: Elem) -> Power:
    """Flags exist or don't; without any of the three nothing is known."""
    for flag, power in (("poweron", Power.ON), ("powererror", Power.ERROR), ("poweroff", Power.OFF)):
        if row.has(flag):
            return power
    return Power.UNKNOWN
