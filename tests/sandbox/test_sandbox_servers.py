"""DCImanager: what happens to a server from open to close."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from .lab import DEBIAN, TYPE, Lab, PanelClient, lab


def free_of_type(rows: list[ET.Element], server_type: str) -> list[str]:
    return [
        row.findtext("id") or ""
        for row in rows
        if not row.findtext("owner")
        and row.findtext("hostname") == "free.ds"
        and server_type in (row.findtext("chassis_templ"), row.findtext("type"))
        and not any(row.find(flag) is not None for flag in ("blocked", "hwproblem", "diag_in_progress"))
    ]


async def set_owner(dci: PanelClient, elid: str, owner: str) -> None:
    """As a careful client does it: read the form, send back the five fields with the new owner."""
    form = await dci.ok("server.edit", elid=elid)
    kept = {name: form.findtext(name) or "" for name in ("mac", "name", "notes", "type")}
    await dci.ok("server.edit", elid=elid, sok="ok", owner=owner, **kept)


async def set_domain(dci: PanelClient, elid: str, domain: str) -> None:
    for row in await dci.rows("iplist", elid=elid):
        if row.findtext("type") != "group":
            await dci.ok("iplist.edit", elid=row.findtext("id") or "", plid=elid, sok="ok", domain=domain)


async def install(it: Lab, elid: str = "101", **more: str) -> None:
    passwords = {"passwd": "pw", "confirm": "pw", "checkpasswd": "pw"}
    params = {"operation": "ostemplate", "ostemplate": DEBIAN, "recipe": "null", **passwords, **more}
    await it.dci.ok("server.operations", elid=elid, sok="ok", **params)


async def test_the_vendors_sequence_opens_and_closes_a_server() -> None:
    async with lab(flag_delay=1, power_seconds=5, install_seconds=600) as it:
        dci = it.dci
        user = (await dci.ok("user.edit", sok="ok", level="lvUser", name="client7", passwd="pw")).findtext("id") or ""
        admin = next(row.findtext("id") or "" for row in await dci.rows("user") if row.findtext("name") == "provisiond")
        elid = free_of_type(await dci.rows("server"), TYPE)[0]
        await set_owner(dci, elid, admin)
        await dci.ok("server.enable", elid=elid)
        await dci.ok("server.poweron", elid=elid)
        assert (await dci.server(elid)).find("poweron") is None
        it.sandbox.advance(6)
        assert (await dci.server(elid)).find("poweron") is not None
        await set_domain(dci, elid, "a.example.test")
        extra = (
            await dci.ok(
                "iplist.edit", plid=elid, sok="ok", ip="", iptype="public", family="ipv4", domain="a.example.test"
            )
        ).findtext("ip")
        await install(it, elid)
        it.sandbox.advance(1)
        assert (await dci.server(elid)).find("install_in_progress") is not None
        it.sandbox.advance(600)
        row = await dci.server(elid)
        assert row.find("install_in_progress") is None
        assert row.find("operation_failed") is None
        await set_owner(dci, elid, user)
        row = await dci.server(elid)
        assert (row.findtext("owner"), row.findtext("hostname")) == ("client7", "a.example.test")
        assert (await dci.ok("server.operations", elid=elid)).findtext("ostemplate") == DEBIAN

        await dci.ok("server.enable", elid=elid)
        it.sandbox.advance(2)
        cables = await dci.rows("server.connection", elid=elid)
        assert any(cable.find("func_in_progress") is not None for cable in cables)
        it.sandbox.advance(4)
        cables = await dci.rows("server.connection", elid=elid)
        assert not any(cable.find("func_in_progress") is not None for cable in cables)
        await dci.ok("server.poweroff", elid=elid)
        it.sandbox.advance(6)
        row = await dci.server(elid)
        assert row.find("poweroff") is not None
        for address in await dci.rows("iplist", elid=elid):
            if address.findtext("type") != "group" and address.findtext("ip") != row.findtext("ip"):
                assert address.findtext("ip") == extra
                await dci.ok("iplist.delete", elid=address.findtext("id") or "", plid=elid)
        await set_owner(dci, elid, "no_owner")
        await set_domain(dci, elid, "free.ds")

        assert free_of_type(await dci.rows("server"), TYPE)[0] == elid


async def test_a_server_with_an_owner_is_not_free() -> None:
    async with lab() as it:
        await set_owner(it.dci, "101", "1")

        assert "101" not in free_of_type(await it.dci.rows("server"), TYPE)
        assert len(it.sandbox.dci.free_servers()) == 3


async def test_a_server_under_diagnosis_after_release_is_not_free_yet() -> None:
    async with lab(diag_seconds=60) as it:
        await set_owner(it.dci, "101", "1")
        await set_owner(it.dci, "101", "no_owner")

        assert (await it.dci.server("101")).find("diag_in_progress") is not None
        it.sandbox.advance(60)
        assert "101" in free_of_type(await it.dci.rows("server"), TYPE)


async def test_the_form_trap_erases_five_fields_in_the_vendors_mode() -> None:
    async with lab() as it:
        await it.dci.ok("server.edit", elid="101", sok="ok", notes="kept", owner="1", hwproblem="on")
        await it.dci.ok("server.edit", elid="101", sok="ok", owner="1")

        server = it.sandbox.dci.servers["101"]
        assert (server.mac, server.name, server.notes, server.type, server.owner) == ("", "", "", "", "1")
        assert server.chassis_templ == TYPE
        assert server.hwproblem
        await it.dci.ok("server.edit", elid="101", sok="ok", notes="x")
        assert not server.owner


async def test_the_form_trap_erases_every_field_but_the_main_address_in_the_mode_all() -> None:
    async with lab(save_trap="all") as it:
        server = it.sandbox.dci.servers["101"]
        main = server.main_ip
        form = await it.dci.ok("server.edit", elid="101")
        sent = {field.tag: field.text or "" for field in form if field.tag != "slist"}

        await it.dci.ok("server.edit", **{**sent, "sok": "ok", "notes": "mine"})
        assert (server.chassis_templ, server.notes, server.rack) == (TYPE, "mine", "R1")
        await it.dci.ok("server.edit", elid="101", sok="ok", owner="1")

        assert (server.chassis_templ, server.notes, server.rack, server.main_ip) == ("", "", "", main)


async def test_the_main_address_is_changed_to_one_of_the_servers_own() -> None:
    async with lab() as it:
        assert await it.dci.error("server.edit", elid="101", sok="ok", ip="192.0.2.1") == ("value", "ip")
        await it.dci.ok(
            "iplist.edit", plid="101", sok="ok", ip="192.0.2.1", iptype="public", family="ipv4", domain="a.example.test"
        )
        old = (await it.dci.server("101")).findtext("ip")
        await it.dci.ok("server.edit", elid="101", sok="ok", ip="192.0.2.1")

        row = await it.dci.server("101")
        assert (row.findtext("ip"), row.findtext("hostname")) == ("192.0.2.1", "a.example.test")
        assert [a.ip for a in it.sandbox.dci.servers["101"].addresses] == [old, "192.0.2.1"]


async def test_the_main_address_can_not_be_deleted() -> None:
    async with lab() as it:
        address = it.sandbox.dci.servers["101"].addresses[0]

        assert await it.dci.error("iplist.delete", elid=address.id, plid="101") == ("main_ip", "ip")


async def test_an_address_on_one_server_is_refused_for_another() -> None:
    async with lab() as it:
        add = {"sok": "ok", "ip": "192.0.2.1", "iptype": "public", "family": "ipv4", "domain": "a"}
        await it.dci.ok("iplist.edit", plid="101", **add)

        assert await it.dci.error("iplist.edit", plid="102", **add) == ("exists", "ip")
        assert await it.dci.error("iplist.edit", plid="102", **{**add, "ip": "nonsense"}) == ("value", "ip")
        assert await it.dci.error("iplist.edit", plid="102", **{**add, "ip": "2001:db8::1"}) == ("value", "family")


async def test_an_empty_ip_takes_from_the_panels_own_base_until_it_is_empty() -> None:
    async with lab(public=1) as it:
        add = {"plid": "101", "sok": "ok", "ip": "", "iptype": "public", "selected_ip_type": "public", "domain": "a"}
        got = (await it.dci.ok("iplist.edit", family="ipv4", **add)).findtext("ip")

        assert got == "198.51.100.1"
        assert (await it.dci.ok("iplist.edit", family="ipv6", **add)).findtext("ip") == "2001:db8:2::1"
        assert await it.dci.error("iplist.edit", family="ipv4", **add) == ("limit", "iptype")
        assert await it.dci.error("iplist.edit", **{**add, "family": "ipv4", "iptype": "nope"}) == ("missed", "iptype")
        await it.dci.ok("ipdb.edit", sok="ok", range="100.64.9.0/29", netmask="255.255.255.248", gateway="100.64.9.6")
        assert (await it.dci.ok("iplist.edit", family="ipv4", **add)).findtext("ip") == "100.64.9.1"


async def test_an_install_needs_equal_passwords_and_a_known_template_and_recipe() -> None:
    async with lab() as it:
        base = {"elid": "101", "sok": "ok", "operation": "ostemplate", "ostemplate": DEBIAN, "passwd": "a"}

        assert await it.dci.error("server.operations", **base, confirm="b") == ("value", "confirm")
        assert await it.dci.error("server.operations", **base, confirm="a", checkpasswd="b") == ("value", "checkpasswd")
        assert await it.dci.error("server.operations", **{**base, "ostemplate": "x"}) == ("missed", "ostemplate")
        assert await it.dci.error("server.operations", **base, recipe="x") == ("missed", "recipe")
        await it.dci.ok("server.operations", **base, confirm="a")


async def test_an_install_at_once_is_done_at_the_next_look() -> None:
    async with lab() as it:
        await install(it)

        row = await it.dci.server("101")
        assert row.find("install_in_progress") is None
        assert row.find("poweron") is not None
        assert (await it.state())["dcimanager"]["servers"][0]["installs"][0]["outcome"] == "done"


async def test_the_flag_of_an_install_may_come_late() -> None:
    async with lab(flag_delay=10, install_seconds=100) as it:
        await install(it)
        assert (await it.dci.server("101")).find("install_in_progress") is None
        assert await it.dci.error("server.operations", elid="101", sok="ok", ostemplate=DEBIAN, passwd="x") == (
            "busy",
            "server",
        )

        it.sandbox.advance(10)
        assert (await it.dci.server("101")).find("install_in_progress") is not None
        hint = await it.dci.json("server", elid="101", clickstat="title", hint_field="install_in_progress")
        assert DEBIAN in hint["doc"]["value"]["$"]


async def test_an_install_can_be_cancelled() -> None:
    async with lab(install_seconds=100) as it:
        await install(it)
        await it.dci.ok("server.opercancel", elid="101")
        it.sandbox.advance(200)

        assert not it.sandbox.dci.servers["101"].ostemplate
        assert it.sandbox.dci.servers["101"].install_log[0].outcome == "cancelled"


async def test_disable_switches_the_ports_and_leaves_the_power() -> None:
    async with lab() as it:
        await it.dci.ok("server.poweron", elid="101")
        await it.dci.ok("server.disable", elid="101")

        row = await it.dci.server("101")
        assert row.find("disabled") is not None
        assert row.find("poweron") is not None
        assert (await it.dci.ok("server.edit", elid="101")).findtext("disabled") == "on"
        await it.dci.ok("server.enable", elid="101, 102")
        assert (await it.dci.server("101")).find("disabled") is None


async def test_the_last_power_request_wins() -> None:
    async with lab(power_seconds=10) as it:
        await it.dci.ok("server.poweron", elid="101")
        it.sandbox.advance(5)
        await it.dci.ok("server.poweroff", elid="101")
        it.sandbox.advance(5)
        assert not it.sandbox.dci.servers["101"].powered
        it.sandbox.advance(5)
        assert (await it.dci.server("101")).find("poweroff") is not None


async def test_a_user_name_is_taken_once() -> None:
    async with lab() as it:
        await it.dci.ok("user.edit", sok="ok", name="client7", passwd="pw", level="16")

        doc = await it.dci.xml("user.edit", sok="ok", name="client7", passwd="other")

        error = doc.find("error")
        assert error is not None
        assert (error.attrib["type"], error.attrib["object"]) == ("exists", "user")
        assert error.findtext("param[@name='value']") == "client7"
        assert {row.findtext("name") for row in await it.dci.rows("user")} == {"admin", "provisiond", "client7"}


async def test_connections_switches_and_pdus_belong_together() -> None:
    async with lab(servers={TYPE: 41}) as it:
        row = await it.dci.server("141")
        rack = (row.findtext("rack") or "").split(" ")[0]
        switch = next(r for r in await it.dci.rows("switch") if r.findtext("rack") == rack)
        ports = await it.dci.rows("switch.port", elid=switch.findtext("id") or "")
        cable = next(c for c in await it.dci.rows("server.connection", elid="141") if c.findtext("type") == "Switch")

        assert [port.findtext("id") for port in ports] == [cable.findtext("id")]
        params = {"plid": "141", "elid": cable.findtext("id") or ""}
        await it.dci.ok("server.connection.edit", **params, sok="ok", speed="100")
        assert (await it.dci.ok("server.connection.edit", **params)).findtext("speed") == "100"
        await it.dci.ok("server.connection.off", **params)
        assert it.sandbox.dci.servers["141"].connections[0].on is False
        pdu = await it.dci.rows("pdu.port", elid="2")
        assert pdu[0].findtext("power") == "0"


@pytest.mark.parametrize("func", ["osmgr", "chassistempl", "rack", "switch", "pdu", "user", "server"])
async def test_lists_carry_ids_and_their_number(func: str) -> None:
    async with lab() as it:
        doc = await it.dci.ok(func)

        assert all(row.findtext("id") for row in doc.findall("elem"))
        assert doc.findtext("p_elems") == str(len(doc.findall("elem")))


async def test_reports_answer_without_sok_and_period_in_the_shapes_clients_read() -> None:
    async with lab() as it:
        await it.door("traffic", server="101", rx=10, tx=20, burst_in=12.5, burst_out=3)
        await it.dci.ok("server.poweron", elid="101")

        pie = (await it.dci.json("trafficpie"))["doc"]["reportdata"]["trafficpie"]["elem"]["traff"]["elem"]
        assert pie[0]["traff"]["$orig"] == "30"
        burst = (await it.dci.ok("trafficburstable")).find(".//elem")
        assert burst is not None
        assert (burst.findtext("burst_in"), burst.findtext("burst_out")) == ("12.5", "3.0")
        power = (await it.dci.ok("powerconsumption", sok="ok", period="currentday")).find("reportdata//elem/power")
        assert power is not None
        assert power.attrib["orig"] == "85"
        assert (await it.dci.json("trafficburstable_pie"))["doc"]["reportdata"]["traff"]["elem"][0]["burst"][
            "$"
        ] == "12.5"
        assert (await it.dci.json("ipmiredirect", elid="101", value="on", newwindow="yes"))["doc"]["ok"][
            "$"
        ].startswith("https://")


async def test_traffic_totals_begin_anew_with_the_month_of_the_panels_zone() -> None:
    async with lab(zone="Europe/Berlin") as it:
        it.clock.advance(30 * 86400 + 22 * 3600)  # 2026-01-31T22:00Z is 23:00 in Berlin
        await it.door("traffic", server="101", rx=100, tx=200)
        rx = (await it.dci.ok("traffic")).find(".//rx")
        assert rx is not None
        assert rx.attrib["orig"] == "100"

        it.clock.advance(3600)
        rx = (await it.dci.ok("traffic")).find(".//rx")
        assert rx is not None
        assert rx.attrib["orig"] == "0"
        assert it.sandbox.dci.servers["101"].traffic.history == {"2026-01": (100, 200)}


async def test_a_load_sends_by_itself_and_the_ledger_says_what() -> None:
    async with lab() as it:
        it.sandbox.dci.servers["101"].powered = True
        await it.door("load", server="101", rx_mbit=5, tx_mbit=20, watts=120, seed=7)
        await it.door("clock", advance=3 * 86400)

        ledger = (await it.door("ledger", server="101"))["ledger"]
        [row] = [one for one in (await it.dci.xml("traffic")).iter("elem") if one.findtext("id") == "101"]

        assert len(ledger) == 3 * 288
        assert ledger[0]["at"] == "2026-01-01T00:01:00+00:00"
        for name, mbit in (("rx", 5), ("tx", 20)):
            total = sum(line[name] for line in ledger)
            assert row.find(name).attrib["orig"] == str(total)  # type: ignore[union-attr]
            assert 0.9 < total * 8 / (mbit * 10**6 * 3 * 86400) < 1.3  # bursts come on top
        evening, morning = (sum(line["tx"] for line in ledger if line["at"][11:13] == hour) for hour in ("20", "08"))
        assert evening > 2 * morning
        assert len({line["watts"] for line in ledger}) > 100
        assert it.sandbox.dci.servers["101"].burst_out > 20


async def test_what_a_load_sends_does_not_hang_on_how_often_somebody_looks() -> None:
    found = []
    for looks in (1, 60):
        async with lab() as it:
            it.sandbox.dci.servers["101"].powered = True
            await it.door("load", server="101", seed=7)
            for _ in range(looks):
                await it.door("clock", advance=86400 / looks)
            found.append(await it.door("ledger", server="101"))
    assert found[0] == found[1]


async def test_a_server_that_is_off_sends_nothing_and_another_load_takes_the_place_of_the_first() -> None:
    async with lab() as it:
        await it.door("load", server="101")
        await it.door("clock", advance=600)
        it.sandbox.dci.servers["101"].powered = True
        await it.door("load", server="101", rx_mbit=0, tx_mbit=0, watts=50)
        await it.door("clock", advance=600)
        lines = (await it.door("ledger", server="101"))["ledger"]
        assert [(line["rx"], line["tx"]) for line in lines] == [(0, 0)] * 4
        assert [line["watts"] > 0 for line in lines] == [False, False, True, True]


@pytest.mark.parametrize("wrong", [{"rx_mbit": -1}, {"every": 0}, {"watts": "nan"}, {"server": "999"}])
async def test_a_load_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    async with lab() as it:
        assert "error" in await it.door("load", **{"server": "101", **wrong})
