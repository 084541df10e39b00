"""Arithmetic over many samples at once: what `crunch` runs in the worker process. numpy is imported here, in `series` and in `measures` only.

Everything is exact: int64 in and out, differences modulo 2**64, ranks in whole numbers.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter

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
            axes[axis] = _series([axis])[0][0]
        found, kinds, presence = _series([payload])[0]
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
    """Some samples of one service and day: times (made when somebody asks), values, classes."""

    day: int
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
    """The same as arrays: microseconds, values, classes. For further work here in the worker, which changes none of them in place.

    Services that were read at the same times have the same array of times, not only an equal one.
    """
    cut = [_cut(packed, day.day) for day in packed.days]
    times: dict[tuple[int, ...], Ints] = {}
    return {service: _joined(parts, cut, times) for service, parts in _parts(packed).items()}


def _cut(packed: Packed, day: date) -> tuple[int, int] | None:
    """Where the day has to be clipped; None: nowhere."""
    begin, end = bounds(day)
    return None if packed.since <= begin and end <= packed.until else (packed.since, packed.until)


def _joined(
    parts: list[_Part], cut: list[tuple[int, int] | None], times: dict[tuple[int, ...], Ints]
) -> tuple[Ints, Ints, Bytes]:
    """One service's parts in order of time, clipped, one sample per time. `times` keeps what other services may share."""
    if not parts:
        none = np.empty(0, dtype=np.int64)
        return none, none, np.empty(0, dtype=np.uint8)
    plain = all(part.presence is None and cut[part.day] is None for part in parts)
    if plain and all(before.day != after.day for before, after in pairwise(parts)):
        axes = tuple([id(part.axis) for part in parts])
        if axes not in times:
            times[axes] = np.concatenate([part.axis for part in parts])
        return (
            times[axes],
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )
    days = [_clipped(_merged(list(same)), cut[number]) for number, same in groupby(parts, key=attrgetter("day"))]
    at, values, classes = zip(*days, strict=True)
    return np.concatenate(at), np.concatenate(values), np.concatenate(classes)


def _merged(same: list[_Part]) -> tuple[Ints, Ints, Bytes]:
    """Parts of one day; of samples of one time the first counts: the series', then that of the slot stored first."""
    if len(same) == 1:
        return same[0].times(), same[0].values, same[0].classes
    at, first = np.unique(np.concatenate([part.times() for part in same]), return_index=True)
    values = np.concatenate([part.values for part in same])[first]
    return at, values, np.concatenate([part.classes for part in same])[first]


def _clipped(found: tuple[Ints, Ints, Bytes], cut: tuple[int, int] | None) -> tuple[Ints, Ints, Bytes]:
    if cut is None:
        return found
    at, values, classes = found
    inside = slice(int(np.searchsorted(at, cut[0])), int(np.searchsorted(at, cut[1], side="right")))
    return at[inside], values[inside], classes[inside]


def _parts(packed: Packed) -> dict[int, list[_Part]]:
    """The parts of each service, day after day: the series first, then its slots in the order in which they were stored."""
    found: dict[int, list[_Part]] = {service: [] for service in packed.services}
    for number, day in enumerate(packed.days):
        with naming(day.place):
            axes = {name: _series([payload])[0][0] for name, payload in day.axes.items()}
            series = _series([payload for _, _, payload in day.series])
            for (service, axis, _), (values, classes, presence) in zip(day.series, series, strict=True):
                if axis not in axes:
                    raise Damaged(f"axis {axis} is missing")
                found[service].append(_Part(number, axes[axis], presence, values, classes))
            for service, times, values, classes in _slots_by_service(day.slots, found):
                found[service].append(_Part(number, times, None, values, classes))
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


