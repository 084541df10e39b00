"""Columns of numbers, times and names as the text of JSON and CSV, for tens of thousands of rows at once.

A column is a block of letters, as wide as its widest text, and a mask of those that count: what is left of a row of letters under its mask is its
text. Putting rows together is putting blocks side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daemon.stats.arrays import Bytes, Ints
from daemon.stats.series import Numbers

Bools = npt.NDArray[np.bool_]

DIGITS = 3
"""Of what does not come out even: averages."""
_MOST_PLACES = 18
_HIGHEST = 2**63 - 1
_EPOCH = date(1970, 1, 1)
_DAY = 86_400_000_000
_AT_ONCE = 4000
"""Rows that are put together at a time: their letters stay in the cache of the processor."""
_FOUR_DIGITS = np.frombuffer(b"".join(b"%04d" % number for number in range(10**4)), dtype=np.uint32)


@dataclass
class Known:
    """Whole numbers, and which of them there are."""

    values: Numbers
    some: Bools

    @classmethod
    def of(cls, numbers: Sequence[int | None]) -> Known:
        some = np.array([number is not None for number in numbers], dtype=bool)
        plain = [number or 0 for number in numbers]
        try:
            return cls(np.array(plain, dtype=np.int64), some)
        except OverflowError:
            return cls(np.array(plain, dtype=object), some)

    def listed(self) -> list[int | None]:
        rows = zip(self.values.tolist(), self.some.tolist(), strict=True)
        return [value if some else None for value, some in rows]

    def taken(self, places: Ints) -> Known:
        return Known(self.values[places], self.some[places])


@dataclass
class Column:
    """`some`: the rows that have a value; the others are null."""

    letters: Bytes
    keep: Bools
    some: Bools


def exact(known: Known, factor: Fraction) -> Column:
    """Every digit of value x factor; of a unit in which it may never end, as many as an average has."""
    places = _places(factor)
    if places is None:
        return average(known, np.ones(len(known.some), dtype=np.int64), factor)
    above, below = factor.numerator, factor.denominator
    if known.values.dtype == object or _largest(known.values) * above > _HIGHEST:
        return texts([None if value is None else _written(value * factor, places) for value in known.listed()])
    scaled = np.abs(known.values).astype(np.int64) * above
    return _number(
        known.values < 0, scaled // below, scaled % below * (10**places // below), places, known.some, strip=True
    )


def average(sums: Known, of: Numbers, factor: Fraction) -> Column:
    """Sum / number x factor with three decimals, half away from zero."""
    above, below = factor.numerator * 10**DIGITS, factor.denominator
    of = np.where(sums.some, of, 1)
    wide = object in (sums.values.dtype, of.dtype)
    if (
        wide
        or 2 * _largest(sums.values) * above + _largest(of) * below > _HIGHEST
        or 2 * _largest(of) * below > _HIGHEST
    ):
        rows = zip(sums.listed(), of.tolist(), strict=True)
        return texts([None if value is None else _rounded(value * factor / int(number)) for value, number in rows])
    thousandths = (2 * np.abs(sums.values).astype(np.int64) * above + of * below) // (2 * of * below)
    return _fixed(thousandths, (sums.values < 0) & (thousandths > 0), DIGITS, sums.some)


def percent(part: Ints, whole: Ints) -> Column:
    """Two decimals, rounded down so that 100.00 means all of it; null of nothing."""
    some = whole > 0
    return _fixed(10**4 * np.minimum(part, whole) // np.where(some, whole, 1), np.zeros(len(some), dtype=bool), 2, some)


def times(moments: Ints) -> Column:
    """ISO 8601 with an offset, of microseconds since 1970."""
    days, place = np.unique(moments // _DAY, return_inverse=True)
    dates = _letters(np.array([f"{_EPOCH + timedelta(days=day)}T" for day in days.tolist()], dtype="S11"))
    seconds, part = np.divmod(moments % _DAY, 1_000_000)
    clock = _digits(seconds // 3600 * 10_000 + seconds % 3600 // 60 * 100 + seconds % 60, 6)
    count = len(moments)
    colon = _same(b":", count)
    pieces = [dates[place], clock[:, :2], colon, clock[:, 2:4], colon, clock[:, 4:]]
    if part.any():
        pieces += [_same(b".", count), _digits(part, 6)]
    letters = np.concatenate([*pieces, _same(b"+00:00", count)], axis=1)
    return Column(letters, np.ones(letters.shape, dtype=bool), np.ones(count, dtype=bool))


def names(codes: Bytes, words: Sequence[str]) -> Column:
    """The word of each code."""
    known = _letters(np.array(words, dtype="S"))
    letters = known[codes]
    return Column(letters, letters != 0, np.ones(len(codes), dtype=bool))


def texts(found: Sequence[str | None]) -> Column:
    """ASCII, one by one: for the few that are not numbers of 64 bits."""
    letters = _letters(np.array([text or "" for text in found], dtype="S"))
    return Column(letters, letters != 0, np.array([text is not None for text in found], dtype=bool))


def nothing(count: int) -> Column:
    return texts([None] * count)


# Rows.


def json_columns(columns: Mapping[str, Column]) -> str:
    """An object with a list for each column."""
    lists = (f'"{name}":[{_rows(len(one.some), lambda part, one=one: [*_quoted(one, part), b","])[:-1]}]' for name, one in columns.items())  # type: ignore[misc] # fmt: skip
    return "{" + ",".join(lists) + "}"


def json_objects(columns: Mapping[str, Column]) -> str:
    """A list with an object for each row."""

    def pieces(part: slice) -> list[Piece]:
        found: list[Piece] = []
        for number, (name, column) in enumerate(columns.items()):
            found += [f'{"," if number else "{"}"{name}":'.encode("ascii"), *_quoted(column, part)]
        return [*found, b"},"]

    return f"[{_rows(_count(columns), pieces)[:-1]}]"


def csv_rows(columns: Mapping[str, Column]) -> str:
    """Without a heading. Numbers, times and names of our own: nothing in them has to be quoted."""

    def pieces(part: slice) -> list[Piece]:
        found: list[Piece] = []
        for column in columns.values():
            found += [b",", (column.letters[part], column.keep[part])]
        return [*found[1:], b"\r\n"]

    return _rows(_count(columns), pieces)


Piece = bytes | tuple[Bytes, Bools]


def _count(columns: Mapping[str, Column]) -> int:
    return len(next(iter(columns.values())).some)


def _quoted(column: Column, part: slice) -> list[Piece]:
    some = column.some[part][:, None]
    quote = _same(b'"', len(some))
    return [
        (quote, some),
        (column.letters[part], column.keep[part]),
        (quote, some),
        (_same(b"null", len(some)), np.repeat(~some, 4, axis=1)),
    ]


def _rows(count: int, pieces: Callable[[slice], list[Piece]]) -> str:
    parts = [slice(first, min(first + _AT_ONCE, count)) for first in range(0, count, _AT_ONCE)]
    return b"".join(_put_together(part.stop - part.start, pieces(part)) for part in parts).decode("ascii")


def _put_together(count: int, pieces: Sequence[Piece]) -> bytes:
    letters, keep = [], []
    for piece in pieces:
        own, mask = (
            piece if isinstance(piece, tuple) else (_same(piece, count), np.ones((count, len(piece)), dtype=bool))
        )
        letters.append(own)
        keep.append(mask)
    left: Bytes = np.concatenate(letters, axis=1)[np.concatenate(keep, axis=1)]
    return left.tobytes()


# Letters.


def _same(text: bytes, count: int) -> Bytes:
    return np.broadcast_to(np.frombuffer(text, dtype=np.uint8), (count, len(text)))


def _letters(found: npt.NDArray[np.bytes_]) -> Bytes:
    return np.ascontiguousarray(found).view(np.uint8).reshape(len(found), found.dtype.itemsize)


def _fixed(scaled: Ints, negative: Bools, places: int, some: Bools) -> Column:
    return _number(negative, scaled // 10**places, scaled % 10**places, places, some, strip=False)


def _number(negative: Bools, above: Ints, below: Ints, places: int, some: Bools, *, strip: bool) -> Column:
    """Sign, what stands before the point, and after it `places` digits; `strip`: without the zeros at its end."""
    whole = _digits(above, len(str(_largest(above))))
    shown = np.maximum.accumulate(whole != ord("0"), axis=1)
    shown[:, -1:] = True
    letters, keep = [_same(b"-", len(above)), whole], [negative[:, None], shown]
    if places and not (strip and not below.any()):
        part = _digits(below, places)
        tail = (
            np.maximum.accumulate((part != ord("0"))[:, ::-1], axis=1)[:, ::-1]
            if strip
            else np.ones(part.shape, dtype=bool)
        )
        letters += [_same(b".", len(above)), part]
        keep += [tail[:, :1], tail]
    return Column(np.concatenate(letters, axis=1), np.concatenate(keep, axis=1) & some[:, None], some)


def _digits(numbers: Ints, width: int) -> Bytes:
    groups = -(-width // 4)
    digits = np.empty((len(numbers), groups), dtype=np.uint32)
    rest = numbers
    for group in range(groups - 1, -1, -1):
        above = rest // 10**4
        digits[:, group] = _FOUR_DIGITS[rest - above * 10**4]
        rest = above
    return digits.view(np.uint8)[:, 4 * groups - width :]


def _largest(values: Numbers) -> int:
    return max(int(values.max()), -int(values.min())) if len(values) else 0


def _places(factor: Fraction) -> int | None:
    return next((n for n in range(_MOST_PLACES + 1) if (factor * 10**n).denominator == 1), None)


def _written(value: Fraction, places: int) -> str:
    above, below = divmod(abs(value.numerator) * 10**places // value.denominator, 10**places)
    text = f"{above}.{below:0{places}d}".rstrip("0").rstrip(".") if places else f"{above}"
    return f"-{text}" if value < 0 else text


def _rounded(value: Fraction) -> str:
    thousandths = (2 * abs(value.numerator) * 10**DIGITS + value.denominator) // (2 * value.denominator)
    above, below = divmod(thousandths, 10**DIGITS)
    return f"{'-' if value < 0 and thousandths else ''}{above}.{below:0{DIGITS}d}"
