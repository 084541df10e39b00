"""The composition root: builds every object, owns the order of start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import structlog
from aiohttp import web

from daemon.api.app import make_app, make_runner
from daemon.api.deps import Faces
from daemon.domain.clock import Clock, SystemClock
from daemon.domain.errors import ConfigError, ProvisiondError, Temporary
from daemon.domain.operation import Step
from daemon.domain.platform import Finding, PlatformReport
from daemon.engine import queue_schema
from daemon.engine.cancelling import cancel
from daemon.engine.lease import NodeLease
from daemon.engine.legs import OperationLegs
from daemon.engine.periodic import Periodic
from daemon.engine.port import OPERATION, Dispatch, Engine, Slots, Work
from daemon.engine.queue import Queue
from daemon.engine.sweeper import Sweeper
from daemon.engine.timers import Timers
from daemon.ipam import registry as ipams
from daemon.ipam.base import Ipam
from daemon.modules import registry as modules
from daemon.notify.delivery import deliver_due
from daemon.notify.mail import Mailer
from daemon.observability import logs
from daemon.observability.health import Health
from daemon.observability.metrics import Metrics
from daemon.observability.sd_notify import Notifier
from daemon.observability.watchdog import DATABASE_WITHIN, LoopLag, Pulse, Watchdog, keep_asking
from daemon.provisioning.access import AccessDesk
from daemon.provisioning.desk import Desk
from daemon.provisioning.fleet import Fleet, carrier
from daemon.provisioning.idempotency import Answers
from daemon.provisioning.legs import Legs
from daemon.provisioning.master import installation_id, load_master
from daemon.provisioning.ordering import Ordering
from daemon.provisioning.recovery import look_again
from daemon.settings.loader import Settings, load
from daemon.settings.modules import ModuleSettings
from daemon.stats.collection import Round, Source
from daemon.stats.system import Statistics
from daemon.stats.terms import Book
from daemon.stats.worker import Worker
from daemon.store import schema
from daemon.store.database import Store
from daemon.store.lock import StateLock
from daemon.store.targets import PostgresTarget, SqliteTarget, Target

SOCKET = "provisiond.sock"
MAIL_EVERY = 5.0
RECOVERY_EVERY = 60.0
SCHEMA_EVERY = 10.0
CLOSE_EVERY = 600.0
UPKEEP_EVERY = 1800.0
FORGET_EVERY = 86_400.0
PUSHED_KEEP = timedelta(days=40)
"""At least: a key outlives every repetition of its event."""
STOP_ENGINE_WITHIN = 6.0
"""Seconds; with the faces and the store the whole stop stays under 10 s."""
Edge = Callable[[str, Step], None]

log = structlog.get_logger(__name__)


def target_of(settings: Settings) -> Target:
    database = settings.daemon.database
    if database.url is None:
        return SqliteTarget(settings.daemon.state_dir / "provisiond.db")
    password = settings.credentials.resolve(database.password).reveal() if database.password else None
    return PostgresTarget.from_url(database.url, password)


def build_fleet(settings: Settings, clock: Clock, metrics: Metrics | None = None) -> Fleet:
    """Every configured module with its address manager; nothing is sent anywhere yet."""
    resolve = settings.credentials.resolve
    managers: dict[str, Ipam] = {entry.name: ipams.build(entry, resolve, clock) for entry in settings.ipams}
    carriers = {}
    for entry in settings.modules:
        manager = managers.get(entry.ipam) if entry.ipam else None
        ipam_settings = settings.ipam(entry.ipam) if entry.ipam else None
        carriers[entry.name] = carrier(entry, modules.build(entry, resolve, clock), manager, ipam_settings)
    if metrics is not None:
        for platform in [*managers.values(), *(made.module for made in carriers.values())]:
            watch = getattr(platform, "watch", None)  # a platform without calls (a person) has nothing to watch
            if watch is not None:
                watch(metrics.call)
    return Fleet(settings, carriers)


@dataclass
class Daemon:
    """One running daemon; made and taken down by `running`."""

    settings: Settings
    clock: Clock
    store: Store
    fleet: Fleet
    engine: Engine
    lease: NodeLease
    sweeper: Sweeper
    legs: OperationLegs
    metrics: Metrics
    health: Health
    faces: Faces
    tcp_port: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def status(self) -> str:
        """One line for `systemctl status`."""
        return f"{len(self.legs.running)} legs running, lease margin {self.lease.margin():.0f} s"

    async def gauges(self) -> None:
        """Bring the metrics that are read from the database up to date."""
        read = self.store.read
        self.metrics.operations(await read.operations.counts())
        oldest = await read.operations.oldest_open()
        self.metrics.oldest_open_operation((self.clock.now() - oldest).total_seconds() if oldest else 0.0)
        self.metrics.faults(await read.services.faults())
        self.metrics.allocations(await read.allocations.counts())
        self.metrics.outbox_backlog(await read.outbox.backlog())
        self.metrics.tasks_open(await read.tasks.open_counts())
        self.metrics.low_coverage(await read.alerts.low_coverage())
        waiting = await read.usage_records.periods_waiting(self.clock.now() - timedelta(seconds=3 * CLOSE_EVERY))
        self.metrics.periods_waiting(waiting)
        self.metrics.lease_margin(self.lease.margin())
        for name, platform in self.fleet.platforms().items():
            left = getattr(platform, "repetitions_left", None)  # a person is asked once
            if left is not None:
                self.metrics.retry_budget(name, left())


@asynccontextmanager
async def running(
    settings: Settings, clock: Clock, *, environ: Mapping[str, str] = os.environ, edge: Edge | None = None
) -> AsyncIterator[Daemon]:
    """Start everything in order, and stop it in reverse. `edge` is for the crash suite (see `provisioning.journal`)."""
    async with AsyncExitStack() as stack:
        lock = StateLock(settings.daemon.state_dir)
        lock.acquire()
        stack.callback(lock.release)
        listening = _listen(settings)
        stack.callback(listening.close)
        target = target_of(settings)
        if isinstance(target, SqliteTarget):
            await _make_file(target)
        await schema.ready(target, clock=clock)
        store = await Store.open(target, clock=clock)
        stack.push_async_callback(store.close)
        daemon = await _build(settings, clock, store, target, stack, edge)
        await _start_faces(daemon, listening, stack)
        await _start_watching(daemon, stack, Notifier.from_environment(environ))
        yield daemon


def _listen(settings: Settings) -> socket.socket:
    """Before any work is begun: who connects from now on waits until the daemon is ready."""
    listen = settings.daemon.listen
    try:
        family, _, _, _, place = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise ConfigError("listen", f"listen: can't listen on {listen}: {error.strerror or error}") from error


async def _make_file(target: SqliteTarget) -> None:
    """The first start's SQLite file, made by a process of its own: the memory that migrations need would stay with the daemon."""
    if await schema.state(target) is not schema.State.MISSING:
        return
    maker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon.store.schema", str(target.path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await maker.communicate()
    if maker.returncode != 0:
        cause = said.decode(errors="replace").strip() or f"exit code {maker.returncode}"
        raise Temporary("database_unavailable", f"{target}: the database can't be made: {cause}")


