"""Arithmetic over many samples at once: what `crunch` runs in the worker process. numpy is imported here, in `series` and in `measures` only.

Everything is exact: int64 in and out, differences modulo 2**64, ranks in whole numbers.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.store.days import codec
from daemon.store.days.codec import BLOCK, CONSTANT, DEFLATED, STORED, Damaged
from daemon.store.days.shapes import ClosedBlock, Columns, OpenBlock, Packed, bounds
from daemon.store.days.shelf import naming

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Order = npt.NDArray[np.intp]

LEVEL = 6
CANDIDATES = (1, 0, 2)
"""Orders of differences to choose from; the first one wins a tie."""


# --- closing -----------------------------------------------------------------------------------------------------------------------


def encode_block(block: OpenBlock) -> ClosedBlock:
    """Slots, and series of an earlier closing, as new series. Of samples of one time the one in the series stays, else the first stored."""
    with naming(block.place):
        services, times, values, classes, labels = _gathered(block)
    order = np.lexsort((np.arange(len(times)), times, services))  # stable: what came first stays first
    services, times = services[order], times[order]
    fresh = np.ones(len(times), dtype=bool)
    fresh[1:] = (services[1:] != services[:-1]) | (times[1:] != times[:-1])
    services, times, order = services[fresh], times[fresh], order[fresh]
    values, classes, labels = values[order], classes[order], labels[order]
    found = ClosedBlock([], [])
    for group in _alike(services, labels):
        inside = np.isin(services, group)
        _encode_group(found, services[inside], times[inside], values[inside], classes[inside])
    found.series.sort(key=lambda row: row[0])
    return found


def _gathered(block: OpenBlock) -> tuple[Ints, Ints, Ints, Bytes, Ints]:
    """One flat column each: service, time, value, class, where it came from; the series first."""
    services, times, values, classes, labels = [], [], [], [], []
    axes: dict[bytes, Ints] = {}
    names: dict[object, int] = {}
    for service, axis, payload in block.series:
        if axis not in axes:
            axes[axis] = _series(axis)[0]
        found, kinds, presence = _series(payload)
        services.append(np.full(len(found), service, dtype=np.int64))
        times.append(_chosen(axes[axis], presence))
        values.append(found)
        classes.append(kinds)
        labels.append(np.full(len(found), names.setdefault(axis, len(names)), dtype=np.int64))
    for at, module, payload in block.slots:
        offsets, found, kinds = _slot(payload)
        services.append(offsets.astype(np.int64) + block.block * BLOCK)
        times.append(np.full(len(found), at, dtype=np.int64))
        values.append(found)
        classes.append(kinds)
        labels.append(np.full(len(found), names.setdefault(module, len(names)), dtype=np.int64))
    if not times:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty, np.empty(0, dtype=np.uint8), empty
    return (
        np.concatenate(services),
        np.concatenate(times),
        np.concatenate(values),
        np.concatenate(classes),
        np.concatenate(labels),
    )


def _alike(services: Ints, labels: Ints) -> list[Ints]:
    """Services that have their samples from the same places, and so most likely at the same times."""
    sources: defaultdict[int, list[int]] = defaultdict(list)
    for service, label in np.unique(np.column_stack((services, labels)), axis=0).tolist():
        sources[service].append(label)
    groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for service, found in sources.items():
        groups[tuple(found)].append(service)
    return [np.array(group, dtype=np.int64) for group in groups.values()]


def _encode_group(found: ClosedBlock, services: Ints, times: Ints, values: Ints, classes: Bytes) -> None:
    """Series of services (sorted by service, then time) on one axis."""
    axis = np.unique(times)
    payload = encode_rows(axis.reshape(1, -1), np.zeros((1, len(axis)), dtype=np.uint8))[0]
    number = len(found.axes)
    found.axes.append(payload)
    names, starts, counts = np.unique(services, return_index=True, return_counts=True)
    whole = counts == len(axis)
    if whole.any():
        places = starts[whole][:, None] + np.arange(len(axis))
        rows = encode_rows(values[places], classes[places])
        found.series += zip(names[whole].tolist(), [number] * len(rows), rows, strict=True)
    for name, start, count in zip(names[~whole].tolist(), starts[~whole], counts[~whole], strict=True):
        part = slice(start, start + count)
        presence = np.packbits(np.isin(axis, times[part]), bitorder="little").tobytes()
        row = encode_rows(values[part].reshape(1, -1), classes[part].reshape(1, -1), presence)[0]
        found.series.append((name, number, row))


def encode_rows(values: Ints, classes: Bytes, presence: bytes | None = None) -> list[bytes]:
    """Payloads of series of equal length, one a row; see `codec` for the format."""
    values = np.ascontiguousarray(values, dtype=np.int64)
    count = values.shape[1]
    orders = _orders(values)
    shown = b"" if presence is None else codec.LENGTH.pack(len(presence)) + _plane(presence)
    flags = 0 if presence is None else codec.HAS_PRESENCE
    done: list[bytes] = [b""] * len(values)
    for order in set(orders.tolist()):
        rows = np.flatnonzero(orders == order)
        firsts, rest = _differences(values[rows], order)
        base = rest.min(axis=1) if rest.shape[1] else np.zeros(len(rows), dtype=np.int64)
        above = rest.view(np.uint64) - base.view(np.uint64)[:, None]
        planes = np.ascontiguousarray(
            above.astype("<u8").view(np.uint8).reshape(len(rows), rest.shape[1], 8).transpose(0, 2, 1)
        )
        random = _random(planes)
        for place, row in enumerate(rows.tolist()):
            head = codec.HEAD.pack(
                codec.VERSION, order, flags, count, int(values[row, -1]), int(classes[row, -1]), int(base[place])
            )
            parts = [head, firsts[place].astype("<i8").tobytes(), shown, _plane(classes[row].tobytes())]
            parts += [
                _plane(plane.tobytes(), tried=not noise)
                for plane, noise in zip(planes[place], random[place], strict=True)
            ]
            done[row] = codec.sealed(b"".join(parts))
    return done


def _orders(values: Ints) -> Order:
    """For each row the order whose numbers lie closest together."""
    costs = []
    for order in CANDIDATES:
        if order > 0 and values.shape[1] < order + 2:
            costs.append(np.full(len(values), np.inf))
            continue
        rest = _differences(values, order)[1].astype(np.float64)
        costs.append(np.log2(np.abs(rest - np.median(rest, axis=1, keepdims=True)) + 1).sum(axis=1) + 64 * order)
    chosen: Order = np.array(CANDIDATES, dtype=np.intp)[np.argmin(np.array(costs), axis=0)]
    return chosen


def _differences(values: Ints, order: int) -> tuple[Ints, Ints]:
    """What to start from, and what is left, modulo 2**64."""
    firsts = np.empty((len(values), order), dtype=np.int64)
    rest = values
    for number in range(order):
        firsts[:, number] = rest[:, 0]
        rest = np.diff(rest.view(np.uint64), axis=1).view(np.int64)
    return firsts, np.ascontiguousarray(rest)


def _random(planes: Bytes) -> npt.NDArray[np.bool_]:
    """Which planes have about as many different bytes as noise would: deflate only wastes time on them."""
    length = planes.shape[2]
    if not length:
        return np.zeros(planes.shape[:2], dtype=bool)
    different = 1 + np.count_nonzero(np.diff(np.sort(planes, axis=2), axis=2), axis=2)
    noise: npt.NDArray[np.bool_] = different >= 0.9 * 256 * (1 - np.exp(-length / 256))
    return noise


def _plane(raw: bytes, *, tried: bool = True) -> bytes:
    """`tried`: whether deflate may make it smaller."""
    if raw.count(raw[:1]) == len(raw):
        return bytes((CONSTANT, *raw[:1])) if raw else bytes((CONSTANT, 0))
    packed = zlib.compress(raw, LEVEL, wbits=-15) if tried else raw
    if len(packed) + codec.LENGTH.size < len(raw):
        return bytes((DEFLATED,)) + codec.LENGTH.pack(len(packed)) + packed
    return bytes((STORED,)) + raw


# --- reading -----------------------------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """Some samples of one service: times (made when somebody asks), values, classes."""

    axis: Ints
    presence: bytes | None
    values: Ints
    classes: Bytes

    def times(self) -> Ints:
        return _chosen(self.axis, self.presence)


def decode(packed: Packed) -> dict[int, Columns]:
    """Columns of each of the services, oldest sample first; a service without samples has empty ones."""
    return {
        service: Columns(times.astype("<i8").tobytes(), values.astype("<i8").tobytes(), classes.tobytes())
        for service, (times, values, classes) in arrays(packed).items()
    }


def arrays(packed: Packed) -> dict[int, tuple[Ints, Ints, Bytes]]:
    """The same as arrays: microseconds, values, classes. For further work here in the worker."""
    return {service: _joined(parts, packed) for service, parts in _parts(packed).items()}


def _joined(parts: list[tuple[int, _Part]], packed: Packed) -> tuple[Ints, Ints, Bytes]:
    """One service's parts in order of time, clipped, one sample per time."""
    by_day: defaultdict[int, list[_Part]] = defaultdict(list)
    for number, part in parts:
        by_day[number].append(part)
    days = [_clipped(_merged(same), packed, packed.days[number].day) for number, same in by_day.items()]
    if not days:
        none = np.empty(0, dtype=np.int64)
        return none, none, np.empty(0, dtype=np.uint8)
    times, values, classes = zip(*days, strict=True)
    return np.concatenate(times), np.concatenate(values), np.concatenate(classes)


