"""Steps on one server, shared by the workflows: each change with its probe and its undo.

The probe of every change is a reading: what the platform shows decides, not what it answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from daemon.domain.errors import Permanent, ServerTaken, Temporary
from daemon.modules.base import Part, Power, ServerView
from daemon.provisioning.fleet import Carrier
from daemon.provisioning.journal import Journal, WithResult
from daemon.provisioning.outcomes import Found, Json, Limits, NotThere, Seen, Unclear

Predicate = Callable[[ServerView], bool]
Undo = Callable[[Json], Awaitable[None]]


class ServerSteps:
    """The steps of one operation on one server. `base` keeps the ordinals of different rounds apart."""

    def __init__(self, journal: Journal, carrier: Carrier, remote_id: str, key: str, base: int = 0) -> None:
        self.journal = journal
        self.carrier = carrier
        self.module = carrier.module
        self.remote_id = remote_id
        self.key = key
        self.base = base

    # reading ------------------------------------------------------------------------------------------------------------------

    async def view(self, *parts: Part) -> ServerView:
        """A fresh reading; a server that the platform says is gone is a person's matter."""
        view = await self.module.read(self.remote_id, parts)
        if view is None:
            raise Permanent("server_gone", f"{self.carrier.name} has no server {self.remote_id} any more")
        return view

    def seen(self, predicate: Predicate, *parts: Part) -> Callable[[], Awaitable[Seen]]:
        """The probe that says found when `predicate` holds for a fresh reading."""

        async def probe() -> Seen:
            if self.carrier.by_hand:
                return NotThere()  # a person's task is never in doubt: it is open or closed
            view = await self.module.read(self.remote_id, parts)
            if view is None:
                return Unclear(f"{self.carrier.name} has no server {self.remote_id} any more")
            return Found() if predicate(view) else NotThere()

        return probe

    # the two shapes of a change -----------------------------------------------------------------------------------------------

    async def make(
        self,
        name: str,
        call: Callable[[], Awaitable[Json]],
        holds: Predicate,
        *parts: Part,
        at_once: bool = True,
        ordinal: int = 0,
        undo: Undo | None = None,
        effects: WithResult | None = None,
        limits: Limits | None = None,
        partly: bool = False,
    ) -> Json:
        """Change something and believe it when it shows. `at_once` False: the platform works on it, and an `until` follows.

        An undo touches only what still carries our mark.
        """

        async def guarded() -> Json:
            if self.journal.undoing:
                await self.require_ours()
            return await call()

        return await self.journal.step(
            name,
            guarded,
            seen=self.seen(holds, *parts),
            limits=limits or self.carrier.limits,
            ordinal=self.base + ordinal,
            undo=undo,
            effects=effects,
            confirm=at_once and not self.carrier.by_hand,
            partly=partly,
        )

    async def require_ours(self, owners: Collection[str] | None = None) -> None:
        """Raises Permanent `not_ours` when somebody took our mark off, or gave the server to somebody else than `owners`."""
        if self.carrier.by_hand:
            return
        view = await self.view(Part.FORM)
        if self.key in view.marks and (owners is None or view.owner_id in owners):
            return
        mark = "carries" if self.key in view.marks else "has lost"
        raise Permanent(
            "not_ours",
            f"server {self.remote_id} of {self.carrier.name} belongs to user {view.owner_id} and {mark} our line "
            f"{self.key}: somebody else changed it, so nothing is changed on it",
        )

    async def until(self, name: str, holds: Predicate, *parts: Part, reason: str, ordinal: int = 0) -> None:
        """Wait until a fresh reading shows it. A person who closed the task before has seen it already."""
        if self.carrier.by_hand:
            return

        async def check(_memory: dict[str, Any]) -> Json:
            return True if holds(await self.view(*parts)) else None

        settings = self.carrier.settings
        await self.journal.until(
            name,
            check,
            limits=self.carrier.limits,
            every=settings.watch_every,
            within=settings.power_within,
            reason=reason,
            ordinal=self.base + ordinal,
        )

    # marks and owner ----------------------------------------------------------------------------------------------------------

    async def reserve(self, server_type: str) -> dict[str, Any]:
        """Mark the server as ours and believe it after two readings with a pause; {"main_address"}.

        By hand, a person says which server it is: {"remote_id", "main_address"}.
        """

        async def call() -> Json:
            await self.module.reserve(self.remote_id, self.key)
            return {}

        own = await self.own_id()
        answer: dict[str, Any] = await self.make(
            "reserve", call, lambda view: self._ours(view, own), Part.FORM, undo=lambda _: self.free([own])
        )
        if self.carrier.by_hand:
            return answer
        pause, limits = self.carrier.settings.readback_pause, self.carrier.limits
        reason = "letting the panel settle before the second reading"
        await self.journal.pause("settle", pause, limits=limits, ordinal=self.base, reason=reason)
        found: dict[str, Any] = await self.journal.look(
            "still-ours", lambda: self._still_ours(own, server_type), limits=limits, ordinal=self.base
        )
        return found

    async def own_id(self) -> str:
        async def read() -> Json:
            return await self.module.own_id()

        own: str = await self.journal.look("own-user", read, limits=self.carrier.limits, ordinal=self.base)
        return own

    async def free(self, owners: Collection[str], name: str = "undo:reserve") -> None:
        """Take our line and our owners off the server: the last thing before it can be sold again."""
        await self.journal.step(
            name,
            lambda: self.module.unreserve(self.remote_id, self.key, owners),
            seen=self.seen(lambda view: self.key not in view.marks and view.owner_id not in owners, Part.FORM),
            limits=self.carrier.limits,
            ordinal=self.base,
            confirm=not self.carrier.by_hand,
        )

    def _ours(self, view: ServerView, own: str) -> bool:
        return view.owner_id == own and self.key in view.marks

    async def _still_ours(self, own: str, server_type: str) -> Json:
        """The second reading looks at everything the choice rested on: the list that we chose from may have been wrong."""
        view = await self.view(Part.FORM, Part.ROW, Part.ADDRESSES)
        where = f"server {self.remote_id} of {self.carrier.name}"
        if not self._ours(view, own):
            raise ServerTaken("reservation_lost", f"{where} did not stay ours (owner {view.owner_id})")
        if view.hostname != self.module.free_hostname or server_type not in view.server_types:
            kind = ", ".join(sorted(view.server_types)) or "no type"
            raise ServerTaken("not_as_listed", f"{where} is not free after all: host name {view.hostname}, type {kind}")
        return {"main_address": view.main_address}

    async def hand_over(self, owner_id: str, own: str) -> None:
        async def take_back() -> None:
            await self.require_ours([own, owner_id])
            await self.module.hand_over(self.remote_id, own)

        async def back(_result: Json) -> None:
            await self.make("undo:hand-over", take_back, lambda view: view.owner_id == own, Part.FORM)

        await self.make(
            "hand-over",
            lambda: self.module.hand_over(self.remote_id, owner_id),
            lambda view: view.owner_id == owner_id,
            Part.FORM,
            undo=None if self.carrier.by_hand else back,
        )

    # power, ports and names ---------------------------------------------------------------------------------------------------

    async def _switch(self, name: str, call: Callable[[], Awaitable[Json]], holds: Predicate, undo: Any = None) -> None:
        """Power and ports take their time; a platform that forgot the request is told once more."""
        await self.make(name, call, holds, Part.ROW, limits=self.carrier.switching, undo=undo)

    async def enable(self) -> None:
        await self._switch("enable", lambda: self.module.enable(self.remote_id), lambda view: view.enabled)

    async def quiet(self) -> None:
        """No connection is being switched: what is switched off underneath may come back on."""
        await self.until(
            "quiet", lambda v: not v.busy, Part.CONNECTIONS, reason="the server's connections to be switched"
        )

    async def power_on(self) -> None:
        async def off(_result: Json) -> None:
            await self.power_off("undo:power-on")

        await self._switch(
            "power-on", lambda: self.module.power_on(self.remote_id), lambda view: view.power is Power.ON, off
        )

    async def power_off(self, name: str = "power-off") -> None:
        def is_off(view: ServerView) -> bool:
            return view.power in (Power.OFF, Power.ERROR)

        await self._switch(name, lambda: self.module.power_off(self.remote_id), is_off)

    async def set_names(self, hostname: str, name: str = "names", undo: Undo | None = None) -> None:
        """`hostname` on every address of the server."""

        async def call() -> Json:
            if self.carrier.by_hand:
                return None
            view = await self.view(Part.ADDRESSES)
            await self.module.set_hostname(self.remote_id, view.addresses, hostname)
            return None

        await self.make(
            name,
            call,
            lambda view: all(a.name == hostname for a in view.addresses) and view.hostname == hostname,
            Part.ROW,
            Part.ADDRESSES,
            undo=undo,
            partly=True,
        )

    async def require(self, name: str, differences: Callable[[ServerView], list[str]], *parts: Part) -> None:
        """Read everything back; a difference that stays past the deadline fails the operation."""
        if self.carrier.by_hand:
            return

        async def check(_memory: dict[str, Any]) -> Json:
            wrong = differences(await self.view(*parts))
            if wrong:
                raise Temporary("not_as_expected", "; ".join(wrong))
            return True

        settings = self.carrier.settings
        await self.journal.until(
            name,
            check,
            limits=self.carrier.limits,
            every=settings.watch_every,
            within=settings.power_within,
            reason="everything to read back as it should",
            ordinal=self.base,
        )
