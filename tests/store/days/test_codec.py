"""What is packed comes back exactly, by both readers: the small one of the daemon and numpy's of the worker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.stats import arrays
from daemon.store.days import codec
from daemon.store.days.codec import HIGHEST, LOWEST, Damaged

INT64 = st.integers(LOWEST, HIGHEST)
SMALL = st.integers(-1000, 1000)
CLASS = st.integers(0, 255)


def encoded(values: list[int], classes: list[int], presence: bytes | None = None) -> bytes:
    rows = np.array([values], dtype=np.int64), np.array([classes], dtype=np.uint8)
    return arrays.encode_rows(*rows, presence)[0]


@given(st.lists(st.tuples(st.one_of(INT64, SMALL), CLASS), min_size=1, max_size=400))
@example([(LOWEST, 0), (HIGHEST, 0), (LOWEST, 1), (HIGHEST, 255)])
@example([(HIGHEST, 0)])
@example([(0, 0), (2**62, 0), (-(2**62), 0), (LOWEST, 0), (1, 0)])
def test_a_series_comes_back_exactly(samples: list[tuple[int, int]]) -> None:
    values, classes = [value for value, _ in samples], [cls for _, cls in samples]
    payload = encoded(values, classes)
    assert codec.unpack_series(payload) == (values, bytes(classes), None)
    found, kinds, presence = arrays._series([payload])[0]
    assert (found.tolist(), kinds.tolist(), presence) == (values, classes, None)
    assert codec.last_of_series(payload) == (values[-1], classes[-1], None)


@given(st.integers(LOWEST, HIGHEST), st.lists(st.integers(0, 2**40), min_size=1, max_size=400))
def test_a_running_total_comes_back_exactly_whatever_it_runs_over(start: int, steps: list[int]) -> None:
    values, value = [], start
    for step in steps:
        value = (value + step - LOWEST) % 2**64 + LOWEST
        values.append(value)
    payload = encoded(values, [0] * len(values))
    assert codec.unpack_series(payload)[0] == values == arrays._series([payload])[0][0].tolist()


@given(st.lists(st.booleans(), min_size=1, max_size=300).filter(any))
def test_presence_says_which_times_there_are(shown: list[bool]) -> None:
    axis = [1000 + 7 * number for number in range(len(shown))]
    presence = np.packbits(np.array(shown), bitorder="little").tobytes()
    payload = encoded([5] * sum(shown), [0] * sum(shown), presence)
    times = [at for at, there in zip(axis, shown, strict=True) if there]
    _, _, found = codec.unpack_series(payload)
    assert found == presence == arrays._series([payload])[0][2] == codec.last_of_series(payload)[2]
    assert codec.chosen(axis, found) == times
    assert arrays._chosen(np.array(axis), found).tolist() == times
    assert codec.last_time(axis, found) == times[-1]


@given(st.dictionaries(st.integers(0, 127), st.tuples(INT64, CLASS), min_size=1))
def test_a_slot_comes_back_exactly(samples: dict[int, tuple[int, int]]) -> None:
    payload = codec.pack_slot((offset, *sample) for offset, sample in samples.items())
    assert {offset: (value, cls) for offset, value, cls in codec.unpack_slot(payload)} == samples
    assert {offset: codec.in_slot(payload, offset) for offset in range(128)} == {
        offset: samples.get(offset) for offset in range(128)
    }
    offsets, values, classes = arrays._slot(payload)
    assert dict(zip(offsets.tolist(), zip(values.tolist(), classes.tolist(), strict=True), strict=True)) == samples


@given(st.data())
def test_one_changed_byte_is_noticed(data: st.DataObject) -> None:
    payload = bytearray(encoded(list(range(0, 3000, 11)), [0] * 273))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        codec.unpack_series(bytes(payload))
    with pytest.raises(Damaged):
        arrays._series([bytes(payload)])


def test_a_payload_that_is_cut_off_is_noticed() -> None:
    payload = encoded([1, 2, 4], [0, 0, 0])
    for length in range(len(payload)):
        with pytest.raises(Damaged):
            codec.unpack_series(payload[:length])


def test_a_format_of_the_future_is_noticed() -> None:
    body = bytearray(encoded([1, 2, 4], [0, 0, 0])[4:])
    body[0] = 2
    for read in (codec.unpack_series, lambda payload: arrays._series([payload])):
        with pytest.raises(Damaged, match="format 2"):
            read(codec.sealed(bytes(body)))
