"""What a usage source brings: the contract for everything that carries usage in from outside, pushed or fetched.

An event is a CloudEvents 1.0 object, as `POST /v1/usage` takes it (`docs/how-to/push-usage.md`):

- `source` names the source, and is the same in all of its events for ever; `id` is the source's own name of the event. The two
  together are its key. A source that reads rows takes their primary key as the id, and never a position in a list.
- `subject` is the id of our service. Who knows a customer or a service by another name looks it up before.
- `time` is the moment the usage belongs to, with its offset.
- `data` holds one quantity, or the two of `upload` and `download`, kept apart: decimal strings or whole numbers, exact.

Delivery is **at least once**. A source may bring an event as often as it likes, in any order, late or twice in one batch: the key makes
it count once. So a source remembers how far it came only *after* `PushDesk.push` has returned, and after an error it brings the same
again. It never repeats an id with another content: that is refused, kept and shown to a person. Usage is corrected by a further event.

What comes more than 35 days late, or from more than 5 minutes ahead, waits in quarantine for a person. Nothing else is dropped: every
item of the answer that is `bad` is the source's to report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Brought:
    """Some events, and the place to go on from once they are stored. `after` is the source's own; empty events mean: nothing new."""

    events: Sequence[Mapping[str, Any]]
    after: str


class UsageSource(Protocol):
    """A place that usage is fetched from. It reads; it stores nothing, retries nothing and knows no price."""

    name: str
    """Of its configuration: unique, and the beginning of the `source` of its events."""

    async def events(self, after: str, limit: int) -> Brought:
        """Up to `limit` events that follow `after`, in the source's order; "" is the beginning. Raises the errors of `domain.errors`."""
        ...