async def _build(
    settings: Settings, clock: Clock, store: Store, target: Target, stack: AsyncExitStack, edge: Edge | None
) -> Daemon:
    """Use cases, engine and periodic work, started: when this returns, unfinished work is armed."""
    base = settings.daemon
    master = await load_master(store, settings.credentials, base.state_dir)
    metrics = Metrics(version("provisiond"))
    fleet = build_fleet(settings, clock, metrics)
    stack.push_async_callback(fleet.close)
    slots = Slots(operations=base.slots)
    engine: Engine = Timers(clock, slots) if isinstance(target, SqliteTarget) else Queue(target, slots)
    name = base.node or socket.gethostname()
    lease = NodeLease(store, clock, name, version("provisiond"), lease=base.lease, heartbeat=base.heartbeat)

    async def arm(operation_id: int, at: datetime) -> None:
        await engine.arm(Work(OPERATION, str(operation_id)), at)

    async def woken(operation_id: int) -> None:
        await arm(operation_id, clock.now())

    watched = _watched(metrics, edge)
    statistics = await _statistics(store, clock, settings, fleet, metrics, stack)
    for problem in await gone_resources(store, settings):
        log.warning("settings.warning", problem=problem)
    body = Legs(store, clock, fleet, master, await installation_id(store), statistics, arm=arm, edge=watched)
    legs = OperationLegs(body.run, engine, lease, clock, within=base.leg_within.total_seconds())
    dispatch = Dispatch()
    dispatch.add(OPERATION, legs)
    sweeper = Sweeper(store, clock, engine, lease, lambda: legs.running, every=base.sweep_every.total_seconds())
    periodic = Periodic(store, clock, engine, dispatch)
    _schedule(periodic, settings, clock, store, fleet, statistics, master.link, metrics)
    health = Health()
    _add_checks(health, store, engine, lease, sweeper)
    answers = Answers(store)

    async def before_scrape() -> None:
        await daemon.gauges()

    faces = Faces(
        store=store,
        clock=clock,
        fleet=fleet,
        ordering=Ordering(store, clock, fleet, answers, woken),
        desk=Desk(store, clock, fleet, answers, woken),
        access=AccessDesk(store, master),
        answers=answers,
        usage=statistics.usage,
        records=statistics.records,
        collector=statistics.collector,
        pushed=statistics.pushed,
        alerts=statistics.alerts,
        health=health,
        metrics=metrics,
        version=version("provisiond"),
        before_scrape=before_scrape,
    )
    daemon = Daemon(settings, clock, store, fleet, engine, lease, sweeper, legs, metrics, health, faces)
    await lease.start()
    stack.push_async_callback(lease.stop)
    await engine.start(dispatch)
    stack.push_async_callback(engine.stop, STOP_ENGINE_WITHIN)
    await sweeper.start()
    stack.push_async_callback(sweeper.stop)
    await periodic.start()
    stack.push_async_callback(periodic.stop)
    return daemon


