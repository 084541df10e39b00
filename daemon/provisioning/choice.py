"""Module choice: the lowest priority that supports the plan, is healthy and has a free server; every reason is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from daemon.domain.errors import Capacity, Permanent, Temporary, Uncertain
from daemon.modules.base import FreeServer
from daemon.provisioning.fleet import Carrier, Fleet
from daemon.provisioning.wanted import special_type
from daemon.settings.plans import PlanSettings
from daemon.store.health import Illness
from daemon.store.repositories import Repositories


@dataclass(frozen=True)
class Verdict:
    """What was found about one module: `free` servers in its own order, or why it is not used."""

    module: str
    free: tuple[FreeServer, ...] = ()
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    asked: bool = True
    """False when the platform could not be asked, so that the number of free servers is unknown."""
    hopeless: bool = False
    """Waiting does not help: it failed this order already, or can't carry it at all."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "free": len(self.free) if self.asked else None,
            "reason": self.reason,
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True)
class Known:
    """What our database says about the modules, read once for the judging of many plans."""

    ill: Mapping[str, Illness]
    drained: Collection[str]
    taken: Mapping[str, Collection[str]]

    @classmethod
    async def read(cls, fleet: Fleet, read: Repositories) -> Known:
        ill, drained = await read.module_health.all(), await _drained(read)
        return cls(ill, drained, {name: await read.claims.live(name) for name in fleet.carriers})


async def judge(
    fleet: Fleet,
    read: Repositories,
    plan: PlanSettings,
    addons: Mapping[str, Any],
    *,
    without: Mapping[str, str] = MappingProxyType({}),
    not_servers: Collection[str] = (),
    first_only: bool = True,
    known: Known | None = None,
) -> list[Verdict]:
    """Judge the plan's modules by priority; with `first_only` stop at the first that has a free server.

    `without`: modules that failed this order already, and why. `not_servers`: "module/remote id" of servers that were somebody else's.
    """
    ill = known.ill if known else await read.module_health.all()
    drained = known.drained if known else await _drained(read)
    verdicts = []
    for carrier in fleet.by_priority(plan.modules):
        if carrier.name in without:
            verdict = Verdict(carrier.name, reason=f"failed for this order: {without[carrier.name]}", hopeless=True)
        elif carrier.name in drained:
            verdict = Verdict(carrier.name, reason="drained by a person")
        elif sick := [ill[name] for name in carrier.systems if name in ill]:
            verdict = Verdict(carrier.name, reason=f"unhealthy: {sick[0].message}", asked=False)
        else:
            taken = known.taken[carrier.name] if known else None
            verdict = _unsupported(carrier, plan, addons) or await _stock(carrier, read, plan, not_servers, taken)
        verdicts.append(verdict)
        if first_only and verdict.free:
            break
    return verdicts


def _unsupported(carrier: Carrier, plan: PlanSettings, addons: Mapping[str, Any]) -> Verdict | None:
    block = special_type(addons, always_blocks(plan))
    if block is not None and carrier.settings.parking_ip_type is None:
        text = f"keeps main addresses for life, so it can't give one of type {block}"
        return Verdict(carrier.name, reason=text, hopeless=True)
    needs = int(addons.get("ip", 1)) > 1 or int(addons.get("ipv6", 0)) or int(addons.get("privateip", 0))
    if needs and carrier.ipam is None:
        return Verdict(carrier.name, reason="has no IPAM to take further addresses from", hopeless=True)
    return None


async def _drained(read: Repositories) -> set[str]:
    return {switch.name for switch in await read.switches.all("module")}


async def _stock(
    carrier: Carrier,
    read: Repositories,
    plan: PlanSettings,
    not_servers: Collection[str],
    taken: Collection[str] | None,
) -> Verdict:
    try:
        stock = await carrier.module.stock(plan.server_type)
    except (Temporary, Uncertain, Permanent) as error:
        return Verdict(carrier.name, reason=error.message, asked=False)
    if taken is None:
        taken = await read.claims.live(carrier.name)
    free = tuple(
        server
        for server in stock.free
        if server.remote_id not in taken and f"{carrier.name}/{server.remote_id}" not in not_servers
    )
    reason = "" if free else f"no free server of type {plan.server_type}"
    return Verdict(carrier.name, free, reason, stock.left_out)


def always_blocks(plan: PlanSettings) -> dict[str, bool]:
    """Special blocks that the plan gives without asking."""
    return {name: addon.billing == "do_not_count" for name, addon in plan.addons.items()}


def no_server(verdicts: list[Verdict]) -> Capacity:
    text = "; ".join(f"{verdict.module}: {verdict.reason}" for verdict in verdicts)
    return Capacity("no_server", f"no module has a free server ({text})", verdicts=[v.as_dict() for v in verdicts])
