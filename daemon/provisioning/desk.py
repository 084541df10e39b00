"""What people and callers ask of services, operations and tasks; every request is recorded with who and why."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.operation import TARGET, Operation, Phase, Status, Step, Verb
from daemon.domain.service import Service, State
from daemon.domain.task import Task, TaskStatus
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.idempotency import Answer, Answers, Effect
from daemon.provisioning.ordering import MANUAL_TASKS, open_operation
from daemon.settings.plans import PlanSettings
from daemon.store.database import Store
from daemon.store.repositories import Repositories

RELEASE_WITHIN = timedelta(days=2)
RESERVE = "reserve"
NEEDS_RESULT: dict[str, tuple[str, ...]] = {
    "take": ("address",),
    "take-parking": ("address",),
    "undo:take-parking": ("address",),
    "create-user": ("remote_id", "name"),
    "own-user": ("value",),
    "find-user": ("value",),
    "system": ("value",),
    "give-back-parking:note": ("value",),
}
"""Steps that a person can mark as done only by saying what came out."""
NOT_BY_HAND = frozenset({"choose", "settle", "still-ours"})
"""Steps that are the daemon's own business."""

Also = Callable[[Repositories, Any], Awaitable[None]]
"""What the caller wants in the same transaction, such as keeping the answer under its Idempotency-Key."""


async def nothing_more(_tx: Repositories, _outcome: Any) -> None:
    """For callers that want nothing else."""


@dataclass(frozen=True)
class Why:
    """What an operation waits for, since when, until when, and what a person may do."""

    operation: Operation
    service: Service
    step: Step | None
    tasks: list[Task]
    may: list[str]


