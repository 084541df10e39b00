"""Samples of one service out of packed days, without numpy: little enough for a thread of the daemon."""

from __future__ import annotations

from datetime import timedelta

from daemon.store.days import codec
from daemon.store.days.shapes import EPOCH, PackedDay, Sample
from daemon.store.days.shelf import naming


def one_series(service: int, days: list[PackedDay], since: int, until: int) -> list[Sample]:
    """Oldest first; of samples of one time the one in a series counts, else the first stored."""
    axes: dict[bytes, list[int]] = {}
    found: list[Sample] = []
    for day in days:
        with naming(day.place):
            rows = _of_day(service, day, axes)
        if rows and not since <= rows[0][0] <= rows[-1][0] <= until:
            rows = [row for row in rows if since <= row[0] <= until]
        found += [Sample(EPOCH + timedelta(0, 0, at), value, cls) for at, value, cls in rows]
    return found


def _of_day(service: int, day: PackedDay, axes: dict[bytes, list[int]]) -> list[tuple[int, int, int]]:
    rows: list[tuple[int, int, int]] = []
    for _, number, payload in day.series:
        axis = day.axes.get(number)
        if axis is None:
            raise codec.Damaged(f"axis {number} is missing")
        if axis not in axes:
            axes[axis] = codec.unpack_axis(axis)
        values, classes, presence = codec.unpack_series(payload)
        rows += zip(codec.chosen(axes[axis], presence), values, classes, strict=True)
    if not day.slots:
        return rows
    there = {at: (value, cls) for at, value, cls in rows}
    block, offset = divmod(service, codec.BLOCK)
    for at, of_block, payload in day.slots:
        if of_block == block and at not in there:
            sample = codec.in_slot(payload, offset)
            if sample is not None:
                there[at] = sample
    return [(at, *there[at]) for at in sorted(there)]
