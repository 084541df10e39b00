from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.observability.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return values(metrics).get((f"provisiond_{name}", tuple(sorted(labels.items()))))


def test_every_figure_has_a_help_text_and_no_creation_time(metrics):
    metrics.step("dci-main", "install", "done", 12)
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert family.documentation, family.name
        assert not family.name.endswith("_created")


def test_the_version_is_a_label(metrics):
    assert value(metrics, "build_info", version="1.2.3") == 1


def test_two_daemons_in_one_process_do_not_share_figures(metrics):
    other = Metrics("1.2.3")
    other.parcel("department_mail", "delivered")
    assert value(other, "parcels_total", kind="department_mail", outcome="delivered") == 1
    assert value(metrics, "parcels_total", kind="department_mail", outcome="delivered") is None


def test_a_state_that_nothing_is_in_any_more_disappears(metrics):
    metrics.operations({("provision", "open"): 3, ("release", "queued"): 1})
    metrics.operations({("provision", "done"): 3})
    assert value(metrics, "operations", verb="provision", status="done") == 3
    assert value(metrics, "operations", verb="provision", status="open") is None


def test_steps_calls_and_rounds_are_counted_with_their_length(metrics):
    metrics.step("dci-main", "install", "done", 600)
    metrics.step("dci-main", "install", "failed", 1)
    metrics.call("dci-main", "server.list", "ok", 0.2)
    metrics.collection_round("dci-main", "ok", 240)
    assert value(metrics, "steps_total", module="dci-main", step="install", outcome="failed") == 1
    assert value(metrics, "step_seconds_sum", module="dci-main", step="install") == 601
    assert value(metrics, "panel_calls_total", panel="dci-main", func="server.list", outcome="ok") == 1
    assert value(metrics, "panel_call_seconds_count", panel="dci-main") == 1
    assert value(metrics, "samples_total", module="dci-main") == 240
    assert value(metrics, "collection_rounds_total", module="dci-main", outcome="ok") == 1


def test_the_state_of_stock_deliveries_and_people_is_shown(metrics):
    metrics.oldest_open_operation(61.5)
    metrics.faults(2)
    metrics.retry_budget("dci-main", 9.5)
    metrics.allocations({("ipm-main", "bound"): 4})
    metrics.outbox_backlog(7)
    metrics.tasks_open({"dc-team": 2})
    metrics.periods_waiting({"dci-main": 3})
    metrics.loop_lag(0.02)
    metrics.lease_margin(14)
    assert value(metrics, "periods_waiting", module="dci-main") == 3
    assert value(metrics, "oldest_open_operation_age_seconds") == 61.5
    assert value(metrics, "services_with_fault") == 2
    assert value(metrics, "retry_budget", panel="dci-main") == 9.5
    assert value(metrics, "allocations", ipam="ipm-main", state="bound") == 4
    assert value(metrics, "outbox_backlog") == 7
    assert value(metrics, "tasks_open", department="dc-team") == 2
    assert value(metrics, "loop_lag_seconds_count") == 1
    assert value(metrics, "lease_margin_seconds") == 14


def test_the_process_shows_its_memory(metrics):
    assert any(name == "process_resident_memory_bytes" for name, _ in values(metrics))
