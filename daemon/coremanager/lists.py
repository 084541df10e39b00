"""Rows of a list, and whether "it is not in the list" may be believed (docs/reference/contracts.md#lists).

An account has a row limit and filters that stick, so the same call can answer with fewer rows than there are. What is in a list is
there; what isn't may only be hidden.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from daemon.coremanager.documents import Doc, Elem
from daemon.domain.clock import Clock
from daemon.domain.errors import Temporary

SMALL_DROP = 5
"""Rows that may vanish between two readings whatever the share: short lists move in large percentages."""

BELIEVED_AFTER = timedelta(minutes=10)
"""A list that stays shorter this long is taken as it is."""


@dataclass(slots=True)
class Listing:
    """One reading of a list. `doubt` says why absence proves nothing; None when the list is believed to be whole."""

    system: str
    func: str
    rows: list[Elem]
    doubt: str | None = None
    _by_id: dict[str, Elem] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Elem]:
        return iter(self.rows)

    def by_id(self, remote_id: str) -> Elem | None:
        if self._by_id is None:
            self._by_id = {row.text("id") or "": row for row in self.rows}
        return self._by_id.get(remote_id)

    def find(self, name: str, value: str) -> Elem | None:
        return next((row for row in self.rows if row.text(name) == value), None)

    def require_whole(self) -> None:
        """Call this before believing an absence. Raises Temporary `short_list`."""
        if self.doubt:
            raise Temporary(
                "short_list",
                f"{self.system}: the list {self.func} is doubtful: {self.doubt}",
                system=self.system,
                func=self.func,
            )


def doubt_of(doc: Doc, rows: int) -> str | None:
    """Fewer rows than the panel itself counts."""
    total = doc.text("p_elems")
    if total and total.isascii() and total.isdigit() and int(total) > rows:
        return f"{rows} of {total} rows came: the account's row limit or a filter hides the rest"
    return None


class Memory:
    """How long each list was, to notice one that shrank suddenly. Only lists of the whole panel are worth remembering."""

    def __init__(self, clock: Clock, *, limit_percent: int = 20, believed_after: timedelta = BELIEVED_AFTER) -> None:
        self._clock = clock
        self._limit = limit_percent
        self._hold = believed_after.total_seconds()
        self._rows: dict[str, int] = {}
        self._short_since: dict[str, float] = {}

    def removed(self, func: str) -> None:
        """We took a row away ourselves."""
        if self._rows.get(func):
            self._rows[func] -= 1

    def doubt(self, func: str, rows: int) -> str | None:
        """Compare with the last believed reading and remember this one if it is believed."""
        before = self._rows.get(func, 0)
        if not self._shrank(before, rows):
            self._short_since.pop(func, None)
            self._rows[func] = rows
            return None
        since = self._short_since.setdefault(func, self._clock.monotonic())
        if self._clock.monotonic() - since >= self._hold:
            del self._short_since[func]
            self._rows[func] = rows
            return None
        return f"it had {before} rows and now has {rows}"

    def _shrank(self, before: int, rows: int) -> bool:
        if rows == 0:
            return before > 0
        return before - rows > max(SMALL_DROP, before * self._limit / 100)


@dataclass(slots=True)
class _Flight:
    answer: asyncio.Future[Listing]
    begun: bool = False


class Coalesced:
    """One reading for all who ask at about the same time; nobody gets a reading that began before they asked."""

    def __init__(self, read: Callable[[], Awaitable[Listing]]) -> None:
        self._read = read
        self._flights: list[_Flight] = []
        self._worker: asyncio.Task[None] | None = None

    async def get(self) -> Listing:
        waiting = next((flight for flight in self._flights if not flight.begun), None)
        if waiting is None:
            waiting = _Flight(asyncio.get_running_loop().create_future())
            self._flights.append(waiting)
        if self._worker is None:
            # A context of its own: the first caller's deadline must not end what others wait for.
            self._worker = asyncio.create_task(self._fly(), context=contextvars.Context())
        return await asyncio.shield(waiting.answer)

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _fly(self) -> None:
        try:
            while self._flights:
                flight = self._flights[0]
                flight.begun = True
                await self._one(flight)
                self._flights.pop(0)
        finally:
            self._worker = None
            for flight in self._flights:
                _give(flight, Temporary("closing", "the connection to the panel is being closed"))
            self._flights.clear()

    async def _one(self, flight: _Flight) -> None:
        try:
            answer = await self._read()
        except Exception as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            _give(flight, error)
        else:
            flight.answer.set_result(answer)


def _give(flight: _Flight, error: Exception) -> None:
    if not flight.answer.done():
        flight.answer.set_exception(error)
        flight.answer.exception()  # looked at: all who waited may be gone
