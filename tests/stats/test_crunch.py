"""The worker's functions against plain Python numbers."""

from __future__ import annotations

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.stats import arrays, crunch
from daemon.store.days import codec
from daemon.store.days.codec import HIGHEST, LOWEST
from daemon.store.days.shapes import OpenBlock, Packed, PackedDay, bounds

INT64 = st.integers(LOWEST, HIGHEST)
DAY = date(2026, 1, 5)
BEGIN, END = bounds(DAY)


Readings = list[tuple[int, dict[int, tuple[int, int]]]]


@st.composite
def readings(draw: st.DrawFn) -> Readings:
    moments = draw(st.lists(st.integers(BEGIN, END), min_size=1, max_size=12))
    return [
        (at, draw(st.dictionaries(st.integers(256, 262), st.tuples(INT64, st.integers(0, 3)), min_size=1)))
        for at in moments
    ]


def slots(given_readings: Readings) -> list[tuple[int, str, bytes]]:
    return [
        (at, f"m{number % 2}", codec.pack_slot((service - 256, *sample) for service, sample in samples.items()))
        for number, (at, samples) in enumerate(given_readings)
    ]


@settings(deadline=None)
@given(readings(), readings())
def test_closing_and_closing_again_keeps_every_sample_and_the_first_of_each_time(
    first: Readings, later: Readings
) -> None:
    expected: dict[int, dict[int, tuple[int, int]]] = {}
    for at, samples in first + later:
        for service, sample in samples.items():
            expected.setdefault(service, {}).setdefault(at, sample)
    once = crunch.encode_block(OpenBlock("here", 2, slots(first)))
    series = [(service, once.axes[axis], payload) for service, axis, payload in once.series]
    twice = crunch.encode_block(OpenBlock("here", 2, slots(later), series))

    closed = PackedDay(DAY, "here", list(twice.series), dict(enumerate(twice.axes)))
    half = PackedDay(
        DAY, "here", list(once.series), dict(enumerate(once.axes)), [(at, 2, raw) for at, _, raw in slots(later)]
    )
    opened = PackedDay(DAY, "here", slots=[(at, 2, raw) for at, _, raw in slots(first + later)])
    for day in (closed, half, opened):
        for since, until in ((BEGIN, END), (BEGIN + 1, END), (first[0][0], first[-1][0])):
            packed = Packed(tuple(range(256, 264)), since, until, [day])
            found = {
                service: {codec_at: (value, cls) for codec_at, value, cls in zip(*columns, strict=True)}
                for service, columns in (
                    (service, [column.tolist() for column in columns])
                    for service, columns in arrays.arrays(packed).items()
                )
                if columns[0]
            }
            inside = {
                service: {at: sample for at, sample in sorted(samples.items()) if since <= at <= until}
                for service, samples in expected.items()
            }
            assert found == {service: samples for service, samples in inside.items() if samples}
