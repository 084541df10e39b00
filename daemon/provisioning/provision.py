"""The workflow that turns an order into a running server.

Rounds: each round is one server on one module. A round that fails for good is undone in reverse, every undo verified by reading;
then the next round chooses again, without the module that failed (or without the server that turned out to be somebody else's).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any

import structlog

from daemon.domain.address import AddressState, Role
from daemon.domain.errors import Permanent, ServerTaken
from daemon.domain.operation import Status
from daemon.domain.secrets import link_hash
from daemon.domain.service import State
from daemon.modules.base import Install, Part, Power, ServerView
from daemon.provisioning.access import LINK_LIFE
from daemon.provisioning.addresses import AddressSteps
from daemon.provisioning.choice import always_blocks, judge, no_server
from daemon.provisioning.fleet import Carrier
from daemon.provisioning.journal import BACK_OFF_MOST, WithResult, rarer
from daemon.provisioning.notices import notice
from daemon.provisioning.outcomes import Found, Json, NotThere, Seen, Wait, Withdrawn
from daemon.provisioning.readings import read_counters
from daemon.provisioning.server import ServerSteps
from daemon.provisioning.wanted import wanted_addresses
from daemon.provisioning.workflow import Context
from daemon.store.repositories import Repositories

ROUND = 1_000_000
"""Ordinals of one round: more than one service can have addresses, so that no round meets the steps of another."""
INSTALL_TRIES = 3


async def provision(context: Context) -> None:
    failed_modules: dict[str, str] = {}
    not_servers: list[str] = []
    for number in count():
        choice = await _choose(context, number, failed_modules, not_servers)
        structlog.contextvars.bind_contextvars(module=choice["module"])
        try:
            await _activate(context, choice, await _build(context, choice, number))
        except ServerTaken as taken:
            await context.journal.roll_back(number, taken)
            not_servers.append(f"{choice['module']}/{choice['remote_id']}")
        except Permanent as error:
            await context.journal.roll_back(number, error)
            if isinstance(error, Withdrawn):
                raise
            failed_modules[choice["module"]] = error.message
        else:
            return


async def _choose(context: Context, number: int, failed: dict[str, str], not_servers: list[str]) -> dict[str, Any]:
    """Claim a server of the first module that has one; {"module", "remote_id", "reasons"}."""
    journal, order = context.journal, context.order

    async def decision() -> tuple[Json, WithResult | None]:
        verdicts = await judge(
            context.fleet, context.read, context.plan, order.addons, without=failed, not_servers=not_servers
        )
        chosen = next((verdict for verdict in verdicts if verdict.free), None)
        if chosen is None:
            await _no_server(context, number, no_server(verdicts), hopeless=all(v.hopeless for v in verdicts))
            raise AssertionError  # _no_server always raises
        server = chosen.free[0]
        carrier = context.fleet.carrier(chosen.module)

        async def claim(tx: Repositories, _result: Json) -> None:
            added = await tx.claims.add(
                module=chosen.module,
                remote_id=server.remote_id,
                service_id=context.service.id,
                operation_id=journal.operation.id,
            )
            if not added:
                raise Wait(journal.clock.now(), "another order took the server; choosing again")
            await tx.services.place(
                context.service.id,
                module=chosen.module,
                datacenter=carrier.settings.datacenter,
                remote_id=server.remote_id,
            )

        result = {
            "module": chosen.module,
            "remote_id": server.remote_id,
            "reasons": [verdict.as_dict() for verdict in verdicts],
        }
        return result, claim

    choice: dict[str, Any] = await journal.decide("choose", ordinal=number, decision=decision)
    return choice


async def _no_server(context: Context, number: int, error: Any, *, hopeless: bool) -> None:
    """Wait for stock with a deadline; give up at once when every module has failed."""
    journal = context.journal
    if hopeless:
        raise Permanent("no_module", f"no module is left: {error.message}", **error.context)
    carriers = context.fleet.by_priority(context.plan.modules)
    within = max(carrier.settings.capacity_within for carrier in carriers)
    every = min(carrier.settings.watch_every for carrier in carriers)
    wait = await journal.begin_wait("choose", number, error.message)
    now = journal.clock.now()
    if now >= wait.created_at + within:
        raise Permanent(error.code, error.message, **error.context)
    async with journal.writing() as tx:
        await notice(tx, journal.operation, error, carriers[0].department)
    pause = rarer(now - wait.created_at, every, max(every, BACK_OFF_MOST))
    raise Wait(min(now + pause, wait.created_at + within), error.message)


async def _build(context: Context, choice: dict[str, Any], number: int) -> dict[str, Any]:
    """One round on the chosen server: everything up to the point where only the service has to be said active."""
    carrier = context.fleet.carrier(choice["module"])
    journal, hostname = context.journal, context.order.hostname
    steps = ServerSteps(journal, carrier, choice["remote_id"], context.key, number * ROUND)
    reserved = await steps.reserve(context.plan.server_type)
    if carrier.by_hand and "remote_id" in reserved:
        await _rename(context, steps, reserved)
    own = await steps.own_id()
    owner = await _owner(context, carrier, steps)

    main = reserved.get("main_address", "")
    addresses = AddressSteps(steps, context.service.id, hostname, context.key, beside=main)
    wanted = wanted_addresses(context.order.addons, always_blocks(context.plan), carrier.settings)
    given: list[str] = []
    for ordinal, want in enumerate(wanted):
        missing = sum(other.kind == want.kind for other in wanted[ordinal:])
        address = await addresses.add(want, ordinal, missing)
        given.append(address)
        if want.role is Role.MAIN:
            await addresses.unpark(address, main)
            main = address

    await steps.enable()
    await steps.power_on()
    await steps.set_names(hostname, undo=lambda _: steps.set_names(steps.module.free_hostname, "undo:names"))
    template = await _install(context, steps, main)
    await steps.hand_over(owner["remote_id"], own)
    baseline = await read_counters("baseline", journal, steps, context.service.id, hostname, context.metering)
    everything = [main, *given] if main not in given else given
    await steps.require(
        "verify",
        lambda view: _differences(view, main, everything, hostname, owner, steps.key),
        *Part,
    )
    return {
        "remote_id": steps.remote_id,
        "main": main,
        "baseline": baseline,
        "template": template,
        "owner": owner,
        "parked": carrier.module.parks,
    }


async def _rename(context: Context, steps: ServerSteps, reserved: dict[str, Any]) -> None:
    """By hand: from here on the server has the name that the person gave."""

    async def effects(tx: Repositories, _result: Json) -> None:
        await tx.services.place(
            context.service.id,
            module=steps.carrier.name,
            datacenter=steps.carrier.settings.datacenter,
            remote_id=reserved["remote_id"],
        )

    await context.journal.note("named", steps.base, {"remote_id": reserved["remote_id"]}, effects)
    steps.remote_id = reserved["remote_id"]


async def _owner(context: Context, carrier: Carrier, steps: ServerSteps) -> dict[str, Any]:
    """The customer's user on the platform: found before it is made, and kept for the customer's next services."""
    module, journal = carrier.module, context.journal
    name = module.owner_name(context.customer.id)
    password = context.master.owner_password(carrier.name, context.customer.id)

    async def find() -> Json:
        found = await module.find_owner(name)
        return {"remote_id": found.remote_id, "name": name, "created": False} if found else None

    known = await journal.look("find-user", find, limits=carrier.limits, ordinal=steps.base)
    if known is not None:
        return dict(known)

    async def create() -> Json:
        made = await module.create_owner(name, password)
        return {"remote_id": made.remote_id, "name": name, "created": made.created, "module": carrier.name}

    async def seen() -> Seen:
        found = await module.find_owner(name)
        if found is None:
            return NotThere()
        return Found({"remote_id": found.remote_id, "name": name, "created": True, "module": carrier.name})

    return dict(await journal.step("create-user", create, seen=seen, limits=carrier.limits, ordinal=steps.base))


async def _install(context: Context, steps: ServerSteps, main: str) -> str | None:
    """Install the ordered system and wait for it; a panel that forgot the install is told again. The template, if any."""
    template = context.order.addons.get("ostempl")
    if template is None:
        return None
    install = Install(
        template=template,
        recipe=context.order.addons.get("recipe"),
        hostname=context.order.hostname,
        address=main,
        password=context.master.root_password(context.journal.operation.id),
    )

    async def system() -> Json:
        return "" if steps.carrier.by_hand else (await steps.view(Part.SYSTEM)).system

    before = await context.journal.look("system", system, limits=steps.carrier.limits, ordinal=steps.base)
    for attempt in range(INSTALL_TRIES):
        await _start_install(context, steps, install, before, attempt)
        if await _watch_install(context, steps, template, before, attempt) == "done":
            return str(template)
    raise Permanent("install_lost", f"the panel forgot the install of {template} {INSTALL_TRIES} times")


async def _start_install(context: Context, steps: ServerSteps, install: Install, before: str, attempt: int) -> None:
    def taken(view: ServerView) -> bool:
        """Running, ended badly, or ended well already: it may be quicker than our look."""
        return view.installing or view.failed or view.system == install.template != before

    async def cancel(_result: Json) -> None:
        await _cancel_install(context, steps, attempt)

    await steps.make(
        "install",
        lambda: steps.module.install(steps.remote_id, install),
        taken,
        Part.ROW,
        Part.SYSTEM,
        at_once=False,
        ordinal=attempt,
        undo=None if steps.carrier.by_hand else cancel,
    )


async def _cancel_install(context: Context, steps: ServerSteps, attempt: int) -> None:
    """An install that runs on, or begins late, would fight with the undo: see it begin, stop it, and see it stopped."""
    if not context.journal.is_over("installed", steps.base + attempt):
        await _let_install_show(context, steps, attempt)

    async def call() -> Json:
        if (await steps.view(Part.ROW)).installing:
            await steps.module.cancel_install(steps.remote_id)

    await steps.make("undo:install", call, lambda view: not view.installing, Part.ROW, at_once=False, ordinal=attempt)
    await steps.until(
        "undo:install:done", lambda view: not view.installing, Part.ROW, reason="the install to stop", ordinal=attempt
    )


async def _let_install_show(context: Context, steps: ServerSteps, attempt: int) -> None:
    clock = context.journal.clock
    by = clock.now() + steps.module.install_shows_within

    async def check(memory: dict[str, Any]) -> Json:
        shows_by = datetime.fromisoformat(memory.setdefault("shows_by", by.isoformat()))
        view = await steps.view(Part.ROW)
        return True if view.installing or view.failed or clock.now() >= shows_by else None

    await context.journal.until(
        "undo:install:shown",
        check,
        limits=steps.carrier.limits,
        every=steps.carrier.settings.watch_every,
        reason="the install to begin, so that it can be stopped",
        ordinal=steps.base + attempt,
    )


async def _watch_install(context: Context, steps: ServerSteps, template: str, before: str, attempt: int) -> str:
    """Either "done" or "lost". No flag right after the call proves nothing: it was seen running, or time passed and the system changed."""
    if steps.carrier.by_hand:
        return "done"
    journal, settings, ordinal = context.journal, steps.carrier.settings, steps.base + attempt
    begun = journal.sent_at("install", ordinal)
    shows_by = journal.clock.now() + steps.module.install_shows_within

    async def check(memory: dict[str, Any]) -> Json:
        until = datetime.fromisoformat(memory.setdefault("shows_by", shows_by.isoformat()))
        view = await steps.view(Part.ROW)
        if view.installing:
            memory["running"] = journal.clock.now().isoformat()
            return None
        if view.failed:
            raise Permanent("install_failed", f"the panel says that the install of {template} failed")
        running = memory.get("running")
        if not running and journal.clock.now() < until:
            return None
        system = (await steps.view(Part.SYSTEM)).system
        if system == template:
            # The same system as before proves nothing, unless the install was seen for as long as one takes. Done twice, it is believed.
            seen_for = datetime.fromisoformat(running) - begun if running else timedelta()
            long_enough = running is not None and seen_for >= steps.module.install_at_least
            return "done" if long_enough or before != template or attempt > 0 else "lost"
        # Seen running, gone, and still the old system: the panel forgot it. An unknown word for the system proves nothing.
        return "lost" if system in ("", before) or not running else "done"

    outcome: str = await journal.until(
        "installed",
        check,
        limits=steps.carrier.limits,
        every=settings.watch_every,
        within=settings.install_within,
        reason=f"the install of {template}",
        ordinal=ordinal,
    )
    return outcome


def _differences(
    view: ServerView, main: str, addresses: list[str], hostname: str, owner: dict[str, Any], key: str
) -> list[str]:
    """What does not read back as it was made, as sentences."""
    checks = {
        f"owner is {view.owner_name} ({view.owner_id}), not {owner['name']} ({owner['remote_id']})": (
            (view.owner_name, view.owner_id) == (owner["name"], owner["remote_id"])
        ),
        f"main address is {view.main_address}, not {main}": view.main_address == main,
        f"host name is {view.hostname}, not {hostname}": view.hostname == hostname,
        "our mark is missing": key in view.marks,
        "it is disabled": view.enabled,
        f"power is {view.power}": view.power is Power.ON,
        "an install is running": not view.installing,
    }
    wrong = [sentence for sentence, holds in checks.items() if not holds]
    listed = {a.address for a in view.addresses}
    wrong += [f"address {address} is missing" for address in addresses if address not in listed]
    wrong += [f"address {address} should not be there" for address in sorted(listed - set(addresses))]
    return wrong


async def _activate(context: Context, choice: dict[str, Any], built: dict[str, Any]) -> None:
    """One transaction: active, billed from now on, addresses bound, event, mail."""
    journal, service = context.journal, context.service
    now = journal.clock.now()
    link = link_hash(context.master.link(journal.operation.id))
    carrier = context.fleet.carrier(choice["module"])

    async def effects(tx: Repositories) -> Status:
        fresh = await tx.services.get(service.id)
        assert fresh is not None
        if not built["parked"]:
            await _keep_main(context, tx, carrier, built)
        await tx.services.place(
            service.id,
            module=carrier.name,
            datacenter=carrier.settings.datacenter,
            remote_id=built["remote_id"],
            properties={
                "key": context.key,
                "main": built["main"],
                "baseline": built["baseline"],
                "template": built["template"],
                "owner": built["owner"],
                "provisioned_by": journal.operation.id,
            },
        )
        await tx.services.move(fresh, State.ACTIVE, operation_id=journal.operation.id, billing_from=now)
        await tx.allocations.bind_all(service.id)
        await tx.access_links.add(service.id, link, now + LINK_LIFE)
        bound = await tx.allocations.of_service(service.id, states=[AddressState.BOUND])
        mail = {
            "to": context.customer.email,
            "operation": journal.operation.id,
            "hostname": context.order.hostname,
            "addresses": [allocation.address for allocation in bound],
            "days": LINK_LIFE.days,
        }
        await tx.outbox.put(f"active:{service.id}", "service_active", mail)
        return Status.DONE

    await journal.finish(effects)


async def _keep_main(context: Context, tx: Repositories, carrier: Carrier, built: dict[str, Any]) -> None:
    """A main address that stays with its server for life is in the ledger while the service has it."""
    if not built["main"]:
        return
    await tx.allocations.hold(
        f"{context.key}-life",
        service_id=context.service.id,
        operation_id=context.journal.operation.id,
        ipam="",
        family="ipv4",
        address_type=carrier.settings.public_ip_type,
        role=Role.MAIN,
        module=carrier.name,
        remote_id=built["remote_id"],
        address=built["main"],
    )
