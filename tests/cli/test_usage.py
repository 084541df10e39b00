"""Usage at a shell: tables, samples, CSV, and the graph."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from daemon.cli.graph import BLOCKS, HEIGHT, LABEL, PLAIN, Graph, Stretch, lines, shown
from tests.api.test_usage import rounds
from tests.cli.conftest import Desk
from tests.cli.test_commands import activate

T0 = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def used(desk: Desk) -> None:
    await activate(desk)
    await rounds(desk.home, 1, *[1_000_000] * 6)


async def test_usage_is_shown_with_totals_and_its_zone(desk: Desk) -> None:
    await used(desk)
    done = await desk("usage", "show", "1", "--resolution", "hour")
    assert (done.code, "times of UTC" in done.out) == (0, True), done.err
    assert "5859.375  KiB" in done.out
    assert (await desk("service", "usage", "1")).code == 0
    today = await desk("usage", "show", "1", "--period", "today", "--json")
    assert today.json["resources"][0]["base_total"] == "6000000"
    both = await desk("usage", "show", "1", "--period", "today", "--from", "2026-01-01T00:00:00Z")
    assert (both.code, "period: expected a period, or from and until, not both" in both.err) == (1, True)


async def test_samples_are_shown_as_they_were_read_or_in_steps(desk: Desk) -> None:
    await used(desk)
    raw = (await desk("usage", "samples", "1", "in")).out
    assert "BASE VALUE" in raw
    assert "6000000" in raw
    assert "in in KiB (B)" in raw
    steps = (await desk("usage", "samples", "1", "in", "--resolution", "15m")).out
    assert "rates or levels in bit/s" in steps


async def test_csv_is_printed_for_usage_samples_and_lists_of_all_pages(desk: Desk) -> None:
    await used(desk)
    rows = list(csv.DictReader(io.StringIO((await desk("usage", "show", "1", "--csv")).out)))
    assert [row["value"] for row in rows if (row["row"], row["resource"]) == ("total", "in")] == ["5859.375"]
    samples = (await desk("usage", "samples", "1", "in", "--csv")).out
    assert samples.splitlines()[-1].endswith(",5859.375,6000000,ok")
    events = await desk("service", "events", "1", "--limit", "2", "--csv")
    assert len(events.out.splitlines()) == 3
    assert "more: --after" in events.err
    everything = list(csv.DictReader(io.StringIO((await desk("service", "events", "1", "--all", "--csv")).out)))
    assert len(everything) == len((await desk("service", "events", "1", "--all", "--json")).json["items"])
    assert (await desk("service", "list", "--csv", "--json")).code == 2


async def test_a_graph_is_drawn_eighty_columns_wide_in_a_pipe(desk: Desk) -> None:
    await used(desk)
    done = await desk("usage", "graph", "1", "in")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines()[:-1])) == 80
    assert "Kbit/s" in done.out
    assert (await desk("usage", "graph", "1", "in", "--resolution", "raw")).code == 2
    assert "one of in, out" in (await desk("usage", "graph", "1", "power")).err


# The graph itself.


def graph(*values: int | None, unit: str = "bit/s", zone: str = "UTC", step: timedelta = HOUR) -> Graph:
    points = [Stretch(T0 + n * step, T0 + (n + 1) * step, Fraction(v)) for n, v in enumerate(values) if v is not None]
    return Graph("in", unit, ZoneInfo(zone), T0, T0 + len(values) * step, points)


def plot(drawn: list[str]) -> list[str]:
    return [line[LABEL:] for line in drawn[1 : HEIGHT + 2]]


def test_a_gap_has_neither_bar_nor_axis_and_zero_has_both() -> None:
    rows = plot(lines(graph(8, None, 0, 4), LABEL + 40))
    lowest, axis = rows[HEIGHT - 1], rows[HEIGHT]
    assert lowest[:10] == "█" * 10
    assert lowest[10:20].strip() == ""
    assert lowest[20:30] == "▁" * 10
    assert axis == "─" * 10 + " " * 10 + "─" * 20
    assert rows[0].rstrip() == "█" * 10
    assert rows[HEIGHT // 2].rstrip() == "█" * 10 + " " * 20 + "█" * 10


def test_the_axis_shows_local_times_also_where_the_clocks_change() -> None:
    begin = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin; the day has 25 hours
    points = [Stretch(begin, begin + 25 * HOUR, Fraction(5))]
    found = Graph("in", "bit/s", ZoneInfo("Europe/Berlin"), begin, begin + 25 * HOUR, points)
    ticks = lines(found, LABEL + 100)[HEIGHT + 2][LABEL:]
    assert ticks.split()[0] == "10-25"
    assert ticks.index("06:00") == 28  # seven hours after midnight
    assert ticks.index("12:00") == 52


def test_a_graph_without_anything_known_says_so() -> None:
    assert lines(graph(None, None), 80)[1].startswith("nothing is known from 2026-11-22 00:00")


def test_a_graph_for_a_terminal_that_knows_ascii_only_is_ascii() -> None:
    drawn = "\n".join(lines(graph(1, 2, None, 3), 80, PLAIN))
    assert drawn.isascii()
    assert not "\n".join(lines(graph(1, 2, None, 3), 80, BLOCKS)).isascii()


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_graph_is_as_wide_as_it_is_told(width: int) -> None:
    drawn = lines(graph(*range(1, 30)), width)
    assert max(len(line) for line in drawn[1:-1]) == max(40, width)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1_234_000_000, "bit/s", "1.23 Gbit/s"), (999, "bit/s", "999 bit/s"), (3_650_722_202, "KiB", "3.4 TiB"), (0, "KiB", "0 KiB"),
        (Fraction(1, 2), "KiB", "512 B"), (1500, "W", "1.5 kW"), (Fraction(1, 4), "W", "250 mW"), (7, "addresses", "7 addresses"),
        (2_000_000, "KB", "2 GB"), (-5, "W", "-5 W"),
    ],
)  # fmt: skip
def test_numbers_have_a_human_size(value: Fraction, unit: str, text: str) -> None:
    assert shown(Fraction(value), unit) == text