def _watched(metrics: Metrics, edge: Edge | None) -> Edge:
    """Takes a step's time at its end; then whatever else wants to see the edges."""

    def at(name: str, step: Step) -> None:
        if name in ("committed", "failed") and step.finished_at is not None:
            module = structlog.contextvars.get_contextvars().get("module") or ""
            seconds = (step.finished_at - step.created_at).total_seconds()
            metrics.step(module, step.name, "done" if name == "committed" else "failed", seconds)
        if edge is not None:
            edge(name, step)

    return at


async def _statistics(
    store: Store, clock: Clock, settings: Settings, fleet: Fleet, metrics: Metrics, stack: AsyncExitStack
) -> Statistics:
    """Metering, with its worker process: that one starts when it is first needed."""

    def observe(made: Round) -> None:
        metrics.collection_round(made.module, "incomplete" if made.problems else "ok", made.samples)

    worker = Worker()
    stack.push_async_callback(worker.stop)
    statistics = Statistics(store, clock, settings, lambda: metered(fleet), worker, observe)
    stack.push_async_callback(statistics.close)
    return statistics


def metered(fleet: Fleet) -> list[tuple[Source, ModuleSettings]]:
    """Every module as metering sees it."""
    return [(made.module, made.settings) for made in fleet.carriers.values()]


def _schedule(
    periodic: Periodic,
    settings: Settings,
    clock: Clock,
    store: Store,
    fleet: Fleet,
    statistics: Statistics,
    link: Callable[[int], str],
    metrics: Metrics,
) -> None:
    """What comes back by itself: a collection round per module, the outbox, a look at ill systems."""
    base = settings.daemon
    for module in fleet.carriers:
        # Those without a panel as well: a round looks at what was pushed for their services.
        own = settings.module(module)
        every = (own.poll_every if own and own.poll_every else base.poll_every).total_seconds()

        async def collect(name: str = module) -> None:
            await statistics.collector.round(name)

        periodic.every("collect", module, every, collect)

    async def close_periods() -> None:
        await statistics.records.close_due()

    periodic.every("usage", "close", CLOSE_EVERY, close_periods)
    periodic.every("samples", "upkeep", UPKEEP_EVERY, statistics.upkeep.run)

    async def forget() -> None:
        await statistics.pushed.forget(max(base.evidence_keep, PUSHED_KEEP))

    periodic.every("usage", "forget", FORGET_EVERY, forget)
    mailer = _mailer(settings, clock, link)

    async def deliver() -> None:
        await deliver_due(store, mailer, clock, metrics=metrics)

    periodic.every("mail", "outbox", MAIL_EVERY, deliver)

    async def recover() -> None:
        await look_again(store, fleet)

    periodic.every("recovery", "modules", RECOVERY_EVERY, recover)


async def gone_resources(store: Store, settings: Settings) -> list[str]:
    """Sentences: resources that services have and the settings don't."""
    return await Book(settings.resources, {}).gone(store.read)


def _mailer(settings: Settings, clock: Clock, link: Callable[[int], str]) -> Mailer:
    base = settings.daemon
    password = settings.credentials.resolve(base.mail.password) if base.mail and base.mail.password else None
    return Mailer(
        base, clock, link_to=lambda operation: f"{base.link_base}/access/{link(operation)}", password=password
    )


def _add_checks(health: Health, store: Store, engine: Engine, lease: NodeLease, sweeper: Sweeper) -> None:
    async def database() -> str | None:
        await store.ping()
        return None

    async def scheduler() -> str | None:
        return engine.healthy() or sweeper.healthy()

    async def node() -> str | None:
        return lease.healthy()

    health.add("database", database)
    health.add("engine", scheduler, vital=True)
    health.add("lease", node)