@dataclass
class _Alike:
    """Series of the same length and order, which are put together at once; `planes` None: all of it is zero."""

    order: int
    count: int
    places: list[int] = field(default_factory=list)
    presences: list[bytes | None] = field(default_factory=list)
    bases: list[int] = field(default_factory=list)
    firsts: list[bytes] = field(default_factory=list)
    planes: list[list[bytes | None]] = field(default_factory=lambda: [[] for _ in range(9)])
    """The classes, and the planes of the numbers: a list of all the series' each."""

    def rows(self) -> list[tuple[Ints, Bytes, bytes | None]]:
        classes = self._plane(0, self.count)
        if classes is None:
            classes = np.zeros((len(self.places), self.count), dtype=np.uint8)
        return list(zip(self._values(), classes, self.presences, strict=True))

    def _values(self) -> Ints:
        """Sums of what is left, in place: the firsts are put before it one by one, the last one of them first."""
        whole = np.empty((len(self.places), self.count), dtype=np.uint64)
        numbers = whole[:, self.order :]
        numbers[:] = (np.array(self.bases, dtype=np.int64).view(np.uint64))[:, None]
        for number in range(8):
            plane = self._plane(number + 1, self.count - self.order)
            if plane is not None:
                numbers += plane.astype(np.uint64) << np.uint64(8 * number) if number else plane
        firsts = np.frombuffer(b"".join(self.firsts), "<u8").reshape(-1, self.order) if self.order else None
        for place in range(self.order - 1, -1, -1):
            assert firsts is not None
            whole[:, place] = firsts[:, place]
            np.cumsum(whole[:, place:], axis=1, out=whole[:, place:])
        return whole.view(np.int64)

    def _plane(self, number: int, length: int) -> Bytes | None:
        planes = self.planes[number]
        if not any(planes):
            return None
        zeros = bytes(length)
        return np.frombuffer(b"".join([plane or zeros for plane in planes]), np.uint8).reshape(-1, length)


_ZEROS = bytes((CONSTANT, 0)) * 9


def _series(payloads: Sequence[bytes]) -> list[tuple[Ints, Bytes, bytes | None]]:
    """Values, classes, presence of each: what `codec.unpack_series` gives, fast, and faster for many at once."""
    groups: dict[tuple[int, int], _Alike] = {}
    for place, payload in enumerate(payloads):
        if len(payload) < _BODY or codec.CRC.unpack_from(payload)[0] != zlib.crc32(
            memoryview(payload)[codec.CRC.size :]
        ):
            raise Damaged("a checksum is wrong")
        version, order, flags, count, _, _, base = codec.HEAD.unpack_from(payload, codec.CRC.size)
        if version != codec.VERSION or order > 2 or order > count:
            raise Damaged(f"format {version}, order {order} is unknown")
        alike = groups.get((order, count))
        if alike is None:
            alike = groups[order, count] = _Alike(order, count)
        alike.places.append(place)
        alike.bases.append(base)
        alike.firsts.append(payload[_BODY : _BODY + 8 * order])
        _read_planes(payload, _BODY + 8 * order, flags, alike)
    found: list[tuple[int, tuple[Ints, Bytes, bytes | None]]] = []
    for alike in groups.values():
        found += zip(alike.places, alike.rows(), strict=True)
    found.sort(key=itemgetter(0))
    return [row for _, row in found]


_BODY = codec.CRC.size + codec.HEAD.size


def _read_planes(payload: bytes, position: int, flags: int, alike: _Alike) -> None:
    presence = None
    if flags & codec.HAS_PRESENCE:
        (size,) = codec.LENGTH.unpack_from(payload, position)
        shown, position = _read_plane(payload, position + codec.LENGTH.size, size)
        presence = shown or bytes(size)
    alike.presences.append(presence)
    plane, position = _read_plane(payload, position, alike.count)
    alike.planes[0].append(plane)
    length = alike.count - alike.order
    for number in range(1, 9):
        if payload[position] == CONSTANT and payload[position:] == _ZEROS[2 * number :]:
            for rest in alike.planes[number:]:
                rest.append(None)
            return
        plane, position = _read_plane(payload, position, length)
        alike.planes[number].append(plane)


def _read_plane(payload: bytes, position: int, length: int) -> tuple[bytes | None, int]:
    """None: all of it is zero."""
    kind = payload[position]
    position += 1
    if kind == CONSTANT:
        return payload[position : position + 1] * length if payload[position] else None, position + 1
    if kind == STORED:
        plane, position = payload[position : position + length], position + length
    elif kind == DEFLATED:
        (size,) = codec.LENGTH.unpack_from(payload, position)
        position += codec.LENGTH.size + size
        plane = zlib.decompress(payload[position - size : position], wbits=-15, bufsize=max(1, length))
    else:
        raise Damaged(f"a plane of kind {kind} is unknown")
    if len(plane) != length:
        raise Damaged("a plane is too short")
    return plane, position


def _chosen(axis: Ints, presence: bytes | None) -> Ints:
    if presence is None:
        return axis
    shown: npt.NDArray[np.bool_] = np.unpackbits(
        np.frombuffer(presence, np.uint8), bitorder="little", count=len(axis)
    ).view(bool)
    return axis[shown]
