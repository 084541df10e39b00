"""The step journal: what an operation has done, written before and after every action.

A workflow is a plain coroutine that runs from its top on every leg. Each `step` that the journal holds is skipped and gives its
stored result; the first one that it does not hold is done now. A workflow never sleeps: where it has to wait, `Wait` carries the
moment of the next leg out to the runner. It branches only on its order and on step results, so that every run from the top takes
the same way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import Capacity, Permanent, ProvisiondError, Temporary, Uncertain, Unhealthy, from_dict
from daemon.domain.operation import Operation, Phase, Status, Step, StepStatus
from daemon.domain.permit import require_permit
from daemon.domain.task import TaskStatus
from daemon.modules.base import PersonNeeded
from daemon.observability import logs
from daemon.provisioning.notices import mail_department, notice, notice_of_illness
from daemon.provisioning.outcomes import Found, Json, Limits, NotThere, Seen, Stuck, Unclear, Wait, Withdrawn
from daemon.store.steps import waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from daemon.store.database import Store
    from daemon.store.repositories import Repositories

InTransaction = Callable[["Repositories"], Awaitable[None]]
WithResult = Callable[["Repositories", Json], Awaitable[None]]
Edge = Callable[[str, Step], None]

log = structlog.get_logger(__name__)

LOOK_AFTER = timedelta(seconds=1)
"""How soon the first look follows a lost answer."""
NOT_SHOWN = "not_shown"
"""Code in a step that the platform accepted and does not show yet."""
BACK_OFF_FIRST = timedelta(seconds=2)
BACK_OFF_MOST = timedelta(minutes=5)


def _no_edge(_name: str, _step: Step) -> None:
    """Nobody watches."""


def back_off(attempts: int) -> timedelta:
    return min(BACK_OFF_FIRST * (1 << min(attempts, 20)), BACK_OFF_MOST)


def rarer(waited: timedelta, least: timedelta, most: timedelta) -> timedelta:
    """The pause before the next look: the longer it lasts, the rarer."""
    return max(least, min(waited / 2, most))


class Journal:
    """The journal of one operation during one leg."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        operation: Operation,
        steps: Sequence[Step],
        *,
        forward_only: bool = False,
        edge: Edge = _no_edge,
    ) -> None:
        """`forward_only`: the workflow has no undo, so that what fails for good is a person's matter at once.

        `edge` is called at every edge of every step, in their order: "before", then for calls "intended" and "answered" (or
        "lost"), then "committed" or "failed". The crash suite stops the process there; metrics are taken there.
        """
        self.store = store
        self.clock = clock
        self.operation = operation
        self.undoing = False
        self._forward_only = forward_only
        self._edge = edge
        self._steps = {step.key: step for step in steps}
        self._undos: list[Callable[[], Awaitable[None]]] = []
        self._cancel = operation.cancel
        self.opened: int | None = None
        """The queued operation that `finish` opened."""

    # what a workflow calls ----------------------------------------------------------------------------------------------------

    async def step(
        self,
        name: str,
        call: Callable[[], Awaitable[Json]],
        *,
        seen: Callable[[], Awaitable[Seen]],
        limits: Limits,
        ordinal: int = 0,
        prepare: InTransaction | None = None,
        effects: WithResult | None = None,
        undo: Callable[[Json], Awaitable[None]] | None = None,
        confirm: bool = False,
        partly: bool = False,
    ) -> Json:
        """Do one action on a platform, exactly once in effect; its result (plain JSON).

        `seen` is the probe; with `confirm` it is also asked after an answer of success, since panels take forms and drop them.
        `prepare` writes rows with the intent, `effects` with the outcome. `undo` gets the result when the operation rolls back;
        `partly`: a call that fails may have done a part of it, so that `undo` is due then, too (with None).
        """
        step = self._steps.get((name, ordinal)) or self._new(name, ordinal)
        try:
            if step.status is not StepStatus.DONE:
                with logs.bound(step=name):
                    step = await self._carry_out(step, call, seen, limits, prepare, effects, confirm=confirm)
        except Permanent:
            if partly and undo is not None and step.key in self._steps:
                self._undos.append(lambda: undo(None))
            raise
        if undo is not None:
            result = step.result
            self._undos.append(lambda: undo(result))
        return step.result

    async def look(
        self,
        name: str,
        read: Callable[[], Awaitable[Json]],
        *,
        limits: Limits,
        ordinal: int = 0,
        effects: WithResult | None = None,
    ) -> Json:
        """Read something once and keep it, so that every later leg sees the same. Repeated until it succeeds."""

        async def check(_memory: dict[str, Any]) -> Json:
            return {"value": await read()}

        kept = await self.until(
            name, check, limits=limits, every=BACK_OFF_FIRST, reason=name, ordinal=ordinal, effects=effects
        )
        return kept["value"]

    async def until(
        self,
        name: str,
        check: Callable[[dict[str, Any]], Awaitable[Json]],
        *,
        limits: Limits,
        every: timedelta,
        within: timedelta | None = None,
        reason: str,
        ordinal: int = 0,
        effects: WithResult | None = None,
    ) -> Json:
        """Wait until `check` gives something other than None; at the deadline the step fails for good.

        `check` gets a dict that it may change: it is kept between looks. `within`: other than the limits' own.
        """
        step = self._steps.get((name, ordinal))
        if step and step.status is StepStatus.DONE:
            return step.result
        if step and step.status is StepStatus.FAILED:
            raise from_dict(step.error or {})
        if step and step.result is not None:
            return (await self._finish(step, step.result, effects)).result
        self._stop_if_withdrawn()
        within = limits.within if within is None else within
        known = step is not None
        step = step or self._new(name, ordinal)
        memory: dict[str, Any] = dict(step.before or {})
        every_now, passing = every, None
        self._edge("before", step)
        try:
            with logs.bound(step=name):
                result = await check(memory)
        except (Temporary, Uncertain) as error:
            passing, result, reason = error, None, f"{reason}: {error.message}"
            every_now = max(every, back_off(step.attempts))
            step = replace(step, attempts=step.attempts + 1, error=error.as_dict())
        except Permanent as final:
            raise await self._fail(step, final) from final
        if result is not None:
            return (await self._finish(step, result, effects)).result
        now = self.clock.now()
        if passing is not None or not known or memory != (step.before or {}):
            await self._put_passing(replace(step, before=memory), passing, limits)
        if now >= step.created_at + within:
            if isinstance(passing, Unhealthy):
                raise Stuck(passing)
            timeout = Permanent("timeout", f"waited {_human(within)} in vain: {reason}", step=name)
            raise await self._fail(self._steps[step.key], timeout)
        raise Wait(min(now + every_now, step.created_at + within), reason)

    async def pause(self, name: str, length: timedelta, *, limits: Limits, ordinal: int = 0, reason: str) -> None:
        """Let time pass, once."""
        begun = self.clock.now()

        async def check(memory: dict[str, Any]) -> Json:
            start = datetime.fromisoformat(memory.setdefault("since", begun.isoformat()))
            return True if self.clock.now() >= start + length else None

        within = length + timedelta(days=365)
        await self.until(name, check, limits=limits, every=length, within=within, reason=reason, ordinal=ordinal)

    async def decide(
        self, name: str, *, ordinal: int, decision: Callable[[], Awaitable[tuple[Json, WithResult | None]]]
    ) -> Json:
        """A decision of our own, kept with its rows in one transaction. `decision` may raise Wait, Capacity is for the caller."""
        step = self._steps.get((name, ordinal))
        if step and step.status is StepStatus.DONE:
            return step.result
        self._stop_if_withdrawn()
        self._edge("before", step or self._new(name, ordinal))
        result, effects = await decision()
        return (await self._finish(step or self._new(name, ordinal), result, effects)).result

    async def begin_wait(self, name: str, ordinal: int, reason: str) -> Step:
        """Keep since when something is waited for; the row of the wait."""
        step = self._steps.get((name, ordinal))
        if step is None:
            step = replace(self._new(name, ordinal), error={"message": reason})
            await self._put(step)
        return step

    def withdraw(self, why: str) -> None:
        """Stop and undo from the next step on."""
        self._cancel = self._cancel or why

    @property
    def withdrawn(self) -> str | None:
        """Why the operation shall stop and undo, if it shall."""
        return self._cancel

    def has(self, name: str, ordinal: int = 0) -> bool:
        """Whether a step is done."""
        step = self._steps.get((name, ordinal))
        return step is not None and step.status is StepStatus.DONE

    def is_over(self, name: str, ordinal: int = 0) -> bool:
        """Whether a step has ended, well or not."""
        step = self._steps.get((name, ordinal))
        return step is not None and step.status in (StepStatus.DONE, StepStatus.FAILED)

    def begun(self, name: str, ordinal: int = 0) -> bool:
        """Whether a step may have had an effect: done, or sent with an unknown end."""
        step = self._steps.get((name, ordinal))
        return step is not None and (step.status is StepStatus.DONE or step.sent_at is not None)

    async def note(self, name: str, ordinal: int, result: Json, effects: WithResult | None = None) -> Json:
        """Keep a fact of our own with its rows, once."""
        if not self.has(name, ordinal):
            await self._finish(self._new(name, ordinal), result, effects)
        return self.result(name, ordinal)

    def sent_at(self, name: str, ordinal: int = 0) -> datetime:
        """When the call of a step was sent last, or now for one that was never sent (a person did it)."""
        step = self._steps.get((name, ordinal))
        return self.clock.now() if step is None or step.sent_at is None else step.sent_at

    def result(self, name: str, ordinal: int = 0) -> Json:
        return self._steps[name, ordinal].result

    # undo -----------------------------------------------------------------------------------------------------------------------

    async def roll_back(self, ordinal: int, cause: ProvisiondError) -> None:
        """Undo what this round did, last thing first; returns when every undo is verified, and raises Stuck when one can't be."""
        undos, self._undos = self._undos, []
        if self.has("undone", ordinal):
            return
        self.undoing = True
        if self.operation.phase is not Phase.UNDO:
            async with self.writing() as tx:
                why = cause.message if isinstance(cause, Withdrawn) else None
                await tx.operations.enter_undo(self.operation.id, cause.as_dict(), cancel=why)
                await self._event(tx, "operation.undo", reason=cause.message)
            self.operation = replace(self.operation, phase=Phase.UNDO)
        for undo in reversed(undos):
            await undo()

        async def leave(tx: Repositories, _result: Json) -> None:
            await tx.operations.leave_undo(self.operation.id)
            await tx.allocations.release_empty(self.operation.id)
            await tx.claims.release(self.operation.service_id)
            await tx.services.place(self.operation.service_id, module=None, datacenter=None, remote_id=None)

        await self._finish(self._new("undone", ordinal), {"cause": cause.as_dict()}, leave)
        self.operation = replace(self.operation, phase=Phase.FORWARD)
        self.undoing = False

    # ends -----------------------------------------------------------------------------------------------------------------------

    async def finish(
        self, effects: Callable[[Repositories], Awaitable[Status]], error: dict[str, Any] | None = None
    ) -> Status:
        """End the operation with its effects, which say how it ended, in one transaction; opens the next one of the service.

        Raises Withdrawn instead of ending as done when somebody has asked the operation to stop: then it must be undone first.
        """
        async with self.writing() as tx:
            await tx.tasks.withdraw_of_operation(self.operation.id)
            status = await effects(tx)
            if status is Status.DONE:
                self._stop_if_withdrawn()
            await tx.operations.end(self.operation.id, status, error)
            await self._event(tx, f"operation.{status}", after={"error": error} if error else None)
            self.opened = await tx.operations.open_next(self.operation.service_id)
        return status

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Repositories]:
        """A transaction that holds the operation's row under our fence, or raises Fenced."""
        async with self.store.transaction() as tx:
            self._cancel = await tx.operations.lock(self.operation.id, self.operation.fence) or self._cancel
            yield tx

    # inside ---------------------------------------------------------------------------------------------------------------------

    async def _carry_out(
        self,
        step: Step,
        call: Callable[[], Awaitable[Json]],
        seen: Callable[[], Awaitable[Seen]],
        limits: Limits,
        prepare: InTransaction | None,
        effects: WithResult | None,
        *,
        confirm: bool,
    ) -> Step:
        if step.status is StepStatus.FAILED:
            raise from_dict(step.error or {})
        by_person = await self._done_by_person(step)
        if by_person is not None:
            return await self._finish(step, by_person, effects)
        if step.sent_at is not None:
            found = await self._resolve(step, seen, limits)
            if found is not None:
                return await self._finish(step, found.result, effects)
            step = replace(step, sent_at=None)
            if self._cancel and not self.undoing:
                raise await self._fail(step, Withdrawn("withdrawn", self._cancel))
            if self.clock.now() >= step.created_at + limits.within:
                raise await self._fail(
                    step, Permanent("no_effect", f"{step.name}: still without effect after {_human(limits.within)}")
                )
        self._stop_if_withdrawn()
        self._edge("before", step)
        step = await self._intend(step, prepare)
        self._edge("intended", step)
        result = await self._send(step, call, limits)
        self._edge("answered", step)
        if confirm:
            look = await self._probe(step, seen, limits)
            if not isinstance(look, Found):
                text = f"{step.name}: accepted, but not shown yet"
                await self._put(replace(step, error={"code": NOT_SHOWN, "message": text}))
                raise Wait(self.clock.now() + LOOK_AFTER, text)
            result = result if look.result is None else look.result
        return await self._finish(step, result, effects)

    async def _done_by_person(self, step: Step) -> Json:
        """What came out, where a person did the step: marked it as done, or closed its task. None: nobody did."""
        if step.result is not None or step.key not in self._steps:
            return step.result
        tasks = await self.store.read.tasks.of_step(self.operation.id, step.name, step.ordinal)
        closed = [task.result for task in tasks if task.status is TaskStatus.CLOSED]
        return closed[-1] if closed else None

    async def _resolve(self, step: Step, seen: Callable[[], Awaitable[Seen]], limits: Limits) -> Found | None:
        """What became of a call whose effect we don't see: the finding, or None when it surely never took effect."""
        assert step.sent_at is not None
        accepted = (step.error or {}).get("code") == NOT_SHOWN
        lands_within = limits.shows if accepted else limits.settle
        settled_at = step.sent_at + max(
            lands_within, back_off(max(0, step.attempts - 1))
        )  # each repetition comes later
        asked_at = self.clock.now()
        look = await self._probe(step, seen, limits)
        if isinstance(look, Found):
            return look
        if isinstance(look, NotThere) and asked_at >= settled_at:
            return None
        reason = look.reason if isinstance(look, Unclear) else "it may still take effect"
        if asked_at >= step.created_at + limits.within + lands_within:
            raise Stuck(Uncertain("unclear", f"{step.name}: can't tell whether it happened: {reason}", step=step.name))
        due = self._next_look(step, limits)
        begun = "accepted, but not shown yet" if accepted else f"answer lost, looking until it is clear ({reason})"
        raise Wait(min(due, settled_at) if asked_at < settled_at else due, f"{step.name}: {begun}")

    async def _probe(self, step: Step, seen: Callable[[], Awaitable[Seen]], limits: Limits) -> Seen:
        try:
            return await seen()
        except (Temporary, Uncertain) as passing:
            if isinstance(passing, Unhealthy):
                await self._put_passing(step, passing, limits)
            if self.clock.now() >= step.created_at + limits.within + limits.settle:
                raise Stuck(passing) from passing
            raise Wait(self._next_look(step, limits), f"{step.name}: can't look: {passing.message}") from passing

    def _next_look(self, step: Step, limits: Limits) -> datetime:
        now = self.clock.now()
        return now + rarer(now - (step.sent_at or now), LOOK_AFTER, limits.look)

    async def _intend(self, step: Step, prepare: InTransaction | None) -> Step:
        step = replace(step, status=StepStatus.INTENT, sent_at=self.clock.now(), attempts=step.attempts + 1, error=None)
        async with self.writing() as tx:
            self._stop_if_withdrawn()
            await tx.steps.put(step)
            if prepare is not None:
                await prepare(tx)
        self._steps[step.key] = step
        return step

    async def _send(self, step: Step, call: Callable[[], Awaitable[Json]], limits: Limits) -> Json:
        """The call itself; every error ends the leg or fails the step, by its class."""
        require_permit()
        try:
            return await call()
        except PersonNeeded as need:
            return await self._ask_person(step, need, limits)
        except Uncertain as lost:
            self._edge("lost", step)
            await self._put(replace(step, error=lost.as_dict()))
            raise Wait(self.clock.now() + LOOK_AFTER, f"{step.name}: {lost.message}; looking first") from lost
        except (Temporary, Capacity) as passing:
            await self._not_done(step, passing, limits)
        except Permanent as error:
            raise await self._fail(replace(step, sent_at=None), error) from error

    async def _not_done(self, step: Step, passing: Temporary | Capacity, limits: Limits) -> None:
        """Surely nothing was done: wait and do it again, until the deadline."""
        step = replace(step, status=StepStatus.WAITING, sent_at=None, error=passing.as_dict())
        within = limits.capacity if isinstance(passing, Capacity) else limits.within
        now = self.clock.now()
        if now >= step.created_at + within:
            if isinstance(passing, Unhealthy):
                await self._put(step)
                raise Stuck(passing)
            raise await self._fail(
                step,
                Permanent(passing.code, f"{step.name}: {passing.message} (for {_human(within)})", **passing.context),
            )
        await self._put_passing(step, passing, limits)
        raise Wait(min(now + back_off(step.attempts), step.created_at + within), f"{step.name}: {passing.message}")

    async def _put_passing(self, step: Step, passing: ProvisiondError | None, limits: Limits) -> None:
        """Keep what hinders a step; what only people can bring is told to the department, once."""
        async with self.writing() as tx:
            await tx.steps.put(step)
            if isinstance(passing, Unhealthy):
                await notice_of_illness(tx, passing, limits)
            elif isinstance(passing, Capacity):
                await notice(tx, self.operation, passing, limits.department)
        self._steps[step.key] = step

    async def _ask_person(self, step: Step, need: PersonNeeded, limits: Limits) -> Json:
        """Make the task, unless it is made already, and wait for it."""
        tasks = await self.store.read.tasks.of_step(self.operation.id, step.name, step.ordinal)
        step = replace(step, status=StepStatus.WAITING, sent_at=None)
        async with self.writing() as tx:
            await tx.steps.put(step)
            if not tasks:
                await tx.tasks.add(
                    department=limits.department,
                    title=need.title,
                    instructions=need.instructions,
                    service_id=self.operation.service_id,
                    operation_id=self.operation.id,
                    step=step.name,
                    ordinal=step.ordinal,
                    wants=need.wants,
                    preset=need.preset,
                )
                await mail_department(
                    tx,
                    limits.department,
                    f"task:{self.operation.id}:{step.name}:{step.ordinal}",
                    need.title,
                    need.instructions,
                )
        self._steps[step.key] = step
        due = step.created_at + limits.task
        if self.clock.now() >= due:
            raise Stuck(Permanent("task_overdue", f"nobody closed the task in {_human(limits.task)}: {need.title}"))
        raise Wait(due, f"a person of {limits.department or 'no department'}: {need.title}")

    async def _finish(self, step: Step, result: Json, effects: WithResult | None) -> Step:
        step = replace(step, status=StepStatus.DONE, result=result, error=None, finished_at=self.clock.now())
        async with self.writing() as tx:
            await tx.steps.put(step)
            if effects is not None:
                await effects(tx, result)
            await self._event(tx, "step.done", after={"step": step.name, "ordinal": step.ordinal, "result": result})
        self._steps[step.key] = step
        log.info("step.done", step=step.name, ordinal=step.ordinal, attempts=step.attempts)
        self._edge("committed", step)
        return step

    async def _fail(self, step: Step, error: Permanent) -> Permanent | Stuck:
        """Keep that a step failed for good; in an undo that is a person's matter and may be tried again."""
        if self.undoing or self._forward_only:
            await self._put(replace(step, status=StepStatus.WAITING, sent_at=None, error=error.as_dict()))
            return Stuck(error)
        step = replace(step, status=StepStatus.FAILED, error=error.as_dict(), finished_at=self.clock.now())
        async with self.writing() as tx:
            await tx.steps.put(step)
            after = {"step": step.name, "ordinal": step.ordinal, "error": error.as_dict()}
            await self._event(tx, "step.failed", after=after, reason=error.message)
        self._steps[step.key] = step
        log.warning("step.failed", step=step.name, ordinal=step.ordinal, code=error.code, error=error.message)
        self._edge("failed", step)
        return error

    async def _put(self, step: Step) -> None:
        async with self.writing() as tx:
            await tx.steps.put(step)
        self._steps[step.key] = step

    async def _event(self, tx: Repositories, kind: str, *, after: Json = None, reason: str = "") -> None:
        await tx.events.add(
            kind, service_id=self.operation.service_id, operation_id=self.operation.id, after=after, reason=reason
        )

    def _new(self, name: str, ordinal: int) -> Step:
        return waiting(self.operation.id, name, ordinal, self.clock.now())

    def _stop_if_withdrawn(self) -> None:
        if self._cancel and not self.undoing:
            raise Withdrawn("withdrawn", self._cancel)


def _human(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
