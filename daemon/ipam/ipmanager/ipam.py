"""IPmanager 5 as an address manager (docs/reference/contracts.md#ipmanager)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from daemon.coremanager.client import Observer, PanelClient
from daemon.coremanager.documents import Elem
from daemon.coremanager.errors import NotThereError, PanelError
from daemon.coremanager.forms import Form
from daemon.coremanager.lists import Listing
from daemon.domain.clock import Clock
from daemon.domain.errors import Capacity, Permanent, Temporary, Uncertain
from daemon.domain.platform import Finding, PlatformReport
from daemon.ipam.base import HeldAddress
from daemon.ipam.registry import Credentials
from daemon.settings.ipam import IpmanagerSettings

CONFIRMED, CONTRADICTED, UNKNOWN = "confirmed", "contradicted", "unknown"


class Ipmanager:
    """One account of an IPmanager; it sees and holds its own addresses only."""

    def __init__(self, settings: IpmanagerSettings, credentials: Credentials, clock: Clock) -> None:
        self.name = settings.name
        self._settings = settings
        self._known: set[str] = set()
        self._panel = PanelClient(settings.name, settings, lambda: credentials(settings.password).reveal(), clock)

    async def close(self) -> None:
        await self._panel.close()

    def watch(self, observer: Observer) -> None:
        """Tell `observer` of each call to the panel."""
        self._panel.observe = observer

    def repetitions_left(self) -> float:
        """What is left of the panel's budget for repeating reads."""
        return self._panel.repetitions_left()

    async def check(self) -> PlatformReport:
        await self._panel.log_in()
        listing = await self._panel.list(self._settings.list_function)
        problems = (f"the list of addresses is short: {listing.doubt}",) if listing.doubt else ()
        return PlatformReport("", problems, {"addresses": str(len(listing.rows))})

    async def probe(self) -> tuple[Finding, ...]:
        """Field names, as far as an address that we hold shows them."""
        rows = (await self._panel.list(self._settings.list_function)).rows
        wanted = {
            "type_field": self._settings.type_field,
            "hostname_field": self._settings.hostname_field,
            "key_field": self._settings.key_field,
        }
        if not rows:
            return tuple(Finding(name, value, UNKNOWN, "we hold no address yet") for name, value in wanted.items())
        shown = sorted({child.tag for row in rows for child in row.raw})
        return tuple(
            Finding(name, value, CONFIRMED if value in shown else CONTRADICTED, f"the list shows: {', '.join(shown)}")
            for name, value in wanted.items()
        )

    async def take(self, *, family: str, address_type: str, hostname: str, key: str) -> str:
        s = self._settings
        params = {
            s.family_field: s.family_ipv6 if family == "ipv6" else s.family_ipv4,
            s.type_field: address_type,
            s.hostname_field: hostname,
            s.key_field: key,
            "sok": "ok",
        }
        with self._panel.one_deadline():
            try:
                doc = await self._panel.call(s.take_function, params, write=True)
            except PanelError as error:
                if error.refusal.type in s.empty_pool_errors:
                    raise self._empty(family, address_type) from None
                raise
            address = doc.text(s.address_field)
            if not address or await self._note_of(address) != key:
                # Somebody else's address told by mistake must never become ours: what the key left is looked for.
                raise Uncertain("address_not_told", f"{self.name} took an address and did not say which one it is")
            self._known.add(address)
            return address

    async def _note_of(self, address: str) -> str | None:
        """A reading that follows a write: its failure leaves open what the write did."""
        try:
            held = await self.holds(address)
        except Temporary as error:
            raise Uncertain(error.code, error.message, **error.context) from None
        return held.note if held else None

    def _empty(self, family: str, address_type: str) -> Capacity:
        text = f"{self.name} has no free {family} address of type {address_type}"
        return Capacity("no_address", text, family=family, type=address_type)

    async def find(self, key: str, witnesses: Collection[str] = ()) -> HeldAddress | None:
        field = self._settings.key_field
        listing = await self._panel.fresh(self._settings.list_function)
        row = listing.find(field, key)
        if row is not None:
            return self._held(row)
        listing.require_whole()
        self._known.update(witnesses)
        await self._require_unfiltered(listing)
        if listing.rows and not any(other.has(field) for other in listing):
            # Absence would only mean that we look in the wrong place, and the address would be taken a second time.
            raise Permanent(
                "field_missing",
                f"{self.name}: the list of addresses has no field {field}; correct key_field in its settings",
                field=field,
            )
        return None

    async def _require_unfiltered(self, listing: Listing) -> None:
        """An address that we knew of and that is not listed now is asked for by itself: a filter may only hide it.

        Raises Temporary `short_list`.
        """
        listed = {row.text(self._settings.address_field) or "" for row in listing}
        for address in self._known - listed:
            if await self.holds(address) is not None:
                raise Temporary(
                    "short_list", f"{self.name} hides {address} in its list: does a filter stick to our account?"
                )
            self._known.discard(address)
        self._known |= listed

    async def holds(self, address: str) -> HeldAddress | None:
        try:
            form = await self._panel.form(self._settings.take_function, address)
        except NotThereError:
            return None
        held = self._held(form.doc, address)
        if held.address != address:
            raise Temporary("panel_contradiction", f"{self.name} was asked for {address} and showed {held.address}")
        return held

    async def give_back(self, address: str) -> None:
        try:
            await self._panel.call(self._settings.give_back_function, {"elid": address}, write=True)
        except NotThereError:
            return
        self._known.discard(address)
        self._panel.removed(self._settings.list_function)

    async def relabel(self, address: str, *, hostname: str, key: str) -> None:
        s = self._settings
        with self._panel.one_deadline():
            form = await self._panel.form(s.take_function, address)
            changes = {s.hostname_field: hostname, s.key_field: key}
            if all(form.get(field) == value for field, value in changes.items()):
                return
            await self._panel.save(_without_element(form), changes)

    def _held(self, elem: Elem, address: str = "") -> HeldAddress:
        s = self._settings
        found = elem.text(s.address_field) or address
        return HeldAddress(
            address=found,
            family=self._family(elem.text(s.family_field), found),
            address_type=elem.text(s.type_field) or "",
            name=elem.text(s.hostname_field) or "",
            note=elem.text(s.key_field) or "",
        )

    def _family(self, told: str | None, address: str) -> str:
        """The list may not tell the family; the address itself does."""
        if told:
            return "ipv6" if told == self._settings.family_ipv6 else "ipv4"
        return "ipv6" if ":" in address else "ipv4"


def _without_element(form: Form) -> Form:
    """An id that is read with the form is no field of it."""
    return replace(form, fields={name: value for name, value in form.fields.items() if name != "id"})
