"""What machines see of a daemon: metrics that parse, health, and logs of which each line says what it is about."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.house import Daemon, api_of, change, daemon, http, sandbox, until

LEGS = ("daemon.provisioning", "daemon.coremanager", "daemon.modules", "daemon.ipam")
"""Loggers whose lines are written in the course of a leg."""
STEPS = ("reserve", "install", "installed", "verify")


def metrics(running: Daemon) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = http("GET", f"{running.url}/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_logs_and_health_after_a_story(tmp_path: Path) -> None:
    with sandbox(tmp_path, "--install-seconds", "0.5") as panels:
        change(panels.config, "log_level", "debug")
        with daemon(panels.config) as running:
            for path in ("/healthz", "/readyz"):
                answer = http("GET", running.url + path)
                assert (answer.status, answer.json["ok"]) == (200, True)
            api = api_of(panels.config)
            panels.fault("ipm", "*", "http_503")  # one read that is repeated, or one write that waits
            service = api.active()
            api.post("/v1/usage/poll", {})
            until(lambda: panels.mails("ada@example.test"), "the mail")
            until(lambda: running.logged("mail.sent"), "the line about the mail")
            found = metrics(running)
            assert_metrics_tell_the_story(found)
            api.release(service["id"])
            assert value(metrics(running), "provisiond_operations", verb="release", status="done") == 1
            assert_lines_say_what_they_are_about(running)
        assert_every_line_is_json(running.lines())
        assert running.logged("daemon.stopped")


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    """The sum of a metric over the labels that aren't given; KeyError when there is none."""
    values = [v for (n, has), v in found.items() if n == name and has >= frozenset(labels.items())]
    if not values:
        raise KeyError((name, labels))
    return sum(values)


def assert_metrics_tell_the_story(found: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> None:
    assert value(found, "provisiond_operations", verb="provision", status="done") == 1
    assert value(found, "provisiond_oldest_open_operation_age_seconds") == 0
    assert value(found, "provisiond_services_with_fault") == 0
    for step in STEPS:
        assert value(found, "provisiond_steps_total", module="dci-main", step=step, outcome="done") >= 1
        assert value(found, "provisiond_step_seconds_count", module="dci-main", step=step) >= 1
    for panel in ("dci-main", "ipm-main"):
        assert value(found, "provisiond_panel_calls_total", panel=panel, outcome="ok") > 0
        assert value(found, "provisiond_panel_call_seconds_count", panel=panel) > 0
    assert value(found, "provisiond_allocations", ipam="ipm-main", state="bound") == 1
    assert value(found, "provisiond_samples_total", module="dci-main") >= 2
    assert value(found, "provisiond_collection_rounds_total", module="dci-main", outcome="ok") >= 1
    assert value(found, "provisiond_outbox_backlog") == 0
    assert value(found, "provisiond_parcels_total", outcome="delivered") == 1
    assert value(found, "provisiond_loop_lag_seconds_count") > 0
    assert value(found, "provisiond_lease_margin_seconds") > 0
    assert value(found, "provisiond_build_info") == 1
    assert value(found, "process_resident_memory_bytes") > 0
    assert 0 < value(found, "provisiond_retry_budget", panel="ipm-main") <= 20


def assert_lines_say_what_they_are_about(running: Daemon) -> None:
    of_legs = [line for line in running.lines() if line.get("logger", "").startswith(LEGS) and "operation" in line]
    assert len([line for line in of_legs if line["event"] == "panel call"]) > 20
    for line in of_legs:
        assert (line["operation"], line["service"]) in {(1, 1), (2, 1)}, line
        assert "module" in line, line
    writes = [line for line in of_legs if line["event"] == "panel call" and line["write"]]
    assert {line["step"] for line in writes} >= {"reserve", "install"}
    ended = [line for line in of_legs if line["event"] == "step.done"]
    assert {line["step"] for line in ended} >= set(STEPS)
    chosen = [line["step"] for line in ended].index("choose")
    assert {line["module"] for line in ended[chosen + 1 :]} == {"dci-main"}
    ends = [line for line in running.lines() if line["event"] in {"step.done", "leg.waits", "operation.done"}]
    assert all("operation" in line for line in ends)


def assert_every_line_is_json(lines: list[dict[str, Any]]) -> None:
    assert len(lines) > 50
    for line in lines:
        assert {"event", "level", "timestamp"} <= set(line), line
        assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
        assert "Traceback" not in str(line), line
