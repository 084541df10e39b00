"""What `/metrics` shows, in Prometheus' text format. One `Metrics` per daemon: nothing here is global to the process."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STEP_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
"""From one quick call to a whole installation."""
CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """All figures of one daemon. Counters and histograms are told of each event, gauges of the state as it is now."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._build_info(version)
        self._operation_metrics()
        self._panel_metrics()
        self._stock_metrics()
        self._delivery_metrics()
        self._process_metrics()

    def render(self) -> bytes:
        """Everything, as a scrape wants it; the content type is `CONTENT_TYPE`."""
        return generate_latest(_WithoutCreated(self._registry))

    # operations and their steps ---------------------------------------------------------------------------------------------

    def operations(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set how many operations there are: (verb, status) -> number. What is left out is gone."""
        _replace(self._operations, counts.items())

    def oldest_open_operation(self, seconds: float) -> None:
        """Set how long the oldest unfinished operation has been under way; 0 when there is none."""
        self._oldest.set(seconds)

    def faults(self, count: int) -> None:
        """Set how many services have a fault."""
        self._faults.set(count)

    def step(self, module: str, step: str, outcome: str, seconds: float) -> None:
        """A step ended: done, failed or uncertain, `seconds` after it began."""
        self._steps.labels(module, step, outcome).inc()
        self._step_seconds.labels(module, step).observe(seconds)

    # calls to panels --------------------------------------------------------------------------------------------------------

    def call(self, panel: str, func: str, outcome: str, seconds: float) -> None:
        """A call to a panel ended: ok, temporary, permanent, uncertain, ..."""
        self._calls.labels(panel, func, outcome).inc()
        self._call_seconds.labels(panel).observe(seconds)

    def retry_budget(self, panel: str, left: float) -> None:
        """Set how many repetitions of reads `panel` has left."""
        self._retry_budget.labels(panel).set(left)

    # stock and usage --------------------------------------------------------------------------------------------------------

    def allocations(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set how many addresses are kept: (ipam, state) -> number."""
        _replace(self._allocations, counts.items())

    def collection_round(self, module: str, outcome: str, samples: int) -> None:
        """One reading of all counters of `module` ended (ok or failed) and stored `samples` samples."""
        self._rounds.labels(module, outcome).inc()
        self._samples.labels(module).inc(samples)

    def low_coverage(self, counts: Mapping[str, int]) -> None:
        """Set whose readings cover too little of the running period: module -> number of services."""
        _replace(self._low_coverage, (((module,), count) for module, count in counts.items()))

    def periods_waiting(self, counts: Mapping[str, int]) -> None:
        """Set whose period is over and can't be closed: module -> number of services."""
        _replace(self._periods_waiting, (((module,), count) for module, count in counts.items()))

    # what must reach people -------------------------------------------------------------------------------------------------

    def outbox_backlog(self, count: int) -> None:
        """Set how many parcels wait for delivery."""
        self._backlog.set(count)

    def parcel(self, kind: str, outcome: str) -> None:
        """A parcel was delivered, put_off, given_up or not_sent."""
        self._parcels.labels(kind, outcome).inc()

    def tasks_open(self, counts: Mapping[str, int]) -> None:
        """Set how many tasks wait for a person: department -> number."""
        _replace(self._tasks, (((department,), count) for department, count in counts.items()))

    # the process ------------------------------------------------------------------------------------------------------------

    def loop_lag(self, seconds: float) -> None:
        """The event loop came back `seconds` late."""
        self._lag.observe(seconds)

    def lease_margin(self, seconds: float) -> None:
        """Set how long this node's lease still holds; negative when it has lapsed."""
        self._lease.set(seconds)

    # definitions ------------------------------------------------------------------------------------------------------------

    def _build_info(self, version: str) -> None:
        info = self._gauge("build_info", "Always 1; the version stands in the label.", "version")
        info.labels(version).set(1)

    def _operation_metrics(self) -> None:
        self._operations = self._gauge("operations", "Operations by verb and status.", "verb", "status")
        self._oldest = self._gauge(
            "oldest_open_operation_age_seconds", "Age of the oldest unfinished operation; 0 when there is none."
        )
        self._faults = self._gauge("services_with_fault", "Services whose operation needs a person.")
        self._steps = self._counter(
            "steps", "Steps that ended, by module, step and outcome.", "module", "step", "outcome"
        )
        self._step_seconds = self._histogram(
            "step_seconds", "From the first attempt of a step to its end.", STEP_SECONDS, "module", "step"
        )

    def _panel_metrics(self) -> None:
        self._calls = self._counter(
            "panel_calls", "Calls to panels by panel, function and outcome.", "panel", "func", "outcome"
        )
        self._call_seconds = self._histogram("panel_call_seconds", "Length of calls to panels.", CALL_SECONDS, "panel")
        self._retry_budget = self._gauge("retry_budget", "Repetitions of reads that a panel has left.", "panel")

    def _stock_metrics(self) -> None:
        self._allocations = self._gauge("allocations", "Addresses kept, by IPAM and state.", "ipam", "state")
        self._samples = self._counter("samples", "Samples stored, by module.", "module")
        self._rounds = self._counter(
            "collection_rounds", "Readings of all counters of a module, by outcome.", "module", "outcome"
        )

        self._low_coverage = self._gauge(
            "services_low_coverage", "Services whose readings cover too little of the running period.", "module"
        )

        self._periods_waiting = self._gauge(
            "periods_waiting", "Services whose billing period is over and waits for a source that is behind.", "module"
        )

    def _delivery_metrics(self) -> None:
        self._backlog = self._gauge("outbox_backlog", "Parcels in the outbox that wait for delivery.")
        self._parcels = self._counter("parcels", "Parcels dealt with, by kind and outcome.", "kind", "outcome")
        self._tasks = self._gauge("tasks_open", "Tasks that wait for a person, by department.", "department")

    def _process_metrics(self) -> None:
        self._lag = self._histogram("loop_lag_seconds", "How late the event loop came back.", LAG_SECONDS)
        self._lease = self._gauge("lease_margin_seconds", "How long this node's lease still holds.")
        self._lease.set(math.nan)  # until a lease is held there is no number that means anything

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"provisiond_{name}", text, labels, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"provisiond_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"provisiond_{name}", text, labels, buckets=buckets, registry=self._registry)


class _WithoutCreated(Collector):
    """Leaves out the `_created` series: they double the size of a scrape, and the library's own switch is process-wide."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _replace(gauge: Gauge, values: Iterable[tuple[tuple[str, ...], int]]) -> None:
    gauge.clear()
    for labels, value in values:
        gauge.labels(*labels).set(value)
