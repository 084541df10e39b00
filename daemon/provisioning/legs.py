"""Runs one leg of an operation: from the top of its workflow until it waits, ends or stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import Permanent, ProvisiondError, Temporary
from daemon.domain.operation import Operation, Phase, Status, Verb
from daemon.domain.permit import LeaseLost, sending_under
from daemon.domain.secrets import MasterKey
from daemon.domain.service import Fault
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.journal import Edge, Journal
from daemon.provisioning.notices import mail_department
from daemon.provisioning.outcomes import Stuck, Wait
from daemon.provisioning.provision import provision
from daemon.provisioning.release import release
from daemon.provisioning.workflow import Context, Metering, Workflow
from daemon.settings.plans import PlanSettings
from daemon.store.database import Store
from daemon.store.operations import Fenced
from daemon.store.repositories import Repositories

WORKFLOWS: dict[Verb, Workflow] = {Verb.PROVISION: provision, Verb.RELEASE: release}
UNDONE_BY_UNDO = frozenset({Verb.PROVISION})
"""Verbs that roll back what they did; the others only go forward."""
AGAIN = timedelta(seconds=1)

log = structlog.get_logger(__name__)


class Permit(Protocol):
    """The node's lease as one leg sees it."""

    def valid(self) -> bool:
        """Whether this leg may still send."""
        ...


