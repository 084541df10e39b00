"""The bytes of slots, series and axes, and how to read few of them. Many at once is numpy's work, in the worker process.

All numbers are little-endian; every payload begins with a CRC-32 of the rest.

*Slot*, one reading of up to 128 services: `crc u32 | n u8 | n offsets u8 | n classes u8 | n values i64`; service id = block * 128 + offset.

*Series*, one metric of one service over a day: `crc u32 | version u8 | order u8 | flags u8 | n u32 | last value i64 | last class u8 | base i64 |
order firsts i64 | presence plane, if flagged | class plane | 8 planes`. Order 0 keeps the values themselves, 1 their differences, 2 the
differences of the differences, modulo 2**64, whichever are smallest; `firsts` are the value and the difference that they start from. What
is left (always n - order numbers) is kept less the smallest of them, `base`, as eight planes: all lowest bytes, then all second bytes, and
so on. A plane is `0, byte` (all the same), `1, bytes` (as they are) or `2, length u32, raw deflate`.

*Axis*, the times that series share: a series of microseconds. A series with fewer samples than its axis has times is flagged and says by one bit
per time (lowest bit first) which ones it has.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, compress

BLOCK = 128
"""Services in a slot row at most; part of the format."""
VERSION = 1
CONSTANT, STORED, DEFLATED = 0, 1, 2
HAS_PRESENCE = 1

CRC = struct.Struct("<I")
HEAD = struct.Struct("<BBBIqBq")
LENGTH = struct.Struct("<I")
INT64 = struct.Struct("<q")

LOWEST, HIGHEST = -(2**63), 2**63 - 1
_MASK = 2**64 - 1
_BIG = sys.byteorder == "big"


class Damaged(Exception):
    """These bytes aren't what was written."""


def block_of(service_id: int) -> int:
    return service_id // BLOCK


def sealed(body: bytes) -> bytes:
    return CRC.pack(zlib.crc32(body)) + body


def opened(payload: bytes) -> memoryview:
    """The payload without its checksum, or Damaged."""
    if len(payload) < CRC.size or CRC.unpack_from(payload)[0] != zlib.crc32(memoryview(payload)[CRC.size :]):
        raise Damaged("a checksum is wrong")
    return memoryview(payload)[CRC.size :]


def pack_slot(rows: Iterable[tuple[int, int, int]]) -> bytes:
    """(offset, value, class) of up to 128 services; OverflowError or ValueError for a number that doesn't fit."""
    offsets, values, classes = zip(*rows, strict=True)
    numbers = array("q", values)
    if _BIG:
        numbers.byteswap()
    return sealed(bytes((len(offsets), *offsets)) + bytes(classes) + numbers.tobytes())


def slot_offsets(payload: bytes) -> bytes:
    body = opened(payload)
    return bytes(body[1 : 1 + body[0]])


def in_slot(payload: bytes, offset: int) -> tuple[int, int] | None:
    """(value, class) of one service, None when it isn't in there."""
    body = opened(payload)
    count = body[0]
    place = bytes(body[1 : 1 + count]).find(offset)
    if place < 0:
        return None
    return INT64.unpack_from(body, 1 + 2 * count + 8 * place)[0], body[1 + count + place]


def unpack_slot(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """(offset, value, class) of each service in it."""
    body = opened(payload)
    count = body[0]
    return zip(
        body[1 : 1 + count],
        _int64s(body[1 + 2 * count : 1 + 10 * count]),
        body[1 + count : 1 + 2 * count],
        strict=True,
    )


def last_of_series(payload: bytes) -> tuple[int, int, bytes | None]:
    """(value, class, presence) of the newest sample, without unpacking the others."""
    body = opened(payload)
    _, _, flags, _, value, cls, _ = _head(body)
    return value, cls, _presence(body) if flags & HAS_PRESENCE else None


def unpack_series(payload: bytes) -> tuple[list[int], bytes, bytes | None]:
    """Values, classes, and which times of the axis they have (None: all of them)."""
    body = opened(payload)
    try:
        return _unpack_series(body)
    except (struct.error, zlib.error, IndexError, ValueError) as error:
        raise Damaged(str(error)) from error


def unpack_axis(payload: bytes) -> list[int]:
    return unpack_series(payload)[0]


def chosen(axis: list[int], presence: bytes | None) -> list[int]:
    """The times that a series has."""
    return axis if presence is None else list(compress(axis, _bits(presence)))


def last_time(axis: list[int], presence: bytes | None) -> int:
    return axis[-1] if presence is None else axis[int.from_bytes(presence, "little").bit_length() - 1]


def _head(body: memoryview) -> tuple[int, int, int, int, int, int, int]:
    version, order, flags, count, last, last_class, base = HEAD.unpack_from(body)
    if version != VERSION or order > 2 or order > count:
        raise Damaged(f"format {version}, order {order} is unknown")
    return version, order, flags, count, last, last_class, base


def _presence(body: memoryview) -> bytes:
    position = HEAD.size + 8 * body[1]
    (size,) = LENGTH.unpack_from(body, position)
    return _plane(body, position + LENGTH.size, size)[0]


def _unpack_series(body: memoryview) -> tuple[list[int], bytes, bytes | None]:
    _, order, flags, count, _, _, base = _head(body)
    position = HEAD.size
    firsts = [INT64.unpack_from(body, position + 8 * number)[0] for number in range(order)]
    position += 8 * order
    presence = None
    if flags & HAS_PRESENCE:
        (size,) = LENGTH.unpack_from(body, position)
        presence, position = _plane(body, position + LENGTH.size, size)
    classes, position = _plane(body, position, count)
    rest = count - order
    buffer = bytearray(8 * rest)
    for number in range(8):
        plane, position = _plane(body, position, rest)
        if any(plane):
            buffer[number::8] = plane
    numbers: Iterable[int] = (base + number for number in _uint64s(buffer))
    for first in reversed(firsts):
        numbers = accumulate(chain((first,), numbers))
    return _wrapped(list(numbers)), classes, presence


def _plane(body: memoryview, position: int, length: int) -> tuple[bytes, int]:
    kind = body[position]
    position += 1
    if kind == CONSTANT:
        return bytes(body[position : position + 1]) * length, position + 1
    if kind == STORED:
        plane, position = bytes(body[position : position + length]), position + length
    elif kind == DEFLATED:
        (size,) = LENGTH.unpack_from(body, position)
        position += LENGTH.size + size
        plane = zlib.decompress(body[position - size : position], wbits=-15, bufsize=max(1, length))
    else:
        raise Damaged(f"a plane of kind {kind} is unknown")
    if len(plane) != length:
        raise Damaged("a plane is too short")
    return plane, position


def _wrapped(numbers: list[int]) -> list[int]:
    if numbers and (min(numbers) < LOWEST or max(numbers) > HIGHEST):
        return [((number - LOWEST) & _MASK) + LOWEST for number in numbers]
    return numbers


def _int64s(raw: bytes | bytearray | memoryview) -> array[int]:
    numbers = array("q")
    numbers.frombytes(raw)
    if _BIG:
        numbers.byteswap()
    return numbers


def _uint64s(raw: bytes | bytearray) -> array[int]:
    numbers = array("Q")
    numbers.frombytes(raw)
    if _BIG:
        numbers.byteswap()
    return numbers


def _bits(raw: bytes) -> Iterator[int]:
    number = int.from_bytes(raw, "little")
    return (byte == 49 for byte in reversed(f"{number:b}".encode()))  # 49 is "1"; times after the last one stay out
