from __future__ import annotations

import asyncio
import os
import socket
from uuid import uuid4

import pytest

from daemon.domain.clock import SystemClock, VirtualClock
from daemon.observability.sd_notify import Notifier
from daemon.observability.watchdog import LoopLag, Pulse, Watchdog, keep_asking


class Manager:
    """The service manager's end: a real datagram socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@provisiond-test-{uuid4().hex}")
    yield manager
    manager.socket.close()


def environment(manager: Manager, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.address, **more}


def test_the_service_manager_hears_ready_status_and_stopping(manager):
    notifier = Notifier.from_environment(environment(manager))
    notifier.ready("3 operations open")
    notifier.status("two\nlines WATCHDOG=1\n")
    notifier.stopping()
    assert manager.heard() == [
        "READY=1\nSTATUS=3 operations open",
        "STATUS=two lines WATCHDOG=1",
        "STOPPING=1\nSTATUS=stopping",
    ]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_without_a_local_socket_nothing_is_sent_and_nothing_breaks(address):
    environ = {"WATCHDOG_USEC": "30000000"} | ({"NOTIFY_SOCKET": address} if address is not None else {})
    notifier = Notifier.from_environment(environ)
    notifier.ready("x")
    notifier.watchdog()
    assert notifier.watchdog_seconds is None


def test_a_service_manager_that_is_gone_does_not_stop_the_work(tmp_path):
    Notifier(str(tmp_path / "nobody")).ready("x")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_when_it_is_meant_for_this_process(manager, environ, seconds):
    assert Notifier.from_environment(environment(manager, **environ)).watchdog_seconds == seconds


def watchdog(manager: Manager, clock, *complaints) -> tuple[Watchdog, LoopLag]:
    notifier = Notifier.from_environment(environment(manager, WATCHDOG_USEC="30000000"))
    lag = LoopLag(clock, lambda _seconds: None)
    return Watchdog(notifier, clock, lag, complaints, lambda: "3 operations open"), lag


def test_a_sign_of_life_comes_with_the_state_while_all_is_well(manager):
    dog, _ = watchdog(manager, VirtualClock(), lambda: None)
    assert dog.check()
    assert manager.heard() == ["WATCHDOG=1", "STATUS=3 operations open"]


def test_no_sign_of_life_is_given_while_something_complains_and_the_state_says_what(manager):
    clock = VirtualClock()
    database, scheduler = Pulse("the database", clock, within=20), Pulse("the scheduler", clock, within=60)
    dog, _ = watchdog(manager, clock, database.complaint, scheduler.complaint)
    clock.advance(21)
    assert not dog.check()
    assert manager.heard() == ["STATUS=not well: the database has shown no life for 21 s"]
    database.beat()
    assert dog.check()
    assert "WATCHDOG=1" in manager.heard()


def test_a_loop_that_was_blocked_for_five_seconds_misses_one_sign_of_life(manager):
    dog, _ = watchdog(manager, VirtualClock())
    assert not dog.check(late=5)
    assert manager.heard() == ["STATUS=not well: the event loop was blocked for 5 s"]
    assert dog.check(late=4.9)


class Enough(Exception):
    """The time that a test gives is over."""


class EndingClock(VirtualClock):
    """A virtual clock on which nobody can sleep past `end` seconds."""

    def __init__(self, end: float, extra: float = 0) -> None:
        super().__init__()
        self._end = end
        self._extra = extra

    async def sleep(self, seconds: float) -> None:
        if self.monotonic() >= self._end:
            raise Enough
        await super().sleep(seconds + self._extra)


async def test_the_sign_of_life_comes_three_times_in_a_period(manager):
    clock = EndingClock(30)
    dog, _ = watchdog(manager, clock)
    with pytest.raises(Enough):
        await dog.run()
    assert manager.heard().count("WATCHDOG=1") == 3


async def test_the_worst_lag_between_two_looks_counts(manager):
    clock = EndingClock(8, extra=7)
    seen: list[float] = []
    lag = LoopLag(clock, seen.append)
    with pytest.raises(Enough):
        await lag.run()
    assert seen == [7]
    assert lag.take_worst() == 7
    assert lag.take_worst() == 0


async def test_a_database_that_stops_answering_lets_the_pulse_run_out():
    clock = EndingClock(40)
    pulse = Pulse("the database", clock, within=20)

    async def ask() -> None:
        if clock.monotonic() > 10:
            raise ConnectionError("gone")

    with pytest.raises(Enough):
        await keep_asking(pulse, ask, clock)
    assert pulse.age() == 30
    assert pulse.complaint() == "the database has shown no life for 30 s"


async def test_a_watchdog_on_the_real_clock_feeds_a_real_socket(manager):
    notifier = Notifier(manager.address, watchdog_seconds=0.06)
    clock = SystemClock()
    dog = Watchdog(notifier, clock, LoopLag(clock, lambda _seconds: None), (), lambda: "well")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dog.run(), timeout=1)
    assert manager.heard().count("WATCHDOG=1") >= 3
