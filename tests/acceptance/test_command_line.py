"""The same story by a person at a shell: every noun, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.house import TEMPLATE, Cli, Database, Sandbox, daemon, order, sandbox, until

NO_DAEMON = 3
ASKED_ELSEWHERE = {("operation", "why"), ("order", "list"), ("service", "list"), ("service", "show"), ("plan", "list")}
"""Commands whose JSON another part of the story reads."""
ADDONS = {"ostempl": TEMPLATE, "ip": 2, "special_ip_block_guardvlan9": "guardvlan9"}


@pytest.mark.timeout(240)  # some thirty processes, one after the other
def test_the_story_can_be_told_at_a_shell(tmp_path: Path) -> None:
    with sandbox(tmp_path, "--install-seconds", "0.3") as panels, daemon(panels.config):
        cli = Cli(panels.config)
        free, stock = panels.free(), panels.stock()
        operation = order_by_hand(cli, order_file(tmp_path))
        service = assert_everything_can_be_looked_at(cli, operation)
        remote_id = cli.json("service", "show", service)["server"]["remote_id"]
        panels.door("traffic", server=remote_id, rx=2048, tx=1025)
        assert_usage_is_shown(cli, service)
        release_by_hand(cli, service)
        records = cli.json("usage", "records", "--service", service)["items"]
        assert {found["resource"]: found["base_quantity"] for found in records} == {"in": "2048", "out": "1025"}
        assert "2048" not in cli.text("usage", "records", "--service", service)  # people read KiB
        assert (panels.free(), panels.stock()) == (free, stock)


@pytest.mark.timeout(240)
def test_looking_planning_and_tokens_at_a_shell(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels:
        cli = Cli(panels.config)
        assert_checks_work_beside_no_daemon(cli)
        with daemon(panels.config):
            assert cli.json("plan", "list")["items"][0]["available"] == len(panels.free())
            assert_a_plan_does_nothing(panels, cli, order_file(tmp_path))
            assert_tokens_are_made_and_revoked(cli)
            assert cli.json("db", "check") == {"problems": []}


def order_file(folder: Path) -> Path:
    file = folder / "order.yaml"
    file.write_text(json.dumps(order(addons=ADDONS)))
    return file


def assert_checks_work_beside_no_daemon(cli: Cli) -> None:
    assert cli.json("check", "--offline")["problems"] == []
    report = cli.json("check")
    assert (report["problems"], sorted(report["platforms"])) == ([], ["dci-main", "ipm-main"])
    assert cli.json("module", "probe", "dci-main")["items"]
    assert cli.run("plan", "list").returncode == NO_DAEMON


def assert_a_plan_does_nothing(panels: Sandbox, cli: Cli, file: Path) -> None:
    before = len(panels.effects())
    plan = cli.json("order", "plan", str(file))
    assert (plan["module"], plan["why"][0]["free"]) == ("dci-main", len(panels.free()))
    assert any("guardvlan9" in sentence for sentence in plan["would"])
    text = cli.text("order", "plan", str(file))
    assert all(sentence in text for sentence in plan["would"])
    assert cli.json("order", "list")["items"] == []
    assert len(panels.effects()) == before
    wrong = cli.run("order", "plan", "-", stdin="plan: ds-small\ncurrency: EUR\naddons:\n  ip: 99\n")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "standard input:4:7: addons.ip" in wrong.stderr


def order_by_hand(cli: Cli, file: Path) -> str:
    """The operation's id, when it is done."""
    placed = cli.json("order", "create", str(file), "--key", "by-hand")
    other = cli.run("order", "create", "-", "--key", "by-hand", stdin=json.dumps(order(hostname="b.example.test")))
    assert other.returncode == 1
    assert len(cli.json("order", "list")["items"]) == 1
    operation = str(placed["operation"]["id"])
    assert f"operation {operation}" in cli.text("order", "create", str(file), "--key", "by-hand")  # the same again
    return ended(cli, operation)


def ended(cli: Cli, operation: str) -> str:
    done = f"SELECT COUNT(*) FROM operation WHERE id = {operation} AND status = 'done'"
    until(lambda: Database(cli.config).number(done), f"operation {operation}")
    return operation


def assert_everything_can_be_looked_at(cli: Cli, operation: str) -> str:
    """As JSON and as text; the service's id."""
    why = cli.json("operation", "why", operation)
    assert (why["status"], why["may"], why["service_state"]) == ("done", [], "active")
    service = str(why["service"])
    looks: dict[tuple[str, ...], Any] = {
        ("operation", "list"): "provision",
        ("operation", "show", operation): "install",
        ("operation", "why", operation): "done",
        ("order", "list"): "C-17",
        ("order", "show", "1"): "49.00",
        ("service", "list"): "a.example.test",
        ("service", "show", service): "guardvlan9",
        ("service", "events", service, "--all"): "step.done",
        ("task", "list", "--status", "any"): "(none)",
        ("module", "list"): "healthy",
        ("plan", "list"): "ds-small",
    }
    for words, shown in looks.items():
        assert shown in cli.text(*words), words
    for words in looks:
        if words[:2] not in ASKED_ELSEWHERE:
            assert {"items", "steps", "order"} & cli.json(*words).keys(), words
    access = cli.json("service", "access", service, "--reason", "a call")
    assert access["root_password"] in cli.text("service", "access", service)
    assert cli.json("service", "list", "--state", "active")["items"][0]["id"] == int(service)
    return service


def assert_usage_is_shown(cli: Cli, service: str) -> None:
    assert cli.json("usage", "poll")["items"][0]["problems"] == []
    shown = cli.json("usage", "show", service)
    assert {found["resource"]: found["total"] for found in shown["resources"]} == {"in": "2", "out": "1.0009765625"}
    assert "KiB" in cli.text("service", "usage", service, "--resolution", "raw")


def release_by_hand(cli: Cli, service: str) -> None:
    answer = cli.json("service", "release", service, "--reason", "the customer left", "--key", "gone")
    assert cli.json("service", "release", service, "--reason", "the customer left", "--key", "gone") == answer
    ended(cli, str(answer["operation"]["id"]))
    assert cli.json("service", "show", service)["state"] == "released"
    again = cli.run("service", "release", service)
    assert (again.returncode, again.stdout) == (1, "")
    problem = json.loads(cli.run("service", "release", service, "--json").stdout)
    assert problem["status"] == 409


def assert_tokens_are_made_and_revoked(cli: Cli) -> None:
    made = cli.json("token", "create", "--role", "read", "--role", "order", "--name", "shop")
    assert made["roles"] == ["order", "read"]
    assert cli.run("token", "create", "--role", "emperor").returncode == 2
    cli.text("token", "revoke", str(made["id"]))
    assert cli.json("token", "list")["items"][-1]["revoked_at"] is not None
    assert "shop" in cli.text("token", "list")
