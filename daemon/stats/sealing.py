"""The text under a seal out of columns: what `seal.canonical` writes line by line, for months of samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from daemon.domain.quality import Quality
from daemon.domain.seal import Sealed, heading, seal, seal_of
from daemon.stats.arrays import Bytes, Ints
from daemon.stats.series import QUALITIES, Numbers
from daemon.store.days.shapes import from_us

Samples = tuple[Ints, Numbers, Bytes]
"""Moments, totals, classes."""

_FOUR_DIGITS = np.frombuffer(b"".join(b"%04d" % number for number in range(10**4)), dtype=np.uint32)
_POWERS = np.array([10**power for power in range(1, 20)], dtype=np.uint64)
_NAMES = [quality.value.encode("ascii") for quality in Quality]
_LONGEST = max(map(len, _NAMES))
_NAMED = np.frombuffer(b"".join(name.ljust(_LONGEST) for name in _NAMES), dtype=np.uint8).reshape(-1, _LONGEST)
_LENGTHS = np.array([len(name) for name in _NAMES], dtype=np.int64)
_AT_ONCE = 2000
"""Lines that are made at a time: their text stays in the cache of the processor."""
_ORDER = np.argsort(np.argsort(_NAMES))
"""The place of each class in the order of the alphabet."""


def sealed(record: Sealed, parts: list[Samples]) -> str:
    """See `seal.seal`; samples in any order."""
    if not any(len(at) for at, _, _ in parts):
        return seal(record, ())
    at, totals, classes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if totals.dtype == object:  # pushed quantities know no bounds
        rows = zip(at.tolist(), totals.tolist(), classes.tolist(), strict=True)
        return seal(record, [(from_us(moment), total, QUALITIES[code]) for moment, total, code in rows])
    if not (at[1:] > at[:-1]).all():
        order = np.lexsort((_ORDER[classes], totals, at))
        at, totals, classes = at[order], totals[order], classes[order]
    rows = range(0, len(at), _AT_ONCE)
    text = [
        _lines(at[row : row + _AT_ONCE], totals[row : row + _AT_ONCE], classes[row : row + _AT_ONCE]) for row in rows
    ]
    return seal_of(b"".join((heading(record), *text)))


def _lines(at: Ints, totals: Ints, classes: Bytes) -> bytes:
    """`at total class` of each sample. Every field is as wide as its widest; lines of the same lengths are cut to them together."""
    moments, moment_lengths = _number(at)
    numbers, number_lengths = _number(totals)
    blank, end = (np.full((len(at), 1), ord(char), dtype=np.uint8) for char in " \n")
    text = np.concatenate([moments, blank, numbers, blank, _NAMED[classes], end], axis=1)
    lengths = np.column_stack((moment_lengths, number_lengths, _LENGTHS[classes]))
    edges = [0, *(np.flatnonzero((lengths[1:] != lengths[:-1]).any(axis=1)) + 1).tolist(), len(at)]
    found = []
    for since, until in pairwise(edges):
        columns = _columns(moments.shape[1], numbers.shape[1], *lengths[since:until][:1].ravel().tolist())
        found.append(text[since:until].take(columns, axis=1).tobytes())
    return b"".join(found)


def _columns(moment_width: int, number_width: int, moment: int, number: int, name: int) -> list[int]:
    """Numbers stand at the right of their fields, names at the left."""
    after_moment = moment_width + 1
    after_number = after_moment + number_width + 1
    return [
        *range(moment_width - moment, after_moment),
        *range(after_number - 1 - number, after_number),
        *range(after_number, after_number + name),
        after_number + _LONGEST,
    ]


def _number(numbers: Ints) -> tuple[Bytes, Ints]:
    """Its digits with zeros before them, the sign of a negative one in front of the first; and how long it is."""
    rest = np.abs(numbers).view(np.uint64)  # of the lowest number, too, which has no other half in int64
    length = np.searchsorted(_POWERS, rest, side="right").astype(np.int64) + 1
    groups = -(-(int(length.max(initial=1)) + 1) // 4)
    digits = np.empty((len(numbers), groups), dtype=np.uint32)
    for group in range(groups - 1, -1, -1):
        above = rest // np.uint64(10**4)
        digits[:, group] = _FOUR_DIGITS[(rest - above * np.uint64(10**4)).view(np.int64)]
        rest = above
    text = digits.view(np.uint8)
    negative = np.flatnonzero(numbers < 0)
    length[negative] += 1
    text[negative, text.shape[1] - length[negative]] = ord("-")
    return text, length
