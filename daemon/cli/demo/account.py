"""What a record must say, worked out from the sandbox's ledger alone: plain Python, and nothing of what the product counts with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from zoneinfo import ZoneInfo

from daemon.sandbox.dci_load import Sent

PERCENT = 95
MICROSECOND = timedelta(microseconds=1)
Ledger = Sequence[Sent]


@dataclass(frozen=True)
class Watched:
    """Of one service: its server's ledger, and when somebody looked. `traffic` and `power` are the moments of the readings."""

    ledger: Ledger
    traffic: Sequence[datetime]
    power: Sequence[datetime]
    rhythm: timedelta
    panel_zone: ZoneInfo

    def expected(self, resource: str, since: datetime, until: datetime, *, larger: bool = False) -> int | None:
        """In base units; None: nothing could be known. `larger`: burst_in_day is the larger of the two directions.

        Of a service's first period `since` is the reading that its count begins with.
        """
        if resource in ("in", "out"):
            return self._bytes(_DIRECTIONS[resource], since, until)
        if resource in ("power", "energy"):
            return self._power(resource, since, until)
        asked = ("in", "out") if larger else (resource.split("_")[1],)
        found = [self._burst(_DIRECTIONS[one], since, until) for one in asked]
        return max((one for one in found if one is not None), default=None)

    def _bytes(self, sent: Callable[[Sent], int], since: datetime, until: datetime) -> int:
        return sum(sent(line) for line in self._lines(since, until))

    def _lines(self, since: datetime, until: datetime) -> Ledger:
        """After `since`, up to and with `until`."""
        return self.ledger[bisect_right(self._moments, since) : bisect_right(self._moments, until)]

    @cached_property
    def _moments(self) -> list[datetime]:
        return [line.at for line in self.ledger]

    def _burst(self, sent: Callable[[Sent], int], since: datetime, until: datetime) -> int | None:
        rates = sorted(
            _rounded(8 * self._bytes(sent, begin, end) / _seconds(end - begin))
            for begin, end in self._intervals()
            if since < end <= until
        )
        dropped = len(rates) * (100 - PERCENT) // 100
        return rates[len(rates) - 1 - dropped] if rates else None

    def _intervals(self) -> Iterator[tuple[datetime, datetime]]:
        """Between two readings, where none was missed and the panel's month did not turn; too short a one goes with the next."""
        begun: datetime | None = None
        for before, after in pairwise(self.traffic):
            if 2 * (after - before) > 3 * self.rhythm or self._month(before) != self._month(after):
                begun = None
                continue
            begun = begun or before
            if 2 * (after - begun) >= self.rhythm:
                yield begun, after
                begun = None

    def _month(self, moment: datetime) -> tuple[int, int]:
        local = moment.astimezone(self.panel_zone)
        return local.year, local.month

    def _power(self, resource: str, since: datetime, until: datetime) -> int | None:
        """Each reading holds until the next one; where readings were missed, for one rhythm."""
        work, known = Fraction(0), Fraction(0)
        for at, following in pairwise(self.power):
            end = following if 2 * (following - at) <= 3 * self.rhythm else at + self.rhythm
            held = _seconds(max(timedelta(), min(end, until) - max(at, since)))
            work += held * self._milliwatts(at)
            known += held
        if not known:
            return None
        return _rounded(work / known) if resource == "power" else int(work * 1000 / 3600)

    def _milliwatts(self, at: datetime) -> int:
        place = bisect_right(self._moments, at)
        return round(self.ledger[place - 1].watts * 1000) if place else 0


_DIRECTIONS: dict[str, Callable[[Sent], int]] = {"in": lambda line: line.rx, "out": lambda line: line.tx}


def _seconds(length: timedelta) -> Fraction:
    return Fraction(length // MICROSECOND, 10**6)


def _rounded(value: Fraction) -> int:
    """To the nearest, halves up; nothing here is negative."""
    return int(value + Fraction(1, 2))


def within(moments: Iterable[datetime], since: datetime, until: datetime | None) -> list[datetime]:
    return [moment for moment in moments if since <= moment and (until is None or moment <= until)]


def reached(ledger: Ledger, since: datetime, amount: int) -> datetime:
    """When so many bytes had been sent out after `since`. Raises ValueError when they never were."""
    sent = 0
    for line in ledger:
        sent += line.tx if line.at > since else 0
        if sent >= amount:
            return line.at
    raise ValueError(f"only {sent} bytes were sent")
