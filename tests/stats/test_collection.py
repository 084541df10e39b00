"""Classes at arrival, many at once: what the rules say reading by reading, and what judging the whole series says afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.clock import VirtualClock
from daemon.domain.metering import Billable, Source
from daemon.domain.quality import Meter, Quality, Reading, Standing, classify
from daemon.domain.resources import RESOURCES, Kind
from daemon.stats.progress import Progress
from daemon.stats.terms import Terms

RHYTHM = timedelta(minutes=5)
START = datetime(2026, 1, 31, 22, tzinfo=UTC)
SPEEDS = (None, 10_000_000, 10_000_000_000)


def terms(service_id: int, meter: Meter) -> Terms:
    service: Any = SimpleNamespace(id=service_id, module="dci-main", billing_from=START)
    billable = Billable(service_id, RESOURCES["in"], (Source("in", meter),))
    return Terms(service, UTC, {"in": billable}, {}, {})


def progress(meters: dict[int, Meter]) -> Progress:
    unused: Any = None
    made = Progress(VirtualClock(START), unused, unused)
    made.know([terms(service_id, meter) for service_id, meter in meters.items()])
    return made


steps = st.sampled_from([RHYTHM, RHYTHM, RHYTHM, 2 * RHYTHM, timedelta(hours=3), timedelta(days=2), timedelta()])
moves = st.one_of(
    st.none(),
    st.integers(0, 10**6),
    st.just(0),
    st.integers(-(10**10), 10**13),
    st.sampled_from([-(2**31), 2**31, 393_750_000, 393_750_001]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(steps, st.lists(moves, min_size=3, max_size=3)), max_size=25),
    st.sampled_from([Kind.RUNNING_TOTAL, Kind.COUNTER32, Kind.COUNTER64, Kind.GAUGE]),
)
async def test_many_at_once_are_classed_as_one_by_one(
    rounds: list[tuple[timedelta, list[int | None]]], kind: Kind
) -> None:
    """With servers that are missing now and then, stand still, jump and fall, over a month's turn, at three port speeds."""
    meters = {number: Meter(kind, RHYTHM, speed, UTC, START) for number, speed in enumerate(SPEEDS)}
    made, alone = progress(meters), dict[int, Standing | None]()
    at, totals = START, dict.fromkeys(meters, 10**6)
    for step, grown in rounds:
        at += step
        there = [(number, move) for number, move in enumerate(grown) if move is not None]
        for number, move in there:
            totals[number] += move
        found = await made.take_all("in", at, [(number, totals[number]) for number, _ in there])
        for number, _ in there:
            judged = classify(alone.get(number), Reading(at, totals[number]), meters[number])
            alone[number] = judged.standing
            assert found[number] == (totals[number], judged.quality.code)
            assert made._line(terms(number, meters[number]), "in").standing(number) == judged.standing


@pytest.mark.parametrize("missing", [False, True])
async def test_a_service_that_is_forgotten_begins_anew(missing: bool) -> None:
    made = progress({1: Meter(Kind.RUNNING_TOTAL, RHYTHM), 2: Meter(Kind.RUNNING_TOTAL, RHYTHM)})
    for number in range(3):
        await made.take_all("in", START + number * RHYTHM, [(1, 10 * number)] + ([] if missing else [(2, 5)]))
    made.forget([1])
    made.know([terms(1, Meter(Kind.RUNNING_TOTAL, RHYTHM))])
    assert 1 in made.without("in", made.terms([1, 2]))
    found = await made.take_all("in", START + 3 * RHYTHM, [(1, 40), (2, 5)])
    second = Quality.FIRST if missing else Quality.OK
    assert found == {1: (40, Quality.FIRST.code), 2: (5, second.code)}
