"""DCImanager's functions as calls, with the names that the settings give them; what they mean is module.py's business.

Facts: docs/reference/contracts.md#dcimanager.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from daemon.coremanager.client import PanelClient
from daemon.coremanager.documents import Doc, Elem
from daemon.coremanager.errors import NotThereError
from daemon.coremanager.forms import Form
from daemon.coremanager.lists import Listing
from daemon.domain.clock import Clock
from daemon.domain.errors import Permanent
from daemon.modules.base import Install, RemoteAddress
from daemon.settings.dcimanager import DcimanagerSettings

SERVER_FORM = "server.edit"


class DciClient:
    """Calls of one DCImanager. All raise what PanelClient.call raises."""

    def __init__(self, settings: DcimanagerSettings, password: Callable[[], str], clock: Clock) -> None:
        self.settings = settings
        self.names = settings.panel
        self.core = PanelClient(settings.name, settings, password, clock)

    # reading ----------------------------------------------------------------------------------------------------------------

    async def servers(self) -> Listing:
        """The whole list of servers; callers at the same time share one reading that began after they asked."""
        return await self.core.fresh("server")

    async def users(self) -> Listing:
        return await self.core.fresh("user")

    async def server_form(self, remote_id: str) -> Form:
        """The server's form with a field for the owner and one for notes. Raises Permanent `field_missing` without them."""
        form = await self.core.form(SERVER_FORM, remote_id)
        for field in (self.names.owner_field, self.names.notes_field):
            if not form.has(field):
                raise self.field_missing(SERVER_FORM, field)
        return form

    async def addresses(self, remote_id: str) -> tuple[Listing, tuple[RemoteAddress, ...]]:
        """The addresses of a server, headings left out."""
        listing = await self.core.list("iplist", {"elid": remote_id})
        found = (self._address(row) for row in listing if row.text("type") != "group")
        return listing, tuple(address for address in found if address is not None)

    async def is_still_there(self, remote_id: str, address: RemoteAddress) -> bool:
        """Whether the id still is that address of the server; ids may be used again."""
        try:
            form = await self.core.form("iplist.edit", address.remote_id, plid=remote_id)
        except NotThereError:
            return False
        return form.get("ip") in {"", address.address}

    async def switching(self, remote_id: str) -> bool:
        """Whether a connection of the server is being switched."""
        listing = await self.core.list("server.connection", {"elid": remote_id})
        listing.require_whole()
        return any(row.has("func_in_progress") for row in listing)

    async def installed_system(self, remote_id: str) -> str:
        form = await self.core.form("server.operations", remote_id)
        if not form.has(self.names.installed_system_field):
            raise self.field_missing("server.operations", self.names.installed_system_field)
        return form.get(self.names.installed_system_field)

    async def report(self, function: str, period: str | None) -> Doc:
        """A report over all servers, in one answer."""
        params = {"sok": "ok"} if period is None else {"sok": "ok", "period": period}
        return await self.core.call(function, params)

    # writing ----------------------------------------------------------------------------------------------------------------

    async def save_server(self, form: Form, changes: Mapping[str, str]) -> None:
        await self.core.save(self._kept(form), changes)

    async def save_main_address(self, remote_id: str, address: str) -> None:
        """Read the form that holds the main address and save it with another one, unless it is that one already."""
        form = await self.core.form(self.names.main_address_function, remote_id)
        field = self.names.main_address_field
        if form.get(field) == address:
            return
        form = self._kept(form) if form.func == SERVER_FORM else form
        await self.core.save(form, {field: address})

    async def add_address(self, remote_id: str, address: str, address_type: str, family: str, hostname: str) -> str:
        """The address that the panel says it added, or "" when it says nothing."""
        names = self.names
        params = {
            "plid": remote_id,
            names.address_field: address,
            names.address_type_field: address_type,
            "family": self.settings.family_ipv6 if family == "ipv6" else self.settings.family_ipv4,
            names.hostname_field: hostname,
            "sok": "ok",
        }
        doc = await self.core.call(names.add_address_function, params, write=True)
        return doc.text("ip") or ""

    async def rename_address(self, remote_id: str, address: RemoteAddress, hostname: str) -> None:
        params = {"elid": address.remote_id, "plid": remote_id, self.names.hostname_field: hostname, "sok": "ok"}
        await self.core.call("iplist.edit", params, write=True)

    async def delete_address(self, remote_id: str, address: RemoteAddress) -> None:
        await self.core.call("iplist.delete", {"elid": address.remote_id, "plid": remote_id}, write=True)

    async def create_user(self, name: str, password: str) -> None:
        params = {"name": name, "passwd": password, "level": self.names.user_level, "sok": "ok"}
        await self.core.call("user.edit", params, write=True)

    async def install(self, remote_id: str, install: Install) -> None:
        params = {
            "elid": remote_id,
            "operation": self.names.install_operation,
            "ostemplate": install.template,
            "recipe": install.recipe or self.names.no_recipe,
            "passwd": install.password,
            "confirm": install.password,
            "checkpasswd": install.password,
            "sok": "ok",
        }
        await self.core.call("server.operations", params, write=True)

    async def switch(self, func: str, remote_id: str) -> None:
        """One of the functions that take nothing but the server: enable, power, cancel."""
        await self.core.call(func, {"elid": remote_id}, write=True)

    # helpers ----------------------------------------------------------------------------------------------------------------

    def field_missing(self, func: str, field: str) -> Permanent:
        return Permanent(
            "field_missing",
            f"{self.settings.name}: {func} has no field {field}; correct its name in the module's settings",
            func=func,
            field=field,
        )

    def _kept(self, form: Form) -> Form:
        """The form as it goes back: every field as read, or those that the settings name."""
        kept = self.names.save_fields
        if kept is None:
            return form
        return replace(form, fields={name: value for name, value in form.fields.items() if name in kept})

    def _address(self, row: Elem) -> RemoteAddress | None:
        remote_id, address = row.text("id"), row.text("ip")
        if not remote_id or not address:
            return None
        return RemoteAddress(remote_id, address, row.text(self.names.hostname_field) or "")
