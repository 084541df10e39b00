"""What can be pushed for a service: the resources of its plan that nobody reads or computes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from daemon.domain.resources import Kind, Resource
from daemon.stats.terms import Metered
from daemon.store.repositories import Repositories

OURS = frozenset({"addresses", "services"})
"""Counted from our own data."""


class Pushable:
    def __init__(self, resources: Mapping[str, Resource], metered: Mapping[str, Metered]) -> None:
        self._resources = resources
        self._metered = metered
        self._plans: dict[int, Mapping[str, Any]] = {}
        self._found: dict[tuple[int, str | None], frozenset[str]] = {}

    async def of(self, read: Repositories, service_ids: Collection[int]) -> dict[int, frozenset[str]]:
        """Service -> codes of the resources that are counted by what is pushed; of the services that there are."""
        sold = await read.services.sold(service_ids)
        missing = {revision for revision, _ in sold.values()} - self._plans.keys()
        if missing:
            for revision in (await read.orders.revisions(sorted(missing))).values():
                self._plans[revision.id] = revision.content["resources"]
        return {service_id: self._codes(*plan) for service_id, plan in sold.items()}

    def _codes(self, revision: int, module: str | None) -> frozenset[str]:
        if (revision, module) not in self._found:
            self._found[revision, module] = frozenset(
                code for code, own in self._plans[revision].items() if self._takes(code, own, module)
            )
        return self._found[revision, module]

    def _takes(self, code: str, own: Mapping[str, Any], module: str | None) -> bool:
        """A volume counts beside what is read; a level only where nobody reads it and nothing is configured."""
        resource = self._resources.get(code)
        if resource is None or code in OURS or resource.kind in (Kind.INTEGRAL, Kind.RATE):
            return False
        if resource.kind.counts_up:
            return True
        metered = self._metered.get(module or "")
        return own.get("amount") is None and (metered is None or metered.report_of(code) is None)
