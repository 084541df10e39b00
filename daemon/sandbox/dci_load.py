"""What a server does by itself as time passes: traffic with the shape of a day, bursts, and the power that goes with it.

Panels refresh their totals in steps, and so does a load: at each step the server's totals, its power and the panel's burst of the day move
together, and one line goes into the ledger. The ledger is what really was sent: nothing in the sandbox reads it, so that whoever has
counted what the reports said can be compared with it.
"""

from __future__ import annotations

import math
import random
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from daemon.sandbox.dci_model import Server

if TYPE_CHECKING:
    from daemon.sandbox.dcimanager import DciPanel

AFTER = 60.0
"""Seconds after the full step (after 00:00, 00:05, ...): what is sent never falls on the turn of a month."""
BURSTS = 0.04
"""How many of the steps are bursts, of three to six times as much."""
BUSIEST_HOUR = 20
MOST = 1e6
LONGEST = 86_400.0


@dataclass(frozen=True)
class Load:
    """Averages of a usual day. Equal settings send equal bytes at equal times."""

    rx_mbit: float = 5.0
    tx_mbit: float = 20.0
    watts: float = 120.0
    every: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        usual = (self.rx_mbit, self.tx_mbit, self.watts)
        if not all(0 <= number <= MOST for number in usual) or not 60 <= self.every <= LONGEST:
            raise ValueError(f"rx_mbit, tx_mbit and watts are numbers from 0 to {MOST:g}, every is from 60 s to a day")

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Load:
        """From a door's body; other keys are not looked at."""
        numbers = {name: float(body[name]) for name in ("rx_mbit", "tx_mbit", "watts", "every") if name in body}
        return cls(**numbers, seed=int(body.get("seed", 0)))


@dataclass(frozen=True, slots=True)
class Sent:
    """One line of the ledger: bytes that were sent since the line before, and the watts drawn from now on."""

    at: datetime
    rx: int
    tx: int
    watts: float

    def state(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "rx": self.rx, "tx": self.tx, "watts": self.watts}


@dataclass
class Running:
    """A load on a server, until another takes its place."""

    panel: DciPanel
    server: Server
    load: Load
    stopped: bool = False
    day: str = ""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Of the day so far, Mbit/s, lowest first."""

    def begin(self) -> None:
        self._next()

    def _next(self) -> None:
        since = (self.panel.now() - datetime.fromtimestamp(0, UTC)) / timedelta(seconds=1)
        step = self.load.every
        self.panel.later((math.floor((since - AFTER) / step) + 1) * step + AFTER - since, self._step)

    def _step(self) -> None:
        if self.stopped:
            return
        now, server = self.panel.now(), self.server
        # seeded by the moment, so that what is sent does not hang on how often somebody looked
        dice = random.Random(f"{self.load.seed} {server.id} {now.isoformat()}")  # noqa: S311 - traffic, not secrets
        busy = _busy(now) * dice.uniform(0.7, 1.3)
        peak = dice.uniform(3, 6) if dice.random() < BURSTS else 1.0
        rx, tx = (self._bytes(mbit * busy * peak) for mbit in (self.load.rx_mbit, self.load.tx_mbit))
        server.power = round(self.load.watts * (0.7 + 0.3 * busy * min(peak, 2.0)), 1)
        self.panel.send_traffic(server.id, rx, tx)
        self._show_burst(rx, tx)
        watts = server.power if server.powered else 0.0
        self.panel.ledger.setdefault(server.id, []).append(Sent(now, rx, tx, watts))
        self._next()

    def _bytes(self, mbit: float) -> int:
        """A server that is off sends nothing."""
        return int(mbit * 125_000 * self.load.every) if self.server.powered else 0

    def _show_burst(self, rx: int, tx: int) -> None:
        """The panel's own burst: the 95th percentile of its day so far."""
        today = f"{self.panel.now().astimezone(self.panel.zone):%Y-%m-%d}"
        if today != self.day:
            self.day, self.rates = today, {"burst_in": [], "burst_out": []}
        for (name, rates), sent in zip(self.rates.items(), (rx, tx), strict=True):
            insort(rates, sent / 125_000 / self.load.every)
            setattr(self.server, name, round(rates[len(rates) - 1 - len(rates) * 5 // 100], 1))


def _busy(now: datetime) -> float:
    """The shape of a day: 1 on average, most at the busiest hour, least twelve hours before it."""
    hour = now.hour + now.minute / 60
    return 1 + 0.6 * math.cos((hour - BUSIEST_HOUR) * math.pi / 12)
