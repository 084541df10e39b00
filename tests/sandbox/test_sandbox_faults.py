"""Each fault switch: what the caller sees, and what became of the effect."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import aiohttp
import pytest

from daemon.sandbox import Sandbox, SandboxSettings

from .lab import DEBIAN, Lab, PanelClient, lab

CUT = (aiohttp.ClientConnectionError, aiohttp.ServerDisconnectedError)


def powered(it: Lab) -> bool:
    it.sandbox.settle()
    return it.sandbox.dci.servers["101"].powered


async def test_slow_holds_the_answer_back_after_the_effect() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", "slow", seconds=0.05)
        began = time.monotonic()

        await it.dci.ok("server.poweron", elid="101")

        assert time.monotonic() - began >= 0.05
        assert powered(it)


@pytest.mark.parametrize("status", [500, 503])
async def test_an_http_error_has_no_effect(status: int) -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", f"http_{status}")
        params = {"func": "server.poweron", "authinfo": it.dci.login, "elid": "101"}

        async with it.http.post(it.dci.url, data=params) as answer:
            assert answer.status == status

        assert not powered(it)


async def test_an_html_page_comes_with_status_200_and_no_effect() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", "html")

        assert "<html>" in await it.dci.text("server.poweron", elid="101")
        assert not powered(it)


async def test_a_truncated_answer_hides_an_effect() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", "truncated")

        assert not (await it.dci.text("server.poweron", elid="101")).rstrip().endswith("</doc>")
        assert powered(it)


@pytest.mark.parametrize(("kind", "effect"), [("reset_before", False), ("reset_after", True)])
async def test_a_reset_comes_before_or_after_the_effect(kind: str, effect: bool) -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", kind)

        with pytest.raises(CUT):
            await it.dci.text("server.poweron", elid="101")

        assert powered(it) is effect
        assert len([e for e in it.sandbox.dci.effects if e["func"] == "server.poweron"]) == int(effect)


async def test_a_late_effect_lands_when_its_time_has_come() -> None:
    async with lab() as it:
        it.sandbox.fault("ipm", "ip.edit", "late", seconds=60)
        with pytest.raises(CUT):
            await it.ipm.text("ip.edit", sok="ok", family="ipv4", iptype="public", note="k1")

        assert it.sandbox.ipm.free("public") == 32
        it.sandbox.advance(59)
        assert not [row for row in await it.ipm.rows("ip") if row.findtext("note") == "k1"]
        it.sandbox.advance(1)

        assert [row.findtext("note") for row in await it.ipm.rows("ip")][-1] == "k1"
        held = (await it.state())["ipmanager"]["held"][-1]
        assert held["since"] == "2026-01-01T00:01:00+00:00"


async def test_a_late_effect_lands_in_real_time_before_the_next_call() -> None:
    async with Sandbox.start(SandboxSettings()) as sandbox, aiohttp.ClientSession() as http:
        dci = PanelClient(http, sandbox.dci_url)
        sandbox.fault("dci", "server.poweron", "late", seconds=0.02)
        with pytest.raises(CUT):
            await dci.text("server.poweron", elid="101")
        sandbox.fault("dci", "rack", "slow", seconds=0.03)
        await dci.ok("rack")

        assert (await dci.server("101")).find("poweron") is not None
        cut = sandbox.dci.calls[0].time
        landed = datetime.fromisoformat(next(e["time"] for e in sandbox.dci.effects if e["func"] == "server.poweron"))
        assert landed - cut >= timedelta(seconds=0.02)


async def test_a_late_effect_meets_what_stands_there_when_it_lands() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", "late", seconds=60)
        with pytest.raises(CUT):
            await it.dci.text("server.poweron", elid="101")
        await it.dci.ok("server.poweroff", elid="101")
        it.sandbox.advance(60)

        assert powered(it)


async def test_a_wrong_answer_to_a_change_confirms_nothing() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.poweron", "wrong")
        it.sandbox.fault("ipm", "ip.edit", "wrong")

        await it.dci.ok("server.poweron", elid="101")
        told = (await it.ipm.ok("ip.edit", sok="ok", family="ipv4", iptype="public")).findtext("ip")

        assert not powered(it)
        assert told in {server.main_ip for server in it.sandbox.dci.servers.values()}
        assert it.sandbox.ipm.free("public") == 32


async def test_a_wrong_answer_to_a_read_shows_another_element() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "*", "wrong", times=3)
        await it.door("traffic", server="102", rx=7, tx=0)

        assert (await it.dci.ok("server.edit", elid="101")).findtext("name") == "R1U02"
        assert (await it.dci.server("101")).findtext("name") == "R1U02"
        row = (await it.dci.ok("traffic")).find(".//elem")
        assert row is not None
        rx = row.find("rx")
        assert rx is not None
        assert (row.findtext("id"), rx.attrib["orig"]) == ("101", "7")


async def test_auth_loss_drops_all_sessions() -> None:
    async with lab() as it:
        session = (await it.dci.json("auth", username="provisiond", password="sandbox-pass"))["doc"]["auth"]["$"]
        it.sandbox.fault("dci", "server", "auth_loss")

        assert (await it.dci.error("server", authinfo="", auth=session))[0] == "auth"
        assert (await it.dci.error("server", authinfo="", auth=session))[0] == "auth"
        await it.dci.ok("server")


async def test_a_restart_forgets_a_running_install() -> None:
    async with lab(install_seconds=600) as it:
        await it.dci.ok("server.operations", elid="101", sok="ok", ostemplate=DEBIAN, passwd="x")
        it.sandbox.fault("dci", "server", "forget_install")

        assert (await it.dci.server("101")).find("install_in_progress") is None
        it.sandbox.advance(600)
        assert (await it.dci.server("101")).find("operation_failed") is None
        assert not it.sandbox.dci.servers["101"].ostemplate
        assert it.sandbox.dci.servers["101"].install_log[0].outcome == "forgotten"


async def test_an_install_can_be_made_to_fail() -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server.operations", "install_fails")
        await it.dci.ok("server.operations", elid="101", sok="ok", ostemplate=DEBIAN, passwd="x")
        assert (await it.dci.server("101")).find("operation_failed") is not None

        await it.dci.ok("server.operations", elid="101", sok="ok", ostemplate=DEBIAN, passwd="x")
        assert (await it.dci.server("101")).find("operation_failed") is None


@pytest.mark.parametrize(("kind", "rows"), [("empty_list", 0), ("short_list", 2)])
async def test_a_short_list_tells_its_real_length(kind: str, rows: int) -> None:
    async with lab() as it:
        it.sandbox.fault("dci", "server", kind)

        doc = await it.dci.ok("server")

        assert len(doc.findall("elem")) == rows
        assert doc.findtext("p_elems") == "4"


async def test_a_fault_strikes_at_the_nth_call_and_so_many_times() -> None:
    async with lab() as it:
        await it.door("faults", panel="dcimanager", func="server", kind="empty_list", nth=2, times=2)

        seen = [len(await it.dci.rows("server")) for _ in range(4)]

        assert seen == [4, 0, 0, 4]


async def test_a_fault_without_end_lasts_until_it_is_cleared() -> None:
    async with lab() as it:
        it.sandbox.fault("*", "*", "empty_list", times=0)
        assert [len(await it.dci.rows("server")) for _ in range(3)] == [0, 0, 0]
        assert len(await it.ipm.rows("ip")) == 0

        async with it.http.delete(f"{it.sandbox.doors_url}/faults") as answer:
            assert answer.status == 200

        assert len(await it.dci.rows("server")) == 4


@pytest.mark.parametrize(
    "body",
    [
        {"panel": "nobody", "func": "server", "kind": "slow"},
        {"panel": "dci", "func": "server", "kind": "nonsense"},
        {"panel": "dci", "func": "server", "kind": "slow", "nth": 0},
        {"panel": "dci", "func": "server", "kind": "slow", "colour": "red"},
    ],
)
async def test_a_wrong_switch_is_refused_with_the_reason(body: dict[str, object]) -> None:
    async with lab() as it, it.http.post(f"{it.sandbox.doors_url}/faults", json=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]