# faces --------------------------------------------------------------------------------------------------------------------------


async def _start_faces(daemon: Daemon, listening: socket.socket, stack: AsyncExitStack) -> None:
    """The Unix socket for commands on this machine, and HTTP."""
    base = daemon.settings.daemon
    path = base.state_dir / SOCKET
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # left by a daemon that was killed: the lock of state_dir says that it is ours
    local = await _runner(make_app(daemon.faces, local=True), stack)
    before = os.umask(0o117)
    try:
        await web.UnixSite(local, str(path)).start()
    finally:
        os.umask(before)
    remote = await _runner(make_app(daemon.faces, local=False), stack)
    await web.SockSite(remote, listening).start()
    daemon.tcp_port = listening.getsockname()[1]


async def _runner(app: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    runner = make_runner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _start_watching(daemon: Daemon, stack: AsyncExitStack, notifier: Notifier) -> None:
    """READY, and then a sign of life only while loop, database and scheduler are well."""
    clock = daemon.clock
    database = Pulse("the database", clock, DATABASE_WITHIN)
    lag = LoopLag(clock, daemon.metrics.loop_lag)
    complaints = [database.complaint, daemon.sweeper.healthy, daemon.engine.healthy]
    watchdog = Watchdog(notifier, clock, lag, complaints, daemon.status)
    for work in (keep_asking(database, daemon.store.ping, clock), lag.run(), watchdog.run()):
        daemon.tasks.append(asyncio.create_task(work))
    stack.push_async_callback(cancel, daemon.tasks)
    stack.callback(notifier.stopping)
    notifier.ready(daemon.status())


# without a daemon around them -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UseCases:
    """What a daemon does, without engine, lease, faces and rhythm: whoever holds it wakes what is due, on any clock."""

    settings: Settings
    clock: Clock
    store: Store
    fleet: Fleet
    statistics: Statistics
    legs: Legs
    ordering: Ordering
    desk: Desk
    mailer: Mailer


@asynccontextmanager
async def use_cases(settings: Settings, clock: Clock) -> AsyncIterator[UseCases]:
    """On the settings' own database, which is made when there is none."""

    async def nobody(_operation_id: int) -> None:
        """The holder looks for itself."""

    async with AsyncExitStack() as stack:
        lock = StateLock(settings.daemon.state_dir)
        lock.acquire()
        stack.callback(lock.release)
        target = target_of(settings)
        if isinstance(target, SqliteTarget):
            await _make_file(target)
        await schema.ready(target, clock=clock)
        store = await Store.open(target, clock=clock)
        stack.push_async_callback(store.close)
        master = await load_master(store, settings.credentials, settings.daemon.state_dir)
        metrics = Metrics(version("provisiond"))
        fleet = build_fleet(settings, clock, metrics)
        stack.push_async_callback(fleet.close)
        statistics = await _statistics(store, clock, settings, fleet, metrics, stack)
        answers = Answers(store)
        yield UseCases(
            settings=settings,
            clock=clock,
            store=store,
            fleet=fleet,
            statistics=statistics,
            legs=Legs(store, clock, fleet, master, await installation_id(store), statistics),
            ordering=Ordering(store, clock, fleet, answers, nobody),
            desk=Desk(store, clock, fleet, answers, nobody),
            mailer=_mailer(settings, clock, master.link),
        )


# what the command line calls ----------------------------------------------------------------------------------------------------


async def run(path: Path, *, edge: Edge | None = None) -> int:
    """`provisiond run`: until SIGTERM or SIGINT. Raises ConfigError when it can't start."""
    settings = load(path)
    logs.configure(settings.daemon.log_level)
    for warning in settings.warnings:
        log.warning("settings.warning", problem=str(warning))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: log.warning("reload.ignored", note="restart to apply new settings"))
    async with running(settings, SystemClock(), edge=edge) as daemon:
        watch = asyncio.create_task(_watch_schema(daemon, stop))
        log.info("daemon.ready", listen=f"{settings.daemon.listen.host}:{daemon.tcp_port}", build=version("provisiond"))
        leave_out_of_collections()
        await stop.wait()
        log.info("daemon.stopping")
        await cancel([watch])
    log.info("daemon.stopped")
    return 0


async def _watch_schema(daemon: Daemon, stop: asyncio.Event) -> None:
    """A database that a newer build has migrated beyond us: take no more work, and end."""
    while True:
        await daemon.clock.sleep(SCHEMA_EVERY)
        with contextlib.suppress(ProvisiondError):  # a database that doesn't answer is the watchdog's matter
            if await schema.state_of(daemon.store.read) is schema.State.NEWER:
                log.error("daemon.outdated", note="a newer provisiond has migrated the database: install that version")
                stop.set()
                return


