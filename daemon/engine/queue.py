"""The engine on PostgreSQL: procrastinate, whatever the number of nodes.

A job says only that some work is due. The work itself runs in our own tasks (`Runner`), so that neither a broken connection of the queue nor
a restart of its worker touches a leg, and a job that a dead worker left behind holds nothing up. No job has a lock; two nodes that wake the
same operation are told apart when they take it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from daemon.engine.port import FRESH, OPERATION, Handler, Slots, Work
from daemon.engine.queue_schema import conninfo
from daemon.engine.runner import Runner
from daemon.store.targets import PostgresTarget, require_postgres_extra

if TYPE_CHECKING:
    from procrastinate import App

log = structlog.get_logger(__name__)

TASK = "wake"
POLL_SECONDS = 0.5
"""How often a worker looks for jobs whose time has come; jobs that are due at once are told to it by NOTIFY."""
HEARTBEAT_SECONDS = 10.0
STALLED_SECONDS = 30.0
LONGEST_PAUSE = 10.0
CLEAN_SECONDS = 300.0
STATEMENT_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_MS = 8_000


class Queue:
    def __init__(self, target: PostgresTarget, slots: Slots | None = None, *, poll: float = POLL_SECONDS) -> None:
        require_postgres_extra()
        self._target = target
        self._slots = slots or Slots()
        self._poll = poll
        self._app: App | None = None
        self._runner: Runner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: dict[str, str] = {}

    async def start(self, handler: Handler) -> None:
        logging.getLogger("procrastinate").setLevel(
            logging.CRITICAL
        )  # what matters of it is said here, once and not per try
        self._runner = Runner(handler, self._slots)
        self._app = self._make_app(self._runner)
        await self._app.open_async()
        for name, slots in (("operations", self._slots.operations), ("others", self._slots.others)):
            self._tasks.append(asyncio.create_task(self._supervise(self._app, name, slots), name=f"engine {name}"))
        self._tasks.append(asyncio.create_task(self._keep_clean(self._app), name="engine clean"))

    async def arm(self, work: Work, at: datetime, *, priority: int = FRESH) -> None:
        from procrastinate.exceptions import AlreadyEnqueued  # noqa: PLC0415 - needs the extra

        if self._app is None:
            return
        try:
            await self._app.configure_task(
                TASK,
                queue=_queue(work),
                priority=priority,
                schedule_at=at,
                queueing_lock=f"{work.kind}:{work.key}:{at.timestamp():.3f}",
            ).defer_async(kind=work.kind, key=work.key)
        except AlreadyEnqueued:
            pass
        except Exception as error:  # noqa: BLE001 - the port says so: then the work is only late
            self._say("arm", error)
        else:
            self._trouble.pop("arm", None)

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - a limit for all of it
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        for task in self._tasks:
            task.cancel()
        if self._runner is not None:
            await self._runner.stop(max(0.1, timeout * 0.8))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.1, end - loop.time()))
        if self._app is not None:
            with contextlib.suppress(Exception):  # a pool that can't be closed in time is left to the process's end
                async with asyncio.timeout(max(0.1, end - loop.time())):
                    await self._app.close_async()
            self._app = None

    def healthy(self) -> str | None:
        if self._app is None:
            return "the queue isn't started"
        return next(iter(self._trouble.values()), None)

    def _make_app(self, runner: Runner) -> App:
        from procrastinate import App, PsycopgConnector  # noqa: PLC0415 - needs the extra

        connector = PsycopgConnector(
            conninfo=conninfo(self._target),
            min_size=1,
            max_size=6,
            timeout=5,
            reconnect_timeout=5,
            configure=_configure,
        )
        app = App(connector=connector)
        app.job_manager.finish_job = _forgiving(app.job_manager.finish_job)  # type: ignore[method-assign, assignment]  # see there

        @app.task(name=TASK)
        async def wake(kind: str, key: str) -> None:
            # Waits until the work ends, so that a node takes no more jobs than it has slots; the work outlives this wait.
            task = runner.run(Work(kind, key))
            if task is not None:
                await asyncio.wait({task})

        return app

    async def _supervise(self, app: App, queue: str, slots: int) -> None:
        """Keep a worker running. It ends whenever its database does; then it is started again, later and later."""
        pause = 0.2
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            watch = asyncio.create_task(self._clear_when_well(queue))
            try:
                await app.run_worker_async(
                    queues=[queue],
                    name=queue,
                    concurrency=slots,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    fetch_job_polling_interval=self._poll,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=STALLED_SECONDS,
                    shutdown_graceful_timeout=0.1,
                )
                self._say(queue, RuntimeError("the worker ended"))
            except Exception as error:  # noqa: BLE001 - whatever ended it, it is started again
                self._say(queue, error)
            finally:
                watch.cancel()
            pause = 0.2 if loop.time() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _clear_when_well(self, queue: str) -> None:
        """A worker that has run for a moment has found its tables."""
        await asyncio.sleep(max(1.0, 2 * self._poll))
        if self._trouble.pop(queue, None):
            log.info("engine.recovered", queue=queue)

    def _say(self, part: str, error: Exception) -> None:
        """Log a trouble when it begins or changes, not at each try."""
        detail = str(error.__cause__ or error).strip().split("\n")[0]
        missing = "does not exist" in detail
        sentence = (
            "the engine's tables are missing: run `provisiond db migrate` and restart"
            if missing
            else f"the engine's queue doesn't answer: {detail}"
        )
        if self._trouble.get(part) != sentence:
            log.warning("engine.trouble", part=part, error=sentence)
        self._trouble[part] = sentence

    async def _keep_clean(self, app: App) -> None:
        """Throw away jobs that a worker took and died with: whoever armed them, the sweeper has armed their work again."""
        while True:
            await asyncio.sleep(CLEAN_SECONDS)
            with contextlib.suppress(Exception):  # tidying up can wait until the next time
                await app.job_manager.prune_stalled_workers(STALLED_SECONDS)
                await app.connector.execute_query_async(
                    "DELETE FROM procrastinate_jobs WHERE status = 'doing' AND worker_id IS NULL"
                )


def _forgiving(finish: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """A job whose row is gone, or can't be reached, has run all the same; procrastinate would leave a traceback per job to the loop."""

    async def finish_job(*args: Any, **kwargs: Any) -> None:
        from procrastinate.exceptions import ConnectorException  # noqa: PLC0415 - needs the extra

        try:
            await finish(*args, **kwargs)
        except ConnectorException as error:
            log.debug("engine.job_not_finished", error=str(error.__cause__ or error))

    return finish_job


def _queue(work: Work) -> str:
    return "operations" if work.kind == OPERATION else "others"


async def _configure(connection: object) -> None:
    """Run on each new connection of the queue's own pool."""
    for name, value in (
        ("statement_timeout", str(STATEMENT_TIMEOUT_MS)),
        ("idle_in_transaction_session_timeout", str(IDLE_IN_TRANSACTION_MS)),
        ("timezone", "UTC"),
    ):
        await connection.execute("SELECT set_config(%s, %s, false)", [name, value])  # type: ignore[attr-defined]  # psycopg's
    await connection.commit()  # type: ignore[attr-defined]  # as above: the pool wants it idle
