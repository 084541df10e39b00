"""Access to a service's passwords: derived when asked for, by a one-time link for the customer or by an operator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from daemon.domain.errors import Refused
from daemon.domain.secrets import MasterKey
from daemon.domain.service import Service, State
from daemon.store.database import Store

LINK_LIFE = timedelta(days=7)


@dataclass(frozen=True)
class Access:
    """What a customer needs to get in. `user_password` is None when the panel user was there before us."""

    hostname: str
    address: str
    root_password: str | None
    user: str | None
    user_password: str | None


class AccessDesk:
    """Hands out passwords, and records to whom."""

    def __init__(self, store: Store, master: MasterKey) -> None:
        self._store = store
        self._master = master

    async def show(self, service_id: int, actor: str, reason: str = "") -> Access:
        """For an operator; recorded. Raises Refused when there is nothing to get into."""
        service = await self._store.read.services.get(service_id)
        if service is None:
            raise Refused("no_service", f"there is no service {service_id}", status=404)
        if service.state not in (State.ACTIVE, State.SUSPENDED):
            raise Refused(
                "not_active", f"service {service_id} is {service.state}: there is nothing to get into", status=409
            )
        access = await self._access(service)
        async with self._store.transaction() as tx:
            await tx.events.add("service.access", service_id=service.id, actor=actor, reason=reason)
        return access

    async def link_is_usable(self, secret: str) -> bool:
        return await self._store.read.access_links.usable(secret) is not None

    async def use_link(self, secret: str) -> Access:
        """For the customer, once."""
        async with self._store.transaction() as tx:
            service_id = await tx.access_links.use(secret)
            if service_id is None:
                raise Refused("no_link", "this link was used already, has expired or never existed", status=404)
            service = await tx.services.get(service_id)
            if service is None or service.state not in (State.ACTIVE, State.SUSPENDED):
                raise Refused("not_active", "the service of this link has ended", status=404)
            await tx.events.add("service.access", service_id=service.id, actor="customer", reason="one-time link")
        return await self._access(service)

    async def _access(self, service: Service) -> Access:
        known = service.properties
        owner = known.get("owner") or {}
        made = await self._store.read.steps.created_users(service.customer_id, service.module or "")
        ours = any(user["remote_id"] == owner.get("remote_id") for user in made)
        password = self._master.owner_password(service.module or "", service.customer_id) if ours else None
        has_system = known.get("template") is not None
        return Access(
            hostname=service.hostname,
            address=known.get("main") or "",
            root_password=self._master.root_password(known["provisioned_by"]) if has_system else None,
            user=owner.get("name"),
            user_password=password,
        )
