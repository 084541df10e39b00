"""Panels that stand still, answer nothing of use, or refuse us: operations wait, say why and until when, and go on by themselves."""

from __future__ import annotations

import signal
import time
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.acceptance.house import QUICK, Api, Cli, Sandbox, api_of, change, daemon, http, order, sandbox, until

PASSWORD = "sandbox-pass"
LOGIN_EVERY = 1.0


def waits(api: Api, operation: int, said: str) -> Any:
    """What `why` says, as soon as the operation waits for the reason that holds `said`."""

    def look() -> Any:
        why = api.get(f"/v1/operations/{operation}/why")
        return why if why["waiting_for"] and said in why["waiting_for"] and why["next_look"] else None

    return until(look, f"operation {operation} to wait because of {said!r}")


def assert_why_is_complete(why: Any, cli: Cli) -> None:
    assert (why["status"], why["fault"]) == ("open", None)
    since, look, end = (datetime.fromisoformat(why[name]) for name in ("since", "next_look", "until"))
    assert since < end
    assert look < end
    assert set(why["may"]) >= {"retry", "abandon"}
    text = cli.text("operation", "why", str(why["operation"]))
    assert why["waiting_for"] in text
    assert "(deadline)" in text
    assert f"operation retry {why['operation']}" in text


def test_a_panel_that_stands_still_is_waited_for_and_nothing_happens_twice(tmp_path: Path) -> None:
    quick = {**QUICK, "timeout": "1s", "settle": "1s"}
    with sandbox(tmp_path, "--install-seconds", "0.5", "--power-seconds", "0.5", module=quick) as panels:
        change(tmp_path / "ipam.d" / "ipm-main.yaml", "timeout", "1s")
        change(tmp_path / "ipam.d" / "ipm-main.yaml", "settle", "1s")
        with daemon(panels.config) as running:
            api, cli = api_of(panels.config), Cli(panels.config)
            operation = api.order()["operation"]["id"]
            until(panels.owned, "a reserved server")
            panels.process.send_signal(signal.SIGSTOP)
            why = waits(api, operation, "main")
            assert_why_is_complete(why, cli)
            refused = api.call("POST", "/v1/orders", order(), key="order-2")
            assert (refused.status, refused.json["code"]) == (503, "stock_unknown")
            plan = api.get("/v1/plans")["items"][0]
            assert (plan["available"], plan["module"]) == (None, None)
            assert http("GET", f"{running.url}/readyz").status == 200  # the daemon itself is well
            panels.process.send_signal(signal.SIGCONT)
            api.ended(operation)
            assert len(panels.owned()) == 1
            assert [len(server["installs"]) for server in panels.servers().values() if server["owner"]] == [1]
            assert api.call("POST", "/v1/orders", order(), key="order-2").status == 201


def test_a_panel_in_maintenance_is_waited_for_by_new_and_by_half_done_operations(tmp_path: Path) -> None:
    with sandbox(tmp_path, "--install-seconds", "600") as panels, daemon(panels.config):
        api, cli = api_of(panels.config), Cli(panels.config)
        half_done = api.order("half-done")["operation"]["id"]
        until(lambda: [s for s in panels.servers().values() if s["installs"]], "the install")
        panels.fault("*", "*", "http_503", times=0)
        why = waits(api, half_done, "503")
        assert_why_is_complete(why, cli)
        release = api.post("/v1/services/1/release", {"reason": "too slow"})["operation"]["id"]
        queued = api.get(f"/v1/operations/{release}/why")
        assert queued["status"] == "queued"
        panels.mend()
        api.ended(release)
        assert api.operation(half_done)["status"] == "superseded"
        assert panels.owned() == []
        assert api.service(1)["state"] == "released"


def test_a_refused_login_is_told_once_and_never_becomes_a_storm(tmp_path: Path) -> None:
    module = {**QUICK, "login_every": f"{LOGIN_EVERY:.0f}s"}
    with sandbox(tmp_path, "--install-seconds", "600", module=module) as panels:
        change(panels.config, "poll_every", "1s")
        with daemon(panels.config):
            api, cli = api_of(panels.config), Cli(panels.config)
            operations = [api.order(f"order-{number}")["operation"]["id"] for number in range(2)]
            until(lambda: len([s for s in panels.servers().values() if s["installs"]]) == 2, "the installs")
            set_password(panels, "somebody-changed-it")
            panels.fault("dci", "*", "auth_loss")
            began, logins = time.monotonic(), panels.count("auth")
            module_is(api, healthy=False)
            for operation in operations:
                assert_why_is_complete(waits(api, operation, "refused auth"), cli)
            assert api.call("POST", "/v1/orders", order(), key="order-3").status in {409, 503}
            mail = until(lambda: panels.mails("dc@example.test"), "the notice")[0]
            assert "dci-main refused auth" in mail["text"]
            until(lambda: time.monotonic() > began + 3 * LOGIN_EVERY, "three times the pause between logins")
            assert panels.count("auth") - logins <= (time.monotonic() - began) / LOGIN_EVERY + 2
            set_password(panels, PASSWORD)
            module_is(api, healthy=True)
            panels.door("clock", advance=600)
            for operation in operations:
                api.ended(operation)
            assert len(panels.mails("dc@example.test")) == 1
            assert [service["fault"] for service in api.get("/v1/services")["items"]] == [None, None]


def module_is(api: Api, *, healthy: bool) -> None:
    def look() -> bool:
        (found,) = api.get("/v1/modules")["items"]
        assert found["healthy"] or "refused" in found["reason"]
        return found["healthy"] is healthy

    until(look, f"the module to be healthy={healthy}")


def set_password(panels: Sandbox, password: str) -> None:
    """As the panel's own administrator does."""
    state = panels.state()["dcimanager"]
    (user,) = (user["id"] for user in state["users"] if user["name"] == "provisiond")
    form = {"func": "user.edit", "elid": user, "passwd": password, "confirm": password, "sok": "ok"}
    data = urllib.parse.urlencode({**form, "authinfo": "admin:sandbox-admin"}).encode()
    with urllib.request.urlopen(panels.systems["dcimanager"]["url"], data=data, timeout=10) as answer:
        assert b"<error" not in answer.read()