ALLOCATED = 20_000
"""New objects between two garbage collections. With Python's 700 a third of the processor time of a round of 10 000 servers is spent on
looking for garbage that isn't there; what waits for a collection stays below some MiB."""


def leave_out_of_collections() -> None:
    """What was built at the start stays until the end: looking at it in each garbage collection would cost half of a large report."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATED)


@dataclass(frozen=True)
class CheckReport:
    """What `provisiond check` found. `problems` stop a start or a panel's use; `warnings` don't."""

    problems: list[str]
    warnings: list[str]
    platforms: dict[str, PlatformReport]


async def check(path: Path, *, offline: bool) -> CheckReport:
    """Validate the settings and, unless `offline`, log in to every platform."""
    settings = load(path)
    problems: list[str] = []
    warnings = [str(warning) for warning in settings.warnings]
    platforms: dict[str, PlatformReport] = {}
    if not offline:
        fleet = build_fleet(settings, SystemClock())
        try:
            for name, platform in fleet.platforms().items():
                try:
                    platforms[name] = await platform.check()
                    problems += [f"{name}: {problem}" for problem in platforms[name].problems]
                except ProvisiondError as error:
                    problems.append(f"{name}: {error.message}")
            warnings += await _not_to_be_had(fleet, platforms)
            warnings += await _gone_from_database(settings)
        finally:
            await fleet.close()
    return CheckReport(problems, warnings, platforms)


async def _not_to_be_had(fleet: Fleet, answering: Collection[str]) -> list[str]:
    """Plans whose type no server of a module has, be it free or not: mostly a slip in `server_type`."""
    found = []
    for plan in fleet.settings.plans:
        for carrying in fleet.by_priority(plan.modules):
            if carrying.name not in answering:
                continue
            try:
                stock = await carrying.module.stock(plan.server_type)
            except ProvisiondError:
                continue  # its check has told what is wrong there
            if not stock.free and not stock.left_out:
                found.append(f"plan {plan.name}: {carrying.name} has no server of type {plan.server_type}")
    return found


async def _gone_from_database(settings: Settings) -> list[str]:
    """What services have that the settings don't; nothing where there is no database of this build yet."""
    target = target_of(settings)
    try:
        if await schema.state(target) is not schema.State.CURRENT:
            return []
        store = await Store.open(target, clock=SystemClock())
    except ProvisiondError:
        return []  # `provisiond db check` tells what is wrong with it
    try:
        return await gone_resources(store, settings)
    finally:
        await store.close()


async def probe(path: Path, name: str) -> list[Finding]:
    """Which unverified settings the live platform confirms; read-only. Raises ConfigError for an unknown name."""
    settings = load(path)
    fleet = build_fleet(settings, SystemClock())
    try:
        platforms = fleet.platforms()
        if name not in platforms:
            raise ConfigError("unknown_module", f"there is no module or IPAM {name}; there are {', '.join(platforms)}")
        return list(await platforms[name].probe())
    finally:
        await fleet.close()


async def migrate(path: Path) -> str:
    """`provisiond db migrate`; a sentence that says what was done. Refused while a daemon works on `state_dir`."""
    settings = load(path, check_credentials=False)
    target = target_of(settings)
    with StateLock(settings.daemon.state_dir):
        before = await schema.migrate(target)
        engine = isinstance(target, PostgresTarget) and await queue_schema.install(target)
    done = {"missing": "made the tables", "older": "upgraded the tables", "current": "the tables are current"}[before]
    return f"{target}: {done}" + ("; made the engine's tables" if engine else "")


async def check_database(path: Path) -> list[str]:
    """`provisiond db check`: what is wrong with the database, as sentences."""
    settings = load(path, check_credentials=False)
    target = target_of(settings)
    try:
        found = await schema.state(target)
    except ConfigError as error:
        return [error.message]
    if found is not schema.State.CURRENT:
        return [schema.refusal(target, found).message]
    problems = []
    store = await Store.open(target, clock=SystemClock())
    try:
        problems += [
            f"event {seq} of {stream} does not follow from the one before"
            for stream, seq in await store.read.events.broken_links()
        ]
        if target.dialect == "sqlite":
            answer = await store.read.fetch("PRAGMA integrity_check")
            problems += [str(row["integrity_check"]) for row in answer if row["integrity_check"] != "ok"]
    finally:
        await store.close()
    if isinstance(target, PostgresTarget) and not await queue_schema.installed(target):
        problems.append("the engine's tables are missing; `provisiond db migrate` makes them")
    return problems
