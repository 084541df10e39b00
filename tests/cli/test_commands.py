"""The nouns: what people see, what scripts get, and the exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, provisiond
from tests.provisioning.world import order

YAML = """\
plan: ds-small
customer: {ref: C-17, name: Ada Example, email: ada@example.test}
currency: EUR
period: month
hostname: a.example.test
addons:
  ostempl: ISPsystem__Debian-12-x86_64
  ip: 2
"""


async def place(desk: Desk) -> None:
    done = await desk("order", "create", "-", stdin=YAML)
    assert done.code == 0, done.err


async def activate(desk: Desk) -> None:
    await place(desk)
    await desk.home.world.drive()


async def test_an_order_from_a_file_is_placed_and_shown(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(YAML)
    done = await desk("order", "create", str(file))
    assert (done.code, done.out) == (0, "order 1, service 1, operation 1\n")
    shown = await desk("order", "show", "1")
    assert "C-17  Ada Example" in shown.out
    assert f"by uid:{os.getuid()}" in shown.out
    assert "a.example.test" in (await desk("order", "list")).out


async def test_an_order_may_be_json(desk: Desk) -> None:
    done = await desk("--json", "order", "create", "-", stdin=json.dumps(order(), indent="\t"))
    assert done.json["order"]["plan"] == "ds-small"


async def test_an_order_with_a_key_is_placed_once(desk: Desk) -> None:
    answers = [await desk("order", "create", "-", "--key", "k", "--json", stdin=YAML) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert len((await desk("service", "list", "--json")).json["items"]) == 1


async def test_a_refused_order_tells_each_field_with_its_place_in_the_file(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(YAML.replace("ip: 2", "ip: 99").replace("EUR", "XXX"))
    done = await desk("order", "create", str(file))
    assert done.code == 1
    assert f"{file}:3:11: currency: " in done.err
    assert f"{file}:8:7: addons.ip: " in done.err
    assert done.out == ""


async def test_a_refusal_is_json_for_scripts(desk: Desk) -> None:
    done = await desk("order", "create", "-", "--json", stdin=YAML.replace("ds-small", "nothing"))
    assert done.code == 1
    assert [error["field"] for error in done.json["errors"]] == ["plan"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plan: [", "is not valid YAML"),
        ("plan: a\nplan: b\n", "a second time"),
        ("", "is empty"),
        ("- a\n", "expected settings of the form"),
        ("a: &x 1\n", "anchors"),
    ],
)
async def test_a_file_that_can_not_be_read_is_a_usage_error(desk: Desk, text: str, said: str) -> None:
    done = await desk("order", "create", "-", stdin=text)
    assert done.code == 2
    assert said in done.err


async def test_a_missing_file_is_a_usage_error(desk: Desk) -> None:
    done = await desk("order", "create", "/nowhere/order.yaml")
    assert done.code == 2
    assert "/nowhere/order.yaml can't be read" in done.err


async def test_a_plan_of_an_order_does_nothing(desk: Desk) -> None:
    done = await desk("order", "plan", "-", stdin=YAML)
    assert done.code == 0
    assert "dci-main" in done.out
    assert "1. reserve server" in done.out
    assert (await desk("order", "list")).out == "(none)\n"


async def test_a_plan_of_an_order_that_nothing_can_carry_is_exit_code_1(desk: Desk) -> None:
    for server in desk.home.world.sandbox.dci.servers.values():
        server.blocked = True
    done = await desk("order", "plan", "-", stdin=YAML)
    assert done.code == 1
    assert "no free server of type" in done.out


async def test_plans_and_modules_are_listed(desk: Desk) -> None:
    assert "ds-small  4     dci-main" in (await desk("plan", "list")).out
    assert "healthy" in (await desk("module", "list")).out


async def test_json_is_taken_before_and_after_the_command(desk: Desk) -> None:
    bodies = [
        (await desk(*arguments)).json
        for arguments in (
            ("--json", "service", "list"),
            ("service", "--json", "list"),
            ("service", "list", "--json"),
        )
    ]
    assert bodies == [{"items": [], "next": None}] * 3


async def test_an_active_service_is_shown_with_addresses_access_events_and_usage(desk: Desk) -> None:
    await activate(desk)
    shown = (await desk("service", "show", "1")).out
    assert "active" in shown
    assert "192.0.2.1" in shown
    access = await desk("service", "access", "1", "--reason", "customer called")
    assert "root password" in access.out
    events = (await desk("service", "events", "1", "--all")).out
    assert "service.ordered" in events
    assert "step.done install" in events
    assert "customer called" in events
    assert "KNOWN" in (await desk("service", "usage", "1")).out
    assert (await desk("usage", "poll")).code == 0
    assert (await desk("usage", "show", "1", "--json")).json["resources"][0]["unit"] == "KiB"


async def test_a_service_is_released_and_its_records_are_listed(desk: Desk) -> None:
    await activate(desk)
    done = await desk("service", "release", "1", "--reason", "moved")
    assert (done.code, done.out) == (0, "operation 2 releases service 1\n")
    await desk.home.world.drive()
    assert "released" in (await desk("service", "show", "1")).out
    records = (await desk("usage", "records", "--service", "1", "--json")).json["items"]
    assert {record["resource"] for record in records} == {"in", "out"}
    assert "KiB" in (await desk("usage", "records")).out
    again = await desk("service", "release", "1")
    assert again.code == 1
    assert "(released)" in again.err


async def test_why_tells_the_commands_that_a_person_may_use_and_they_work(desk: Desk) -> None:
    await place(desk)
    why = await desk("operation", "why", "1")
    config = desk.home.world.config
    assert f'provisiond --config {config} operation abandon 1 --reason "..."' in why.out
    assert "(deadline)" in why.out
    assert (await desk("operation", "abandon", "1", "--reason", "wrong")).code == 0
    await desk.home.world.drive()
    why = await desk("operation", "why", "1")
    assert "abandoned by" in why.out
    assert "open task 1 of dc-team" in why.out
    assert "operation retry 1" in why.out
    assert "operation abandon" not in why.out
    assert "Provision of service 1" in (await desk("task", "list")).out
    assert "task close 1" in (await desk("task", "show", "1")).out
    assert (await desk("task", "close", "1", "--note", "mended")).code == 0
    await desk.home.world.drive()
    shown = await desk("operation", "show", "2", "--json")
    assert shown.json["status"] == "done"
    assert "install" in (await desk("operation", "show", "2")).out
    assert (await desk("operation", "list", "--status", "done", "--json")).json["items"][0]["id"] == 2


async def test_what_can_not_be_done_now_is_exit_code_1(desk: Desk) -> None:
    await activate(desk)
    for verb in ("retry", "abandon", "done"):
        done = await desk("operation", verb, "1", "--reason", "a test")
        assert done.code == 1
        assert "(not_now)" in done.err


async def test_a_token_is_made_shown_once_listed_and_revoked(desk: Desk) -> None:
    made = await desk("token", "create", "--role", "order", "--role", "read", "--name", "shop", "--json")
    assert made.json["token"].startswith("pd_")
    plain = await desk("token", "create", "--role", "admin")
    assert plain.out.startswith("pd_")
    assert len(plain.out.splitlines()) == 1
    assert made.json["token"] not in (await desk("token", "list")).out
    assert (await desk("token", "revoke", str(made.json["id"]))).code == 0
    assert (await desk("token", "revoke", str(made.json["id"]))).code == 1


async def test_all_pages_are_fetched_when_asked_for(desk: Desk) -> None:
    for name in "abc":
        await desk("order", "create", "-", stdin=YAML.replace("a.example", f"{name}.example"))
    first = await desk("order", "list", "--limit", "2")
    assert "more: --after" in first.err
    assert len(first.out.splitlines()) == 3
    assert len((await desk("order", "list", "--all", "--json")).json["items"]) == 3


async def test_without_a_daemon_a_command_says_so_and_how_to_start_one(desk: Desk) -> None:
    desk.home.socket.unlink()
    done = await desk("service", "list")
    assert done.code == 3
    assert f"provisiond --config {desk.home.world.config} run" in done.err


async def test_a_socket_left_behind_is_no_daemon(tmp_path: Path) -> None:
    import socket

    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    done = await provisiond("--socket", str(place), "service", "list")
    assert done.code == 3


async def test_a_mistake_elsewhere_in_the_settings_does_not_lock_people_out(desk: Desk) -> None:
    config = desk.home.world.config
    config.write_text(config.read_text() + "surprise: true\n")
    assert (await desk("service", "list")).code == 0


async def test_settings_that_are_not_there_are_a_settings_error(tmp_path: Path) -> None:
    done = await provisiond("--config", str(tmp_path / "none.yaml"), "service", "list")
    assert done.code == 2
    assert "none.yaml" in done.err


@pytest.mark.parametrize(
    "arguments", [("service", "show", "0"), ("service", "show"), ("nothing",), ("order", "--flux")]
)
async def test_a_wrong_command_line_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert (await provisiond(*arguments)).code == 2


async def test_names_from_outside_can_not_move_the_cursor() -> None:
    from daemon.cli.out import cell

    assert cell("Ada\x1b[2J\r\u202e") == "Ada?[2J??"
