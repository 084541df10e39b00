"""A sign of life for systemd, given only while loop, database and scheduler are well.

Whoever can't give it is killed and started again; the journal makes that harmless. A loop that is blocked can't run this code at
all, which is the point of running it there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from daemon.observability.sd_notify import Notifier

MOST_LAG = 5.0
"""Seconds; a loop that came back later than this does not count as well."""
DATABASE_WITHIN = 20.0
"""Seconds since the last answer of the database."""
TICK = 1.0
STATUS_EVERY = 10.0
ASK_EVERY = 5.0

log = structlog.get_logger(__name__)

Complaint = Callable[[], str | None]
"""None when all is well, else what is not, as a sentence without a full stop."""


class Time(Protocol):
    """Where seconds come from; the daemon's clock fits."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Pulse:
    """Something that must show life every `within` seconds: `beat()` when it did."""

    def __init__(self, name: str, time: Time, within: float) -> None:
        self.name = name
        self._time = time
        self._within = within
        self._last = time.monotonic()

    def beat(self) -> None:
        self._last = self._time.monotonic()

    def age(self) -> float:
        """Seconds since the last beat, or since the start."""
        return self._time.monotonic() - self._last

    def complaint(self) -> str | None:
        age = self.age()
        return None if age <= self._within else f"{self.name} has shown no life for {age:.0f} s"


async def keep_asking(pulse: Pulse, ask: Callable[[], Awaitable[object]], time: Time, every: float = ASK_EVERY) -> None:
    """Ask again and again, a beat for each answer; runs until cancelled. `ask` raises when there is no answer, and limits its time."""
    silent = False
    while True:
        try:
            await ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, it was no answer
            if not silent:
                log.warning("pulse.silent", pulse=pulse.name, error=str(error))
            silent = True
        else:
            pulse.beat()
            silent = False
        await time.sleep(every)


class LoopLag:
    """Measures how late the event loop comes back, once a second; `observe` gets each measurement in seconds."""

    def __init__(self, time: Time, observe: Callable[[float], None]) -> None:
        self._time = time
        self._observe = observe
        self._worst = 0.0

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            before = self._time.monotonic()
            await self._time.sleep(TICK)
            lag = max(0.0, self._time.monotonic() - before - TICK)
            self._worst = max(self._worst, lag)
            self._observe(lag)

    def take_worst(self) -> float:
        """The worst lag since the last call."""
        worst, self._worst = self._worst, 0.0
        return worst


class Watchdog:
    """Feeds systemd's watchdog three times in its period while nothing complains, and says in `systemctl status` how things are."""

    def __init__(
        self,
        notifier: Notifier,
        time: Time,
        lag: LoopLag,
        complaints: Sequence[Complaint],
        status: Callable[[], str],
    ) -> None:
        self._notifier = notifier
        self._time = time
        self._lag = lag
        self._complaints = complaints
        self._status = status
        self._unwell = ""

    async def run(self) -> None:
        """Runs until cancelled, also where systemd wants no sign of life: the state is looked at and logged all the same."""
        period = self._notifier.watchdog_seconds
        every = min(period / 3, STATUS_EVERY) if period else STATUS_EVERY
        while True:
            before = self._time.monotonic()
            await self._time.sleep(every)
            self.check(late=max(0.0, self._time.monotonic() - before - every))

    def check(self, late: float = 0.0) -> bool:
        """Look once, tell systemd; whether all was well. `late`: how many seconds after its time this look comes."""
        problems = self._problems(max(late, self._lag.take_worst()))
        if problems:
            self._complain("; ".join(problems))
            return False
        if self._unwell:
            log.info("watchdog.well_again")
        self._unwell = ""
        if self._notifier.watchdog_seconds:
            self._notifier.watchdog()
        self._notifier.status(self._status())
        return True

    def _problems(self, lag: float) -> list[str]:
        problems = [message for complaint in self._complaints if (message := complaint())]
        if lag >= MOST_LAG:
            problems.insert(0, f"the event loop was blocked for {lag:.0f} s")
        return problems

    def _complain(self, text: str) -> None:
        self._notifier.status(f"not well: {text}")
        if not self._unwell:
            log.error("watchdog.unwell", problems=text)
        self._unwell = text
