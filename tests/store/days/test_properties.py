"""Whatever is appended, in whatever order, with closings in between: the same samples come back on files and on partitions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.domain.clock import VirtualClock
from daemon.store.database import Store
from daemon.store.days.codec import HIGHEST, LOWEST
from daemon.store.days.shapes import Sample
from daemon.store.days.store import DayStore
from daemon.store.targets import Target
from tests.databases import apart
from tests.store.days.conftest import HERE

START = datetime(2026, 1, 5, 23, tzinfo=UTC)
SERVICES = st.sampled_from([1, 2, 127, 128, 129, 10_000])
VALUE = st.one_of(st.integers(LOWEST, HIGHEST), st.integers(0, 1000), st.sampled_from([LOWEST, HIGHEST]))
APPEND = st.tuples(
    st.integers(0, 30).map(lambda minutes: START + timedelta(minutes=7 * minutes)),
    st.sampled_from(["one", "two"]),
    st.dictionaries(
        st.sampled_from(["in", "power"]),
        st.dictionaries(SERVICES, st.tuples(VALUE, st.integers(0, 255)), min_size=1),
        min_size=1,
    ),
)
CLOSE = st.sampled_from([date(2026, 1, 5), date(2026, 1, 6)])
FOLDERS = count()


@pytest.fixture
def run(target: Target, tmp_path: Path) -> Callable[[list], None]:
    async def play(actions: list) -> None:
        store = await Store.open(target, clock=VirtualClock())
        days = DayStore.of(store, tmp_path / str(next(FOLDERS)), HERE)
        try:
            await check(days, actions)
        finally:
            for day in await days.days():
                await days.drop_day(day.date)
            await days.close()
            await store.close()

    return lambda actions: apart(lambda: play(actions))


async def check(days: DayStore, actions: list) -> None:
    expected: dict[tuple[str, int], dict[datetime, Sample]] = {}
    for action in actions:
        if isinstance(action, date):
            await days.close_day(action)
            continue
        at, module, samples = action
        await days.append(at, module, samples)
        for metric, of_services in samples.items():
            for service, (value, cls) in of_services.items():
                expected.setdefault((metric, service), {}).setdefault(at, Sample(at, value, cls))
    until = START + timedelta(days=1)
    for (metric, service), samples in expected.items():
        ordered = [samples[at] for at in sorted(samples)]
        assert await days.series(metric, service, START, until) == ordered
        assert (await days.bulk(metric, [service], START, until))[service].samples() == ordered
        middle = ordered[len(ordered) // 2].at
        older = [sample for sample in ordered if sample.at < middle]
        assert await days.last(metric, [service], middle) == ({service: older[-1]} if older else {})
        assert (await days.last(metric, [service], until))[service] == ordered[-1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.one_of(APPEND, APPEND, APPEND, CLOSE), max_size=14))
def test_what_was_appended_comes_back_exactly(run: Callable[[list], None], actions: list) -> None:
    run(actions)
