"""Everything that can be read and written, bound to one connection or one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from itertools import count

from daemon.store.accounts import AccessLinks, Tokens
from daemon.store.addresses import Allocations
from daemon.store.alerts import Alerts
from daemon.store.claims import Claims
from daemon.store.connection import Connection
from daemon.store.events import Events
from daemon.store.facts import Facts
from daemon.store.health import ModuleHealth
from daemon.store.nodes import Nodes
from daemon.store.operations import Operations
from daemon.store.orders import Orders
from daemon.store.outbox import Outbox
from daemon.store.pushed import PushedUsage
from daemon.store.services import Services
from daemon.store.steps import Steps
from daemon.store.switches import Switches
from daemon.store.tasks import Tasks
from daemon.store.usage import UsageRecords
from daemon.store.watermarks import Watermarks

_SAVEPOINTS = count(1)


class Repositories(Connection):
    """One attribute per repository; each is made when first used."""

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part of a transaction that can fail alone: its writes are undone, the error goes on to the caller."""
        name = f"part_{next(_SAVEPOINTS)}"
        await self.execute(f"SAVEPOINT {name}")
        try:
            yield
        except Exception:
            await self.execute(f"ROLLBACK TO SAVEPOINT {name}")
            await self.execute(f"RELEASE SAVEPOINT {name}")
            raise
        await self.execute(f"RELEASE SAVEPOINT {name}")

    @cached_property
    def facts(self) -> Facts:
        return Facts(self)

    @cached_property
    def nodes(self) -> Nodes:
        return Nodes(self)

    @cached_property
    def switches(self) -> Switches:
        return Switches(self)

    @cached_property
    def operations(self) -> Operations:
        return Operations(self)

    @cached_property
    def steps(self) -> Steps:
        return Steps(self)

    @cached_property
    def claims(self) -> Claims:
        return Claims(self)

    @cached_property
    def allocations(self) -> Allocations:
        return Allocations(self)

    @cached_property
    def services(self) -> Services:
        return Services(self)

    @cached_property
    def orders(self) -> Orders:
        return Orders(self)

    @cached_property
    def events(self) -> Events:
        return Events(self)

    @cached_property
    def tasks(self) -> Tasks:
        return Tasks(self)

    @cached_property
    def outbox(self) -> Outbox:
        return Outbox(self)

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self)

    @cached_property
    def access_links(self) -> AccessLinks:
        return AccessLinks(self)

    @cached_property
    def watermarks(self) -> Watermarks:
        return Watermarks(self)

    @cached_property
    def usage_records(self) -> UsageRecords:
        return UsageRecords(self)

    @cached_property
    def pushed(self) -> PushedUsage:
        return PushedUsage(self)

    @cached_property
    def alerts(self) -> Alerts:
        return Alerts(self)

    @cached_property
    def module_health(self) -> ModuleHealth:
        return ModuleHealth(self)