class Legs:
    """The body that the engine wakes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        fleet: Fleet,
        master: MasterKey,
        installation: str,
        metering: Metering,
        *,
        observe: Callable[[Verb, str], None] = lambda _verb, _end: None,
        arm: Callable[[int, datetime], Awaitable[None]] | None = None,
        edge: Edge | None = None,
    ) -> None:
        """`arm` wakes another operation: the queued one that this one's end opened. `edge`: see `Journal`."""
        self._store = store
        self._clock = clock
        self.fleet = fleet
        self._master = master
        self._installation = installation
        self._metering = metering
        self._observe = observe
        self._arm = arm
        self._watched = {} if edge is None else {"edge": edge}

    async def run(self, operation_id: int, owner: str, permit: Permit) -> datetime | None:
        """Take the operation, do what can be done now, give it back. When the next leg is due; None: nothing is due by itself."""
        async with self._store.transaction() as tx:
            operation = await tx.operations.take(operation_id, owner, self._clock.now())
        if operation is None:
            return None
        bound = structlog.contextvars.bound_contextvars(
            operation=operation.id, service=operation.service_id, verb=operation.verb.value, module=None
        )
        with bound, sending_under(permit.valid):
            return await self._run(operation)

    async def _run(self, operation: Operation) -> datetime | None:
        context = None
        try:
            context = await self._context(operation)
            await self._work(operation, context)
            if context.journal.opened is not None and self._arm is not None:
                await self._arm(context.journal.opened, self._clock.now())
            return None
        except Wait as wait:
            self._observe(operation.verb, "wait")
            return await self._give_back(operation, wait.at, wait.reason)
        except Stuck as stuck:
            return await self._stuck(_as_it_is(operation, context), stuck.error)
        except Fenced:
            log.info("leg.fenced")
            return None
        except LeaseLost:
            log.warning("leg.lease_lost")
            return await self._give_back(operation, self._clock.now() + AGAIN, operation.waiting_for)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(operation, self._clock.now(), "interrupted; looking again"))
            raise
        except Temporary as passing:
            # Our own database, or a read outside of any step: nothing was sent, so the leg is simply run again.
            return await self._give_back(operation, self._clock.now() + AGAIN * 5, passing.message)
        except ProvisiondError as error:
            return await self._stuck(_as_it_is(operation, context), error)
        except Exception as error:
            now = _as_it_is(operation, context)
            log.exception("leg.bug", phase=now.phase.value)
            bug = Permanent("bug", f"a bug in the daemon: {type(error).__name__}: {error}; see its log")
            return await self._stuck(now, bug)

    async def _work(self, operation: Operation, context: Context) -> None:
        try:
            await WORKFLOWS[operation.verb](context)
        except Permanent as error:
            if operation.verb not in UNDONE_BY_UNDO:
                raise Stuck(error) from error
            await self._given_up(context, error)
            return
        self._observe(operation.verb, "done")
        log.info("operation.done")

    async def _context(self, operation: Operation) -> Context:
        read = self._store.read
        service = await read.services.get(operation.service_id)
        assert service is not None
        structlog.contextvars.bind_contextvars(module=service.module)
        order = await read.orders.get(service.order_id)
        revision = await read.orders.revision(service.plan_revision_id)
        steps = await read.steps.of_operation(operation.id)
        journal = Journal(
            self._store,
            self._clock,
            operation,
            steps,
            forward_only=operation.verb not in UNDONE_BY_UNDO,
            **self._watched,
        )
        if operation.verb in UNDONE_BY_UNDO and self._clock.now() >= operation.deadline:
            journal.withdraw(f"the deadline of {operation.deadline.isoformat()} passed")
        return Context(
            journal=journal,
            fleet=self.fleet,
            read=read,
            service=service,
            order=order,
            customer=await read.orders.customer(service.customer_id),
            plan=PlanSettings.model_validate_json(json.dumps(revision.content)),
            master=self._master,
            metering=self._metering,
            installation=self._installation,
        )

    async def _give_back(self, operation: Operation, at: datetime | None, reason: str | None) -> datetime | None:
        async with self._store.transaction() as tx:
            due = await tx.operations.give_back(
                operation.id, operation.fence, due_at=self._by_the_deadline(operation, at), waiting_for=reason
            )
        log.info("leg.waits", until=due.isoformat() if due else None, reason=reason)
        return due

    def _by_the_deadline(self, operation: Operation, at: datetime | None) -> datetime | None:
        """Whatever it waits for: at its deadline it is looked at, and undone."""
        if operation.verb not in UNDONE_BY_UNDO or operation.phase is Phase.UNDO:
            return at
        if self._clock.now() >= operation.deadline:
            return at
        return operation.deadline if at is None else min(at, operation.deadline)

    # ends that need a person --------------------------------------------------------------------------------------------------

    async def _stuck(self, operation: Operation, error: ProvisiondError) -> datetime | None:
        """Open with a fault: nothing more happens before a person says what, or its deadline passes."""
        try:
            async with self._store.transaction() as tx:
                await tx.operations.lock(operation.id, operation.fence)
                await self._fault(tx, operation, error)
                due = await tx.operations.give_back(
                    operation.id,
                    operation.fence,
                    due_at=self._by_the_deadline(operation, None),
                    waiting_for=f"a person: {error.message}",
                )
        except Fenced:
            return None
        log.error("operation.stuck", code=error.code, error=error.message)
        self._observe(operation.verb, "stuck")
        return due

    async def _given_up(self, context: Context, error: Permanent) -> None:
        """Given up, everything undone and verified: superseded by the operation that comes next, else pending with a fault."""
        journal, service = context.journal, context.service

        async def effects(tx: Repositories) -> Status:
            await tx.claims.release(service.id)
            if any(op.status is Status.QUEUED for op in await tx.operations.live_of_service(service.id)):
                return Status.SUPERSEDED
            await tx.services.set_target(service.id, None)
            await self._fault(tx, journal.operation, error)
            return Status.FAILED

        status = await journal.finish(effects, error.as_dict())
        if status is Status.FAILED:
            log.error("operation.failed", code=error.code, error=error.message)
        self._observe(journal.operation.verb, status.value)

    async def _fault(self, tx: Repositories, operation: Operation, error: ProvisiondError) -> None:
        fault = Fault(error.code, error.message, self._clock.now(), operation.id)
        await tx.services.set_fault(operation.service_id, fault)
        undoing = " while undoing" if operation.phase is Phase.UNDO else ""
        title = f"{operation.verb.capitalize()} of service {operation.service_id} needs a person{undoing}"
        text = f"{error.message}\n\nSee `provisiond operation why {operation.id}`; then retry, abandon or mark the step done."
        if not any(task.step is None for task in await tx.tasks.open_of_operation(operation.id)):
            department = await self._department(tx, operation)
            await tx.tasks.add(
                department=department,
                title=title,
                instructions=text,
                service_id=operation.service_id,
                operation_id=operation.id,
            )
            await mail_department(tx, department, f"fault:{operation.id}:{operation.leg}", title, text)
        await tx.events.add(
            "operation.fault",
            service_id=operation.service_id,
            operation_id=operation.id,
            reason=error.message,
            after=fault.as_dict(),
        )

    async def _department(self, tx: Repositories, operation: Operation) -> str:
        """Who answers for it: the module that carries the service, else the plan's first one."""
        service = await tx.services.get(operation.service_id)
        assert service is not None
        if service.module:
            names = [service.module]
        else:
            names = list((await tx.orders.revision(service.plan_revision_id)).content["modules"])
        carriers = self.fleet.by_priority(names)
        return carriers[0].department if carriers else ""


def _as_it_is(operation: Operation, context: Context | None) -> Operation:
    """The operation with what this leg changed: it may have begun to undo."""
    return operation if context is None else context.journal.operation


Run = Callable[[int, str, Permit], Awaitable[datetime | None]]