def _merged(same: list[_Part]) -> tuple[Ints, Ints, Bytes]:
    """Parts of one day; of samples of one time the first counts: the series', then that of the slot stored first."""
    if len(same) == 1:
        return same[0].times(), same[0].values, same[0].classes
    at, first = np.unique(np.concatenate([part.times() for part in same]), return_index=True)
    values = np.concatenate([part.values for part in same])[first]
    return at, values, np.concatenate([part.classes for part in same])[first]


def _clipped(found: tuple[Ints, Ints, Bytes], packed: Packed, day: date) -> tuple[Ints, Ints, Bytes]:
    begin, end = bounds(day)
    if packed.since <= begin and end <= packed.until:
        return found
    at, values, classes = found
    inside = (at >= packed.since) & (at <= packed.until)
    return at[inside], values[inside], classes[inside]


def _parts(packed: Packed) -> dict[int, list[tuple[int, _Part]]]:
    """(day's index, part) of each service: the series first, then its slots in the order in which they were stored."""
    found: dict[int, list[tuple[int, _Part]]] = {service: [] for service in packed.services}
    for number, day in enumerate(packed.days):
        with naming(day.place):
            axes = {name: _series(payload)[0] for name, payload in day.axes.items()}
            for service, axis, payload in day.series:
                if axis not in axes:
                    raise Damaged(f"axis {axis} is missing")
                values, classes, presence = _series(payload)
                found[service].append((number, _Part(axes[axis], presence, values, classes)))
            for service, times, values, classes in _slots_by_service(day.slots, found):
                found[service].append((number, _Part(times, None, values, classes)))
    return found


