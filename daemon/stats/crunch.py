"""What the worker process can be asked for: `await worker.run(crunch.percentiles, packed)`.

Naming a function here loads no numpy: `arrays`, which does the work, is imported where the function runs.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from daemon.stats.worker import Worker
from daemon.store.days.shapes import ClosedBlock, Columns, Crunch, OpenBlock, Packed


def encode_block(block: OpenBlock) -> ClosedBlock:
    """Slots, and series of an earlier closing, as new series."""
    from daemon.stats import arrays

    return arrays.encode_block(block)


def decode(packed: Packed) -> dict[int, Columns]:
    """Columns of each of the services, oldest sample first; a service without samples has empty ones."""
    from daemon.stats import arrays

    return arrays.decode(packed)


def percentiles(packed: Packed, accepted: Collection[int] | None = None) -> dict[int, tuple[int, int]]:
    """Of each service the 95th percentile of its values and the count of samples it rests on: those of the accepted classes (None: all).

    Rank n - floor(5n/100) of n values, counted from 1 upwards. A service without samples is left out.
    """
    from daemon.stats import arrays

    return arrays.percentiles(packed, accepted)


def percentiles_of(series: dict[int, bytes]) -> dict[int, int]:
    """The same of numbers that are at hand already: service -> little-endian int64; a service without any is left out."""
    from daemon.stats import arrays

    return {name: arrays.percentile95(arrays.numbers(raw)) for name, raw in series.items() if raw}


def crunching(worker: Worker) -> Crunch:
    """The heavy parts of the sample store, done by `worker`."""
    return Crunch(encode=partial(worker.run, encode_block), decode=partial(worker.run, decode))
