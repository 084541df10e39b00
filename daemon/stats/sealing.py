"""The text under a seal out of columns: what `seal.canonical` writes line by line, for months of samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from daemon.domain.quality import Quality
from daemon.domain.seal import Sealed, heading, seal, seal_of
from daemon.stats.arrays import Bytes, Ints
from daemon.stats.series import QUALITIES, Numbers
from daemon.store.days.shapes import from_us

Samples = tuple[Ints, Numbers, Bytes]
"""Moments, totals, classes."""
Field = tuple[Bytes, Ints]
"""The text of each, as wide as the widest of them and at its right; and how long each is."""

_FOUR_DIGITS = np.frombuffer(b"".join(b"%04d" % number for number in range(10**4)), dtype=np.uint32)
_POWERS = np.array([10**power for power in range(1, 20)], dtype=np.uint64)
_NAMES = [quality.value.encode("ascii") for quality in Quality]
_LONGEST = max(map(len, _NAMES))
_NAMED = np.frombuffer(b"".join(name.rjust(_LONGEST) for name in _NAMES), dtype=np.uint8).reshape(-1, _LONGEST)
_LENGTHS = np.array([len(name) for name in _NAMES], dtype=np.int64)
_AT_ONCE = 3000
"""Lines that are made at a time: their text stays in the cache of the processor."""
_ORDER = np.argsort(np.argsort(_NAMES))
"""The place of each class in the order of the alphabet."""


def sealed(record: Sealed, parts: list[Samples]) -> str:
    """See `seal.seal`; samples in any order."""
    if not any(len(at) for at, _, _ in parts):
        return seal(record, ())
    at, totals, classes = parts[0] if len(parts) == 1 else _together(parts)
    if totals.dtype == object:  # pushed quantities know no bounds
        rows = zip(at.tolist(), totals.tolist(), classes.tolist(), strict=True)
        return seal(record, [(from_us(moment), total, QUALITIES[code]) for moment, total, code in rows])
    if not (at[1:] > at[:-1]).all():
        order = np.lexsort((_ORDER[classes], totals, at))
        at, totals, classes = at[order], totals[order], classes[order]
    chunks = [slice(first, first + _AT_ONCE) for first in range(0, len(at), _AT_ONCE)]
    return seal_of(heading(record) + b"".join(_lines(at[chunk], totals[chunk], classes[chunk]) for chunk in chunks))


def _together(parts: list[Samples]) -> Samples:
    at, totals, classes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return at, totals, classes


def _lines(at: Ints, totals: Numbers, classes: Bytes) -> bytes:
    """`at total class` of each sample. Every field is as wide as its widest; runs of lines of the same lengths are cut to them together."""
    fields = [_moments(at), _number(totals), _name(classes)]
    ends = [np.full((len(at), 1), ord(char), dtype=np.uint8) for char in "  \n"]
    text = np.concatenate([part for (field, _), end in zip(fields, ends, strict=True) for part in (field, end)], axis=1)
    (_, moment), (_, number), (_, name) = fields
    lengths = (moment << 16) + (number << 8) + name
    edges = [0, *(np.flatnonzero(lengths[1:] != lengths[:-1]) + 1).tolist(), len(at)]
    return b"".join(
        _cut(text[since:until], [(field.shape[1], int(length[since])) for field, length in fields])
        for since, until in pairwise(edges)
    )


def _cut(text: Bytes, widths: list[tuple[int, int]]) -> bytes:
    """Lines whose fields are narrower than their place; they stand at its right."""
    if all(width == length for width, length in widths):
        return text.tobytes()
    columns: list[int] = []
    begin = 0
    for width, length in widths:
        columns += range(begin + width - length, begin + width + 1)
        begin += width + 1
    return text.take(columns, axis=1).tobytes()


_written: dict[tuple[int, int, int], tuple[Ints, Field]] = {}
"""Moments whose text was made lately: services of one panel are read at the same ones."""
_KEPT = 16
"""A month of five minutes has three of them, of 3000 lines each."""


def _moments(at: Ints) -> Field:
    key = (int(at[0]), int(at[-1]), len(at))
    known = _written.get(key)
    if known is not None and np.array_equal(known[0], at):
        return known[1]
    if len(_written) >= _KEPT:
        _written.clear()
    _written[key] = (at.copy(), _number(at))
    return _written[key][1]


def _number(numbers: Numbers) -> Field:
    """Its digits, the sign of a negative one in front of the first, and how long it is."""
    rest = np.abs(numbers).view(np.uint64)  # of the lowest number, too, which has no other half in int64
    length = _digits(rest)
    negative = np.flatnonzero(numbers < 0)
    length[negative] += 1
    groups = -(-int(length.max()) // 4)
    digits = np.empty((len(numbers), groups), dtype=np.uint32)
    for group in range(groups - 1, -1, -1):
        above = rest // np.uint64(10**4)
        digits[:, group] = _FOUR_DIGITS.take((rest - above * np.uint64(10**4)).view(np.int64))
        rest = above
    text = digits.view(np.uint8)
    text[negative, text.shape[1] - length[negative]] = ord("-")
    return text[:, text.shape[1] - int(length.max()) :], length


def _digits(numbers: npt.NDArray[np.uint64]) -> Ints:
    """How many each has; mostly all have the same."""
    fewest, most = (len(str(number)) for number in (numbers.min(), numbers.max()))
    if fewest == most:
        return np.full(len(numbers), most, dtype=np.int64)
    return np.searchsorted(_POWERS, numbers, side="right").astype(np.int64) + 1


def _name(classes: Bytes) -> Field:
    length = _LENGTHS[classes]
    return _NAMED[:, _LONGEST - int(length.max()) :].take(classes, axis=0), length
