"""The workflow that gives everything back: it only goes forward, and what it can't do is a person's matter."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from daemon.domain.address import AddressState
from daemon.domain.errors import Temporary
from daemon.domain.operation import Status
from daemon.domain.service import Service, State
from daemon.modules.base import Part, Power, ServerView
from daemon.provisioning.addresses import AddressSteps
from daemon.provisioning.fleet import Carrier
from daemon.provisioning.outcomes import Json
from daemon.provisioning.readings import read_counters
from daemon.provisioning.server import ServerSteps
from daemon.provisioning.workflow import Context
from daemon.store.repositories import Repositories

BUILT = (AddressState.HELD, AddressState.BOUND, AddressState.COOLING)
"""A parked address is on a freed server and no more the service's."""


async def release(context: Context) -> None:
    service = context.service
    if service.state is State.PENDING or service.module is None or service.remote_id is None:
        # Nothing was built, or what was built is undone and verified: there is nothing to give back.
        await _end(context, None, None)
        return
    carrier = context.fleet.carrier(service.module)
    steps = ServerSteps(context.journal, carrier, service.remote_id, service.properties["key"])
    own = await steps.own_id()
    owners = [own, service.properties["owner"]["remote_id"]]
    await context.journal.look("ours", lambda: _ours(steps, owners), limits=carrier.limits)
    await steps.enable()
    await steps.quiet()
    await steps.power_off()
    last = await read_counters("last-reading", context.journal, steps, service.id, service.hostname, context.metering)
    parking = await _give_addresses_back(context, steps, carrier)
    free = steps.module.free_hostname
    if not carrier.by_hand:
        await steps.set_names(free)
    await steps.free(owners, "clear")
    await context.journal.pause(
        "settle",
        carrier.settings.readback_pause,
        limits=carrier.limits,
        reason="letting the panel settle before the second reading",
    )
    main = parking or service.properties["main"]
    await steps.require("verify", lambda view: _differences(view, main, free, steps.key), *Part)
    await _end(context, parking, last)


async def _ours(steps: ServerSteps, owners: list[str]) -> Json:
    await steps.require_ours(owners)
    return True


async def _give_addresses_back(context: Context, steps: ServerSteps, carrier: Carrier) -> str | None:
    """Park the main address; take every other one off the server, then give it back. The parking address, if there is one."""
    addresses = AddressSteps(
        steps, context.service.id, steps.module.free_hostname, context.key, beside=context.service.properties["main"]
    )
    parking = await addresses.park() if carrier.module.parks else None
    listed = await context.journal.look("addresses", lambda: _listed(context), limits=carrier.limits)
    for ordinal, entry in enumerate(listed):
        await addresses.remove("remove", entry["address"], ordinal)

        async def released(tx: Repositories, _result: Json, key: str = entry["key"]) -> None:
            await tx.allocations.set_state(key, AddressState.RELEASED)

        await addresses.give_back("give-back", entry["address"], entry["key"], ordinal, released)
    return parking


async def _listed(context: Context) -> list[dict[str, str]]:
    """The service's addresses that came from an IPAM, as the ledger has them when the release begins."""
    found = await context.read.allocations.of_service(context.service.id, states=BUILT)
    ours = context.journal.operation.id  # the parking address that this release has taken
    return [{"key": a.key, "address": a.address} for a in found if a.ipam and a.address and a.operation_id != ours]


def _differences(view: ServerView, main: str, free_hostname: str, key: str) -> list[str]:
    checks = {
        f"owner is still {view.owner_id}": view.owner_id is None,
        f"host name is {view.hostname}, not {free_hostname}": view.hostname == free_hostname,
        f"main address is {view.main_address}, not {main}": view.main_address == main,
        "our mark is still there": key not in view.marks,
        f"power is {view.power}": view.power is not Power.ON,
    }
    wrong = [sentence for sentence, holds in checks.items() if not holds]
    return wrong + [f"address {a.address} is still there" for a in view.addresses if a.address != main]


async def _end(context: Context, parking: str | None, last: dict[str, Any] | None) -> None:
    """One transaction: released, usage records written, the claim and the ledger closed."""
    service = context.service
    until = _end_of_billing(service, last)
    records = await context.metering.final(service, until) if until else []

    async def effects(tx: Repositories) -> Status:
        fresh = await tx.services.get(service.id)
        assert fresh is not None
        if until:
            if not await tx.services.close(service, until):
                raise Temporary("closed_meanwhile", "a billing period of the service was closed just now")
            await tx.usage_records.add(records)
        for allocation in await tx.allocations.of_service(service.id, states=BUILT):
            parked = parking is not None and allocation.address == parking
            await tx.allocations.set_state(allocation.key, AddressState.PARKED if parked else AddressState.RELEASED)
        await tx.claims.release(service.id)
        changes: dict[str, Any] = {"billing_until": until} if until else {}
        await tx.services.move(fresh, State.RELEASED, operation_id=context.journal.operation.id, **changes)
        await tx.tasks.withdraw_of_service(service.id)
        return Status.DONE

    await context.journal.finish(effects)


def _end_of_billing(service: Service, last: dict[str, Any] | None) -> datetime | None:
    """The moment of the last reading; None for a service that never was active."""
    if last is None or service.billing_from is None:
        return None
    return max(datetime.fromisoformat(last["at"]), service.billing_from)