class Desk:
    def __init__(
        self, store: Store, clock: Clock, fleet: Fleet, answers: Answers, woken: Callable[[int], Awaitable[None]]
    ) -> None:
        """`woken` is called with the id of an operation that is due."""
        self._store = store
        self._clock = clock
        self.fleet = fleet
        self._answers = answers
        self._woken = woken

    # services -----------------------------------------------------------------------------------------------------------------

    async def release(
        self, service_id: int, *, actor: str, reason: str, key: str | None = None, answer: Callable[[Operation], Answer]
    ) -> Answer:
        """Give the service back. Accepted at any time: an operation that still builds it is told to stop and undo first."""
        wake: list[int] = []

        async def prepare() -> Effect:
            async def effect(tx: Repositories) -> Answer:
                operation = await self._open_release(tx, service_id, actor, reason, wake)
                return answer(operation)

            return effect

        body = {"service": service_id, "reason": reason}
        result = await self._answers.once(key, "POST /v1/services/{id}/release", body, prepare)
        for operation_id in wake:
            await self._woken(operation_id)
        return result

    async def _open_release(
        self, tx: Repositories, service_id: int, actor: str, reason: str, wake: list[int]
    ) -> Operation:
        service = await tx.services.lock(service_id)
        if service is None:
            raise Refused("no_service", f"there is no service {service_id}", status=404)
        if service.state is State.RELEASED:
            raise Refused("released", f"service {service_id} is released already", status=409)
        live = await tx.operations.live_of_service(service_id)
        if any(operation.verb is Verb.RELEASE for operation in live):
            raise Refused("in_release", f"service {service_id} is being released already", status=409)
        now = self._clock.now()
        for operation in live:
            await tx.operations.cancel(operation.id, f"service {service_id} is to be released ({actor})", now)
            wake.append(operation.id)
        before = live[0] if live else None
        operation = await tx.operations.add(
            service_id,
            Verb.RELEASE,
            status=Status.QUEUED if before else Status.OPEN,
            deadline=now + self._release_within(service),
            params={},
            waiting_for=f"operation {before.id} ({before.verb}) to stop and undo what it did" if before else None,
        )
        await tx.services.set_target(service_id, TARGET[Verb.RELEASE])
        await tx.events.add(
            "service.release", service_id=service_id, operation_id=operation.id, actor=actor, reason=reason
        )
        wake.append(operation.id)
        return operation

    def _release_within(self, service: Service) -> timedelta:
        carrier = self.fleet.carriers.get(service.module or "")
        return carrier.limits.task * MANUAL_TASKS if carrier and carrier.by_hand else RELEASE_WITHIN

    # operations ---------------------------------------------------------------------------------------------------------------

    async def why(self, operation_id: int) -> Why:
        read = self._store.read
        operation = await self._operation(read, operation_id)
        service = await read.services.get(operation.service_id)
        assert service is not None
        step = await read.steps.unfinished(operation_id) if operation.status is Status.OPEN else None
        tasks = await read.tasks.open_of_operation(operation_id)
        return Why(operation, service, step, tasks, await self._may(read, operation, service, step))

    async def retry(self, operation_id: int, *, actor: str, reason: str, also: Also = nothing_more) -> Operation:
        """Try again now. A failed operation is followed by a new one; an open one gets its time limits anew."""
        async with self._store.transaction() as tx:
            fresh = await self._retry(tx, operation_id, actor, reason)
            await also(tx, fresh)
        await self._woken(fresh.id)
        return fresh

    async def _retry(self, tx: Repositories, operation_id: int, actor: str, reason: str) -> Operation:
        operation, service, _ = await self._locked(tx, operation_id, "retry")
        await self._go_on(tx, operation)
        fresh = operation
        if operation.status is Status.FAILED:
            revision = await tx.orders.revision(service.plan_revision_id)
            plan = PlanSettings.model_validate_json(json.dumps(revision.content))
            fresh = await open_operation(tx, service.id, plan, self.fleet, self._clock)
            await tx.services.set_target(service.id, State.ACTIVE)
        await tx.services.set_fault(service.id, None)
        await self._record(tx, "operation.retry", operation, actor, reason, {"operation": fresh.id})
        return fresh

    async def abandon(self, operation_id: int, *, actor: str, reason: str, also: Also = nothing_more) -> Operation:
        """Stop, undo what was done, and leave the service pending with a fault."""
        async with self._store.transaction() as tx:
            operation, service, _ = await self._locked(tx, operation_id, "abandon")
            await self._go_on(tx, operation)
            await tx.operations.cancel(
                operation_id, f"abandoned by {actor}: {reason or 'no reason given'}", self._clock.now()
            )
            await tx.services.set_fault(service.id, None)
            await self._record(tx, "operation.abandon", operation, actor, reason)
            await also(tx, operation)
        await self._woken(operation_id)
        return operation

    async def done(
        self,
        operation_id: int,
        *,
        actor: str,
        reason: str,
        result: dict[str, Any] | None,
        also: Also = nothing_more,
    ) -> Operation:
        """The step the operation stands at was done by hand: believe it and go on."""
        async with self._store.transaction() as tx:
            operation, service, step = await self._locked(tx, operation_id, "done")
            assert step is not None
            missing = [name for name in NEEDS_RESULT.get(step.name, ()) if name not in (result or {})]
            if missing:
                raise Refused(
                    "result_missing",
                    f"step {step.name} gives something: say what",
                    errors=[
                        {"field": f"result.{n}", "code": "missing", "message": "expected a value"} for n in missing
                    ],
                )
            # The next leg finishes it, with the rows that belong to it.
            await tx.steps.put(replace(step, result=self._by_hand(step, result), error=None))
            await self._go_on(tx, operation)
            await tx.services.set_fault(service.id, None)
            await self._record(
                tx, "operation.done_by_hand", operation, actor, reason, {"step": step.name, "result": result}
            )
            await also(tx, operation)
        await self._woken(operation_id)
        return operation

    # tasks --------------------------------------------------------------------------------------------------------------------

    async def close_task(
        self, task_id: int, *, actor: str, result: dict[str, Any], note: str, also: Also = nothing_more
    ) -> Task:
        """A person has done it: the operation goes on with the result. Closing a fault's task is a retry."""
        task = await self._store.read.tasks.get(task_id)
        if task is None:
            raise Refused("no_task", f"there is no task {task_id}", status=404)
        if task.status is not TaskStatus.OPEN:
            raise Refused("not_open", f"task {task_id} is {task.status}", status=409)
        full = {**task.preset, **{name: value for name, value in result.items() if value != ""}}
        _check_result(task, full)
        async with self._store.transaction() as tx:
            closed, due = await self._close(tx, task, full, actor, note)
            await also(tx, closed)
        if due is not None:
            await self._woken(due)
        return closed

    async def _close(
        self, tx: Repositories, task: Task, result: dict[str, Any], actor: str, note: str
    ) -> tuple[Task, int | None]:
        """The closed task, and the operation that is due now."""
        if not await tx.tasks.close(task.id, result=result, note=note, actor=actor):
            raise Refused("not_open", f"task {task.id} is not open any more", status=409)
        await tx.events.add(
            "task.closed",
            service_id=task.service_id,
            operation_id=task.operation_id,
            actor=actor,
            reason=note,
            after={"task": task.id, "result": result},
        )
        due = task.operation_id
        if task.step == RESERVE and task.service_id is not None:
            await self._give_name(tx, task.service_id, str(result["remote_id"]), str(result["main_address"]))
        if due is not None and task.step is None and "retry" in await self._may_now(tx, due):
            due = (await self._retry(tx, due, actor, note or f"task {task.id} closed")).id
        elif due is not None:
            await tx.operations.wake(due, self._clock.now())
        fresh = await tx.tasks.get(task.id)
        assert fresh is not None
        return fresh, due

    async def _give_name(self, tx: Repositories, service_id: int, remote_id: str, address: str) -> None:
        """By hand, too, one server carries one service. The claim keeps its place in the stock."""
        service = await tx.services.get(service_id)
        assert service is not None
        if service.module is None:
            return
        await tx.claims.lock(service.module)
        carrying = await tx.services.on_module(service.module, [State.PENDING, State.ACTIVE, State.SUSPENDED])
        if any(name == remote_id and other != service_id for other, name in carrying):
            raise _taken("remote_id", f"server {remote_id} carries another service", "expected a free server")
        if await tx.allocations.is_held(address):
            raise _taken("main_address", f"{address} is on another server", "expected the server's own address")
        await tx.services.place(service_id, module=service.module, datacenter=service.datacenter, remote_id=remote_id)

    # inside -------------------------------------------------------------------------------------------------------------------

    async def _operation(self, repositories: Repositories, operation_id: int) -> Operation:
        operation = await repositories.operations.get(operation_id)
        if operation is None:
            raise Refused("no_operation", f"there is no operation {operation_id}", status=404)
        return operation

    async def _locked(self, tx: Repositories, operation_id: int, what: str) -> tuple[Operation, Service, Step | None]:
        """The operation, locked and not running, if a person may do `what` now."""
        await tx.operations.lock_any(operation_id)
        operation = await self._operation(tx, operation_id)
        service = await tx.services.get(operation.service_id)
        assert service is not None
        step = await tx.steps.unfinished(operation_id) if operation.status is Status.OPEN else None
        may = await self._may(tx, operation, service, step)
        if what not in may:
            can = ", ".join(may) or "nothing: wait for it"
            raise Refused(
                "not_now", f"operation {operation_id} can't be {_PAST[what]} now; possible: {can}", status=409
            )
        return operation, service, step

    async def _go_on(self, tx: Repositories, operation: Operation) -> None:
        """Due now, with its time limits and those of its unfinished steps begun anew."""
        now = self._clock.now()
        if operation.phase is Phase.FORWARD and operation.cancel is None:
            deadline = now + (operation.deadline - operation.created_at)
            await tx.operations.set_deadline(operation.id, deadline)
        await tx.steps.restart_limits(operation.id)
        await tx.tasks.withdraw_faults(operation.id)
        await tx.operations.wake(operation.id, now)

    async def _may_now(self, tx: Repositories, operation_id: int) -> list[str]:
        operation = await self._operation(tx, operation_id)
        service = await tx.services.get(operation.service_id)
        assert service is not None
        return await self._may(tx, operation, service, None)

    async def _may(self, read: Repositories, operation: Operation, service: Service, step: Step | None) -> list[str]:
        """What a person may do with an operation now."""
        if operation.status is Status.FAILED:
            newest = service.fault is not None and service.fault.operation == operation.id
            over = service.state is not State.PENDING or await read.operations.live_of_service(service.id)
            return ["retry"] if newest and not over else []
        if operation.status is not Status.OPEN or operation.owner is not None:
            return []
        may = ["retry"]
        if operation.verb is Verb.PROVISION and operation.phase is Phase.FORWARD and operation.cancel is None:
            may.append("abandon")
        if step is not None and step.name not in NOT_BY_HAND and not await self._has_task(read, step):
            may.append("done")
        return may

    async def _has_task(self, read: Repositories, step: Step) -> bool:
        """A step that a person was asked for is done by closing its task."""
        tasks = await read.tasks.of_step(step.operation_id, step.name, step.ordinal)
        return any(task.status is TaskStatus.OPEN for task in tasks)

    def _by_hand(self, step: Step, result: dict[str, Any] | None) -> Any:
        """A step's result as the workflow expects it, where a person gave it."""
        name = step.name
        if name == "create-user":
            return {"created": False, **(result or {})}
        if name in ("baseline", "last-reading"):
            return {"at": self._clock.now().isoformat(), "missing": True}
        if name == "installed":
            return "done"
        if name == "ours":
            return {"value": True}
        return result or True

    async def _record(
        self, tx: Repositories, kind: str, operation: Operation, actor: str, reason: str, after: Any = None
    ) -> None:
        await tx.events.add(
            kind,
            service_id=operation.service_id,
            operation_id=operation.id,
            actor=actor,
            reason=reason,
            before={"status": operation.status, "phase": operation.phase},
            after=after,
        )


_PAST = {"retry": "retried", "abandon": "abandoned", "done": "marked done"}


def _taken(field: str, message: str, expected: str) -> Refused:
    problem = {"field": f"result.{field}", "code": "server_taken", "message": expected}
    return Refused("server_taken", message, status=409, errors=[problem])


def _check_result(task: Task, result: dict[str, Any]) -> None:
    optional = [name for name, text in task.wants.items() if text.endswith("(optional)")]
    problems = [
        {"field": f"result.{name}", "code": "missing", "message": f"expected: {text}"}
        for name, text in task.wants.items()
        if name not in optional and not result.get(name)
    ]
    problems += [
        {"field": f"result.{name}", "code": "unknown", "message": "this task has no such field"}
        for name in result
        if name not in task.wants and name not in task.preset
    ]
    if problems:
        raise Refused("invalid_result", f"task {task.id} needs other answers", errors=problems)