def _slots_by_service(
    slots: list[tuple[int, int, bytes]], wanted: Collection[int]
) -> list[tuple[int, Ints, Ints, Bytes]]:
    if not slots:
        return []
    services, times, values, classes = [], [], [], []
    for at, block, payload in slots:
        offsets, found, kinds = _slot(payload)
        services.append(offsets.astype(np.int64) + block * BLOCK)
        times.append(np.full(len(found), at, dtype=np.int64))
        values.append(found)
        classes.append(kinds)
    order = np.argsort(np.concatenate(services), kind="stable")
    names, starts = np.unique(np.concatenate(services)[order], return_index=True)
    all_times, all_values = np.concatenate(times)[order], np.concatenate(values)[order]
    all_classes = np.concatenate(classes)[order]
    rows = []
    for name, start, end in zip(names.tolist(), starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        if name in wanted:
            at_once, first = np.unique(all_times[start:end], return_index=True)
            rows.append((name, at_once, all_values[start:end][first], all_classes[start:end][first]))
    return rows


def _slot(payload: bytes) -> tuple[Bytes, Ints, Bytes]:
    body = codec.opened(payload)
    count = body[0]
    return (
        np.frombuffer(body, np.uint8, count, 1),
        np.frombuffer(body, "<i8", count, 1 + 2 * count).astype(np.int64),
        np.frombuffer(body, np.uint8, count, 1 + count),
    )


def _series(payload: bytes) -> tuple[Ints, Bytes, bytes | None]:
    """Values, classes, presence: what `codec.unpack_series` gives, fast."""
    body = codec.opened(payload)
    version, order, flags, count, _, _, base = codec.HEAD.unpack_from(body)
    if version != codec.VERSION or order > 2 or order > count:
        raise Damaged(f"format {version}, order {order} is unknown")
    position = codec.HEAD.size
    firsts = np.frombuffer(body, "<i8", order, position)
    position += 8 * order
    presence = None
    if flags & codec.HAS_PRESENCE:
        (size,) = codec.LENGTH.unpack_from(body, position)
        shown, position = _read_plane(body, position + codec.LENGTH.size, size)
        presence = shown.tobytes()
    classes, position = _read_plane(body, position, count)
    rest = count - order
    planes = np.zeros((rest, 8), dtype=np.uint8)
    for number in range(8):
        if body[position] == CONSTANT and body[position + 1] == 0:
            position += 2
            continue
        planes[:, number], position = _read_plane(body, position, rest)
    numbers = planes.reshape(-1).view("<u8").astype(np.uint64, copy=False)
    numbers += np.uint64(base & 2**64 - 1)
    for first in firsts[::-1].astype(np.uint64):
        whole = np.empty(len(numbers) + 1, dtype=np.uint64)
        whole[0] = first
        whole[1:] = numbers
        numbers = np.cumsum(whole, dtype=np.uint64)
    return numbers.view(np.int64), classes, presence


def _read_plane(body: memoryview, position: int, length: int) -> tuple[Any, int]:
    kind = body[position]
    position += 1
    if kind == CONSTANT:
        return np.full(length, body[position], dtype=np.uint8), position + 1
    if kind == STORED:
        return np.frombuffer(body, np.uint8, length, position), position + length
    if kind != DEFLATED:
        raise Damaged(f"a plane of kind {kind} is unknown")
    (size,) = codec.LENGTH.unpack_from(body, position)
    position += codec.LENGTH.size + size
    plane = zlib.decompress(body[position - size : position], wbits=-15, bufsize=max(1, length))
    if len(plane) != length:
        raise Damaged("a plane is too short")
    return np.frombuffer(plane, np.uint8), position


def _chosen(axis: Ints, presence: bytes | None) -> Ints:
    if presence is None:
        return axis
    shown: npt.NDArray[np.bool_] = np.unpackbits(
        np.frombuffer(presence, np.uint8), bitorder="little", count=len(axis)
    ).view(bool)
    return axis[shown]
