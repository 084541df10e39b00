"""Delivery of the outbox: due parcels are tried, tried again later, and given up in the end with their error kept."""

from __future__ import annotations

from datetime import timedelta

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import Permanent, Temporary
from daemon.notify.mail import Letter, Mailer, ServerUnusable
from daemon.observability.metrics import Metrics
from daemon.observability.redaction import mask_text
from daemon.store.database import Store
from daemon.store.outbox import Parcel

FIRST_AFTER = timedelta(minutes=1)
MOST_BETWEEN = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=3)
"""Of trying: time in which the daemon did not run doesn't count."""

log = structlog.get_logger(__name__)


async def deliver_due(
    store: Store, mailer: Mailer, clock: Clock, limit: int = 50, *, metrics: Metrics | None = None
) -> int:
    """Deal with up to `limit` parcels that are due; how many those were. `limit` back means that more may be due.

    A parcel is marked only after the mail server took it: one that was sent just before a crash is sent again, under the same
    message id. Raises Temporary when the database can't be used.
    """
    async with mailer.turn:
        parcels = await store.read.outbox.due(clock.now(), limit)
        round_ = _Round(store, mailer, clock, metrics)
        for parcel in parcels:
            await round_.deal_with(parcel)
        return len(parcels)


def back_off(attempts: int) -> timedelta:
    """How long after failure number `attempts + 1` the next try comes."""
    return min(FIRST_AFTER * (1 << min(attempts, 20)), MOST_BETWEEN)


def tried_for(attempts: int) -> timedelta:
    """How long a parcel with so many failures has been waited for."""
    return sum((back_off(n) for n in range(attempts)), timedelta())


class _Round:
    """One round of deliveries. Once the server proved unusable, the other parcels of the round are put off untried."""

    def __init__(self, store: Store, mailer: Mailer, clock: Clock, metrics: Metrics | None) -> None:
        self._store = store
        self._mailer = mailer
        self._clock = clock
        self._metrics = metrics
        self._unusable: ServerUnusable | None = None

    async def deal_with(self, parcel: Parcel) -> None:
        try:
            letter = self._mailer.letter(parcel)
            if isinstance(letter, Letter):
                await self._send(parcel, letter)
            else:
                log.info("mail.not_sent", parcel=parcel.key, kind=parcel.kind, reason=letter.reason)
        except Temporary as error:
            await self._put_off(parcel, error)
        except Permanent as error:
            await self._give_up(parcel, error.message)
        except Exception as error:
            log.exception("mail.bug", parcel=parcel.key, kind=parcel.kind)
            await self._give_up(parcel, f"{type(error).__name__}: {error}")
        else:
            await self._done(parcel, sent=isinstance(letter, Letter))

    async def _send(self, parcel: Parcel, letter: Letter) -> None:
        if self._unusable is not None:
            raise self._unusable
        try:
            await self._mailer.send(parcel.key, letter)
        except ServerUnusable as error:
            self._unusable = error
            log.warning("mail.server_unusable", error=error.message)
            raise

    async def _done(self, parcel: Parcel, *, sent: bool) -> None:
        async with self._store.transaction() as tx:
            await tx.outbox.delivered(parcel.id)
        if sent:
            log.info("mail.sent", parcel=parcel.key, kind=parcel.kind, attempts=parcel.attempts + 1)
        self._count(parcel, "delivered" if sent else "not_sent")

    async def _put_off(self, parcel: Parcel, error: Temporary) -> None:
        if tried_for(parcel.attempts) >= GIVE_UP_AFTER:
            await self._give_up(parcel, error.message)
            return
        due_at = self._clock.now() + back_off(parcel.attempts)
        async with self._store.transaction() as tx:
            await tx.outbox.failed(parcel.id, mask_text(error.message), due_at)
        log.info("mail.put_off", parcel=parcel.key, kind=parcel.kind, until=due_at, error=error.message)
        self._count(parcel, "put_off")

    async def _give_up(self, parcel: Parcel, error: str) -> None:
        async with self._store.transaction() as tx:
            await tx.outbox.failed(parcel.id, mask_text(error), None)
        log.error("mail.given_up", parcel=parcel.key, kind=parcel.kind, error=error, attempts=parcel.attempts + 1)
        self._count(parcel, "given_up")

    def _count(self, parcel: Parcel, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.parcel(parcel.kind, outcome)
