"""The seal of a usage record: one hash over what it is about and every sample it rests on.

Whoever has the samples can make it again with nothing but SHA-256: the text that is hashed is lines of ASCII, one for each field of the
record and then one for each sample in order of time. Samples that were not counted (late, duplicate, foreign) are in it with their class:
leaving one out, or changing its class, breaks the seal. So do the samples before and after the period that the record looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.domain.quality import FORMULA, Quality

SEAL = 1
"""Version of the text that is hashed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sealed:
    """What a usage record is about; `quantity` in whole base units, None: unknown. `formula` is the version of the rules that made it."""

    service_id: int
    resource: str
    since: datetime
    until: datetime
    base_unit: str
    quantity: int | None
    formula: int = FORMULA


def canonical(record: Sealed, samples: Iterable[tuple[datetime, int, Quality]]) -> bytes:
    """The text under the seal: samples are (moment, total, class), in any order; moments in microseconds since 1970 UTC.

    Raises ValueError for a moment without a zone, or a name that is empty or has blanks in it.
    """
    ordered = sorted((_micros(at), total, quality.value) for at, total, quality in samples)
    return heading(record) + "".join(f"{at} {total} {quality}\n" for at, total, quality in ordered).encode("ascii")


def heading(record: Sealed) -> bytes:
    """The lines before those of the samples."""
    for name in (record.resource, record.base_unit):
        if not name.isascii() or name.split() != [name]:
            raise ValueError(f"no name to be sealed: {name!r}")
    lines = [
        f"usage {SEAL}",
        f"service {record.service_id}",
        f"resource {record.resource}",
        f"since {_micros(record.since)}",
        f"until {_micros(record.until)}",
        f"unit {record.base_unit}",
        f"quantity {'unknown' if record.quantity is None else record.quantity}",
        f"formula {record.formula}",
    ]
    return "\n".join([*lines, ""]).encode("ascii")


def seal(record: Sealed, samples: Iterable[tuple[datetime, int, Quality]]) -> str:
    """sha256: and 64 hex digits."""
    return seal_of(canonical(record, samples))


def seal_of(text: bytes) -> str:
    """Of the canonical text."""
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _micros(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a moment needs a zone")
    return (moment - _EPOCH) // _INSTANT
