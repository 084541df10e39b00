"""`python -m tests.benchmarks [NAME ...]`: one line per figure, and bench.json in this folder; it ends with 1 when one doesn't hold.

Absolute figures hold on two idle cores; ratios are of alternating pairs in one run, and hold on a busier machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from tests.benchmarks import collection, days, ledger, orders, process, pushed, samples, steps
from tests.benchmarks.figures import Figure, machine, write_json

Benchmark = Callable[[], Coroutine[Any, Any, list[Figure]]]

BENCHMARKS: dict[str, Benchmark] = {
    "help": process.help_,
    "idle": process.idle,
    "start": process.start,
    "stop": process.stop,
    "collection": collection.measure,
    "ledger": ledger.measure,
    "pushed": pushed.measure,
    "samples": samples.measure,
    "days": days.measure,
    "steps": steps.measure,
    "orders": orders.measure,
}
"""In this order: the quick ones first."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all when none is named"
    )
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures are written to")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(machine())
    figures: list[Figure] = []
    for name in given.names or BENCHMARKS:
        for figure in asyncio.run(BENCHMARKS[name]()):
            figures.append(figure)
            print(figure.line(), flush=True)
        write_json(given.json, figures)
    return 1 if any(figure.holds is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
