"""Processing modules: which there are and how they are."""

from __future__ import annotations

from pydantic import Field

from daemon.api.endpoint import EVERY_ROLE, Call, NoBody, Reply, Shape, endpoint
from daemon.api.paging import PageQuery, cut
from daemon.api.shapes import Moment, Page

TAG = "modules"


class ModuleShape(Shape):
    name: str
    type: str
    priority: int = Field(description="the lowest number is used first")
    healthy: bool
    reason: str | None = Field(description="why it is unhealthy")
    since: Moment | None = Field(description="since when it is unhealthy")
    drained: bool = Field(description="true when a person took it out of use for new orders")
    department: str
    datacenter: str | None
    ipam: str | None


class ModulePage(Page[ModuleShape]):
    pass


@endpoint("GET", "/v1/modules", tag=TAG, roles=EVERY_ROLE, answer=ModulePage, query=PageQuery)
async def list_modules(call: Call[PageQuery, NoBody]) -> Reply:
    """All processing modules with their health."""
    read, after = call.faces.store.read, call.query.after_text()
    ill = await read.module_health.all()
    drained = {switch.name for switch in await read.switches.all("module")}
    found = []
    for name in sorted(call.faces.fleet.carriers):
        carrier = call.faces.fleet.carriers[name]
        illness = next((ill[system] for system in carrier.systems if system in ill), None)
        if name <= after:
            continue
        found.append(
            ModuleShape(
                name=name,
                type=carrier.settings.type,
                priority=carrier.settings.priority,
                healthy=illness is None,
                reason=illness.message if illness else None,
                since=illness.since if illness else None,
                drained=name in drained,
                department=carrier.department,
                datacenter=carrier.settings.datacenter,
                ipam=carrier.settings.ipam,
            )
        )
    page, following = cut(found, call.query.limit, lambda module: module.name)
    return Reply(ModulePage(items=page, next=following))


ENDPOINTS = (list_modules,)
