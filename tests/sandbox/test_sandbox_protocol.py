"""The panels' protocol: URLs, logins, formats, lists."""

from __future__ import annotations

import json

import aiohttp
import pytest

from daemon.sandbox import SandboxSettings, build

from .lab import PanelClient, lab

LOGIN = {"username": "provisiond", "password": "sandbox-pass"}


@pytest.mark.parametrize("path", ["dcimgr", "manager/dcimgr"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_both_spellings_of_the_url_answer_query_and_form(path: str, method: str) -> None:
    async with lab() as it:
        url = it.sandbox.dci_url.replace("dcimgr", path)
        params = {"func": "server", "authinfo": "provisiond:sandbox-pass"}
        sent = {"params": params} if method == "GET" else {"data": params}
        async with it.http.request(method, url, **sent) as answer:  # type: ignore[arg-type]
            assert "<hostname>free.ds</hostname>" in await answer.text()


async def test_a_call_without_login_is_refused_with_http_200() -> None:
    async with lab() as it, it.http.post(it.sandbox.dci_url, data={"func": "server"}) as answer:
        assert answer.status == 200
        assert 'type="auth"' in await answer.text()


async def test_a_wrong_password_is_refused() -> None:
    async with lab() as it:
        it.dci.login = "provisiond:no"
        assert (await it.dci.error("server"))[0] == "auth"


async def test_a_call_without_function_shows_the_login_page() -> None:
    async with lab() as it, it.http.get(it.sandbox.dci_url) as answer:
        assert answer.content_type == "text/html"


async def test_a_session_lives_one_hour_after_its_last_call() -> None:
    async with lab() as it:
        session = (await it.dci.json("auth", **LOGIN))["doc"]["auth"]["$"]

        it.sandbox.advance(3599)
        await it.dci.ok("server", authinfo="", auth=session)
        it.sandbox.advance(3600)
        await it.dci.ok("server", authinfo="", auth=session)
        it.sandbox.advance(3601)

        assert (await it.dci.error("server", authinfo="", auth=session))[0] == "auth"


def test_a_session_belongs_to_the_caller_it_was_made_for() -> None:
    panel = build(SandboxSettings()).dcis[0]
    session = json.loads(panel.serve({"func": "auth", "out": "json", **LOGIN}, "192.0.2.1").body)["doc"]["auth"]["$"]

    assert b"<elem>" in panel.serve({"func": "server", "auth": session}, "192.0.2.1").body
    assert b'type="auth"' in panel.serve({"func": "server", "auth": session}, "192.0.2.2").body


async def test_a_one_time_key_opens_one_session_of_the_client() -> None:
    async with lab() as it:
        await it.dci.ok("user.edit", sok="ok", name="client7", passwd="pw", level="lvUser")
        await it.dci.ok("session.newkey", username="client7", key="k" * 32)

        doc = await it.dci.ok("auth", authinfo="", username="client7", key="k" * 32)

        assert doc.findtext("auth")
        assert (await it.dci.error("auth", authinfo="", username="client7", key="k" * 32))[0] == "auth"


async def test_a_client_sees_his_own_servers_only() -> None:
    async with lab() as it:
        user = (await it.dci.ok("user.edit", sok="ok", name="client7", passwd="pw")).findtext("id") or ""
        await it.dci.ok("server.edit", elid="102", sok="ok", owner=user)
        client = PanelClient(it.http, it.sandbox.dci_url, "client7:pw")

        assert [row.findtext("id") for row in await client.rows("server")] == ["102"]
        assert [row.findtext("id") for row in await it.dci.rows("server", su="client7")] == ["102"]
        assert (await client.error("user"))[0] == "access"
        assert (await client.error("server.poweroff", elid="101"))[0] == "missed"
        assert (await client.error("server", su="admin"))[0] == "access"


async def test_xml_and_json_tell_the_same() -> None:
    async with lab() as it:
        doc = await it.dci.json("server")
        rows = await it.dci.rows("server")

        assert [row["id"]["$"] for row in doc["doc"]["elem"]] == [row.findtext("id") for row in rows]
        assert doc["doc"]["elem"][0]["poweroff"] == {}
        assert "poweron" not in doc["doc"]["elem"][0]
        assert doc["doc"]["p_elems"]["$"] == "4"
        assert await it.dci.json("server", out="sjson") == doc


@pytest.mark.parametrize("as_object", [True, False])
async def test_a_list_of_one_row_is_an_object_or_an_array(as_object: bool) -> None:
    async with lab(servers={"T": 1}, json_single_as_object=as_object) as it:
        elem = (await it.dci.json("server"))["doc"]["elem"]

        assert isinstance(elem, dict if as_object else list)


async def test_a_list_without_rows_has_no_elem() -> None:
    async with lab(servers={}) as it:
        assert (await it.dci.json("server"))["doc"] == {"p_elems": {"$": "0"}}


async def test_flat_json_is_a_bare_array_and_a_save_says_ok() -> None:
    async with lab() as it:
        rows = await it.dci.json("server", out="JSONdata")
        saved = await it.ipm.json("ip.edit", out="JSONdata", sok="ok", family="ipv4", iptype="public")

        assert rows[0]["hostname"] == "free.ds"
        assert saved == {"ip": "192.0.2.1", "ok": ""}


async def test_an_unknown_function_is_an_error_document_in_every_format() -> None:
    async with lab() as it:
        assert await it.dci.error("server.hardstop", elid="101") == ("missed", "func")
        wrapped = (await it.dci.json("server.hardstop"))["doc"]["error"]
        assert (wrapped["$type"], wrapped["$object"]) == ("missed", "func")
        assert wrapped["msg"]["$"]
        assert (await it.dci.json("server.hardstop", out="JSONdata"))["error"]["type"] == "missed"


async def test_noise_of_web_interfaces_is_ignored() -> None:
    async with lab() as it:
        noise = {
            "sfrom": "ajax",
            "operafake": "123",
            "progressid": "x",
            "zoom-ip": "",
            "clicked_button": "ok",
            "p_cnt": "5",
        }
        assert len(await it.dci.rows("server", **noise)) == 4


async def test_text_that_xml_minds_comes_through() -> None:
    async with lab() as it:
        notes = "a <b> & \"c\" 'd' ünï\r\nsecond\nthird"
        await it.dci.ok("server.edit", elid="101", sok="ok", notes=notes, name="x")

        assert (await it.dci.ok("server.edit", elid="101")).findtext("notes") == notes
        assert (await it.dci.json("server.edit", elid="101"))["doc"]["notes"]["$"] == notes


async def test_a_filter_sticks_to_the_user_until_it_is_taken_away() -> None:
    async with lab(servers={"E3": 2, "E5": 1}) as it:
        await it.dci.ok("server.filter", sok="ok", chassis_templ="E5")
        filtered = await it.dci.ok("server")
        admin = PanelClient(it.http, it.sandbox.dci_url, "admin:sandbox-admin")
        await it.dci.ok("server.filter", sok="ok", chassis_templ="")

        assert len(filtered.findall("elem")) == 1
        assert filtered.findtext("p_elems") == "1"
        assert len(await admin.rows("server")) == 3
        assert len(await it.dci.rows("server")) == 3
        assert len(await it.dci.rows("server", filter="on", chassis_templ="E3")) == 2


async def test_a_row_limit_cuts_the_list_and_p_elems_tells() -> None:
    async with lab() as it:
        await it.door("account", panel="dci", username="provisiond", rows=3)

        doc = await it.dci.ok("server")

        assert len(doc.findall("elem")) == 3
        assert doc.findtext("p_elems") == "4"


async def test_scaled_traffic_keeps_the_exact_bytes_in_orig() -> None:
    async with lab() as it:
        await it.door("traffic", server="101", rx=1610612736, tx=5)

        row = (await it.dci.json("traffic", sok="ok", period="currentmonth"))["doc"]["reportdata"]["traff"]["elem"][0]

        assert row["rx"] == {"$": "1.50 GiB", "$orig": "1610612736"}
    async with lab(traffic_orig=False) as it:
        await it.door("traffic", server="101", rx=1610612736, tx=5)
        rx = (await it.dci.ok("traffic")).find("reportdata/traff/elem/rx")
        assert rx is not None
        assert (rx.text, rx.attrib) == ("1.50 GiB", {})


async def test_ten_thousand_servers_are_answered_quickly() -> None:
    async with lab(servers={"T": 10_000}) as it, aiohttp.ClientSession() as http:
        client = PanelClient(http, it.sandbox.dci_url)
        assert len((await client.ok("traffic")).findall(".//elem")) == 10_000
        assert len(await client.rows("server")) == 10_000
