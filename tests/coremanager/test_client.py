from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from aiohttp import web

from daemon.coremanager.client import PanelClient
from daemon.coremanager.errors import AlreadyThereError, NotThereError, PanelError, PanelUnhealthyError
from daemon.coremanager.transport import SLICE
from daemon.domain.clock import VirtualClock
from daemon.domain.errors import ProvisiondError, Temporary, Uncertain
from tests.coremanager.scripted import (
    OK,
    PASSWORD,
    Answer,
    ScriptedPanel,
    calls_by_func,
    client_of,
    cut_after,
    error,
    reset,
    scripted,
    slow,
    status,
)

LIST = "<doc><elem><id>1</id></elem><p_elems>1</p_elems></doc>"
HTML = "<!DOCTYPE html><html><body>Log in</body></html>"
BOMB = '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><doc>&b;</doc>'


async def test_every_call_is_told_to_who_watches() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        seen: list[tuple[str, str, str]] = []
        client.observe = lambda system, func, outcome, _seconds: seen.append((system, func, outcome))
        panel.says("server", LIST)
        panel.says("user", error("value"))
        panel.says("server.poweron", reset)
        await client.call("server")
        for func in ("user", "server.poweron"):
            with pytest.raises(ProvisiondError):
                await client.call(func, write=True)
        assert seen == [
            ("dci-main", "auth", "ok"),
            ("dci-main", "server", "ok"),
            ("dci-main", "user", "panel_value"),
            ("dci-main", "server.poweron", "panel_no_answer"),
        ]


async def test_one_session_serves_many_calls() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server", LIST)
        await asyncio.gather(*(client.call("server") for _ in range(8)))
        assert panel.count("auth") == 1
        assert {params["auth"] for params in calls_by_func(panel)["server"]} == {"s1"}
        assert calls_by_func(panel)["auth"][0]["username"] == "bill"


async def test_a_lost_session_is_renewed_once_for_all_who_met_it() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server", LIST)
        await client.call("server")

        async def picky(_request: web.Request, params: dict[str, str]) -> web.StreamResponse:
            return web.Response(text=LIST if params["auth"] == "s2" else error("auth", obj="expired"))

        panel.says("server", picky)
        await asyncio.gather(*(client.call("server") for _ in range(4)))
        assert panel.count("auth") == 2


async def test_a_write_refused_for_its_session_is_sent_again_because_it_was_not_executed() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server.poweron", error("auth"), OK)
        await client.call("server.poweron", {"elid": "1"}, write=True)
        assert panel.count("server.poweron") == 2


async def test_a_refused_login_is_not_tried_again_within_a_minute() -> None:
    clock = VirtualClock()
    async with scripted() as panel, client_of(panel.url, clock=clock) as client:
        panel.says("auth", error("badpassword"))
        for _ in range(3):
            with pytest.raises(PanelUnhealthyError):
                await client.call("server")
        assert panel.count("auth") == 1
        clock.advance(61)
        with pytest.raises(PanelUnhealthyError):
            await client.call("server")
        assert panel.count("auth") == 2


async def test_a_panel_that_logs_us_in_and_refuses_every_session_is_left_alone_for_a_minute() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server", error("auth"))
        for _ in range(5):
            with pytest.raises(PanelUnhealthyError):
                await client.call("server")
        assert panel.count("auth") == 2
        assert panel.count("server") == 2


async def test_a_missing_right_concerns_its_function_only() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("user", error("access"))
        panel.says("server", LIST)
        for _ in range(2):
            with pytest.raises(PanelUnhealthyError):
                await client.call("user")
            await client.call("server")
        assert panel.count("auth") == 1


async def test_authinfo_goes_with_each_call_instead_of_a_session() -> None:
    async with scripted() as panel, client_of(panel.url, authinfo=True, password="a:ü") as client:
        panel.says("server", LIST)
        await client.call("server")
        assert panel.count("auth") == 0
        assert calls_by_func(panel)["server"][0]["authinfo"] == "bill:a:ü"


@pytest.mark.parametrize(
    ("error_type", "expected"), [("missed", NotThereError), ("exists", AlreadyThereError), ("value", PanelError)]
)
async def test_refusals_keep_what_the_panel_said(error_type: str, expected: type[PanelError]) -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("user.edit", error(error_type, obj="user", value="c7", msg="schon da"))
        with pytest.raises(expected) as caught:
            await client.call("user.edit", {"name": "c7"}, write=True)
        assert caught.value.code == f"panel_{error_type}"
        assert caught.value.context["object"] == "user"
        assert caught.value.context["value"] == "c7"
        assert "schon da" in caught.value.message
        assert panel.count("user.edit") == 1


BAD_DAYS: dict[str, Answer] = {
    "html": HTML,
    "bomb": BOMB,
    "empty": "",
    "half a document": "<doc><elem>",
    "cut off": cut_after(b"<doc><elem><id>1</id>", 500),
    "cut off after a whole document": cut_after(OK.encode(), 500),
    "500": status(500, "<doc/>"),
    "503": status(503),
    "404 page": status(404, HTML),
    "redirect": status(302, "", Location="/elsewhere"),
    "reset": reset,
}


@pytest.mark.parametrize("name", BAD_DAYS)
async def test_a_write_without_a_readable_answer_is_uncertain_and_sent_once(name: str) -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server.poweron", BAD_DAYS[name])
        with pytest.raises(Uncertain):
            await client.call("server.poweron", {"elid": "1"}, write=True)
        assert panel.count("server.poweron") == 1


@pytest.mark.parametrize("name", BAD_DAYS)
async def test_a_read_without_a_readable_answer_is_tried_three_times_and_then_temporary(name: str) -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server", BAD_DAYS[name])
        with pytest.raises(Temporary):
            await client.call("server")
        assert panel.count("server") == 3


async def test_a_read_that_fails_once_succeeds_without_anybody_noticing() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server", status(503), LIST)
        assert len((await client.call("server")).rows()) == 1


async def test_an_error_document_with_a_4xx_status_is_still_read() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server.poweron", status(403, error("value")))
        with pytest.raises(PanelError):
            await client.call("server.poweron", write=True)


async def test_a_slow_panel_ends_at_the_deadline_as_uncertain_for_a_write_and_temporary_for_a_read() -> None:
    async with scripted() as panel, client_of(panel.url, timeout=timedelta(milliseconds=200)) as client:
        await client.log_in()
        panel.says("server.poweron", slow(2))
        panel.says("server", slow(2))
        began = asyncio.get_running_loop().time()
        with pytest.raises(Uncertain):
            await client.call("server.poweron", write=True)
        with pytest.raises(Temporary):
            await client.call("server")
        assert asyncio.get_running_loop().time() - began < 1.5


async def test_waiting_for_a_free_connection_counts_and_a_write_that_never_left_is_temporary() -> None:
    async with scripted() as panel, client_of(panel.url, timeout=timedelta(milliseconds=300), connections=1) as client:
        await client.log_in()
        panel.says("server.poweron", slow(2))
        first, second = await asyncio.gather(
            client.call("server.poweron", write=True), client.call("server.poweron", write=True), return_exceptions=True
        )
        assert isinstance(first, Uncertain)
        assert isinstance(second, Temporary)
        assert panel.count("server.poweron") == 1


async def test_several_calls_share_one_deadline() -> None:
    async with scripted() as panel, client_of(panel.url, timeout=timedelta(milliseconds=400)) as client:
        await client.log_in()
        panel.says("server.edit", slow(0.25, "<doc><name>x</name></doc>"))
        with client.one_deadline():
            form = await client.form("server.edit", "1")
            with pytest.raises(Uncertain):
                await client.save(form, {})


async def test_a_cancelled_call_is_cancelled_and_leaves_the_client_usable() -> None:
    async with scripted() as panel, client_of(panel.url, connections=1) as client:
        await client.log_in()
        panel.says("server.poweron", slow(5))
        task = asyncio.create_task(client.call("server.poweron", write=True))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        panel.says("server", LIST)
        await client.call("server")


async def test_a_panel_that_is_not_there_is_temporary_even_for_a_write() -> None:
    async with client_of("http://127.0.0.1:1/dcimgr", authinfo=True) as client:
        with pytest.raises(Temporary) as caught:
            await client.call("server.poweron", write=True)
        assert caught.value.code == "panel_unreachable"
        assert "127.0.0.1:1" in caught.value.message


async def test_a_host_without_an_address_is_temporary() -> None:
    async with client_of("https://panel.invalid:1500/dcimgr", authinfo=True) as client:
        with pytest.raises(Temporary) as caught:
            await client.call("server.poweron", write=True)
        assert caught.value.code == "panel_unreachable"


async def test_a_body_beyond_the_limit_is_not_read_to_its_end() -> None:
    async with scripted() as panel, client_of(panel.url, body_limit="8 MiB") as client:
        panel.says("server.poweron", b"<doc><a>" + b"x" * (9 * 1024 * 1024) + b"</a></doc>")
        with pytest.raises(Uncertain, match="more than 8388608 bytes"):
            await client.call("server.poweron", write=True)


async def test_no_more_calls_at_once_than_connections() -> None:
    async with scripted() as panel, client_of(panel.url, connections=3) as client:
        panel.says("server", slow(0.02, LIST))
        await asyncio.gather(*(client.call("server") for _ in range(20)))
        assert panel.most_at_once == 3


async def test_repeated_reads_come_out_of_one_budget() -> None:
    clock = VirtualClock()
    async with scripted() as panel, client_of(panel.url, clock=clock, reads_repeated=1) as client:
        await client.log_in()
        panel.says("server", status(503))
        for _ in range(20):
            with pytest.raises(Temporary):
                await client.call("server")
        assert panel.count("server") <= 20 + 10 + 1, "ten tokens at first, then one a minute"
        before = panel.count("server")
        clock.advance(120)
        with pytest.raises(Temporary):
            await client.call("server")
        assert panel.count("server") == before + 3


async def test_fresh_readings_are_shared_but_never_older_than_the_question() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        await client.log_in()
        panel.says("server", slow(0.1, LIST))
        early = asyncio.create_task(client.fresh("server"))
        await asyncio.sleep(0.05)
        late = [asyncio.create_task(client.fresh("server")) for _ in range(5)]
        first = await early
        others = await asyncio.gather(*late)
        assert panel.count("server") == 2
        assert all(other is others[0] and other is not first for other in others)


async def test_one_who_gives_up_does_not_end_the_reading_of_the_others() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        await client.log_in()
        panel.says("server", slow(0.1, LIST))
        with client.one_deadline():
            impatient = asyncio.create_task(client.fresh("server"))
        patient = asyncio.create_task(client.fresh("server"))
        await asyncio.sleep(0.05)
        impatient.cancel()
        assert len((await patient).rows) == 1
        assert panel.count("server") == 1


async def test_a_failed_reading_fails_for_all_who_shared_it() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        await client.log_in()
        panel.says("server", status(503))
        answers = await asyncio.gather(*(client.fresh("server") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(answer, Temporary) for answer in answers)
        panel.says("server", LIST)
        assert len((await client.fresh("server")).rows) == 1


def rows(number: int, total: int | None = None) -> str:
    elements = "".join(f"<elem><id>{n}</id></elem>" for n in range(number))
    return f"<doc>{elements}<p_elems>{number if total is None else total}</p_elems></doc>"


async def test_a_list_shorter_than_its_own_count_is_doubtful() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server", rows(10, 40))
        listing = await client.list("server")
        assert listing.by_id("3") is not None, "what is in the list is there"
        with pytest.raises(Temporary, match="10 of 40 rows"):
            listing.require_whole()


async def test_a_list_that_shrank_suddenly_is_doubtful_until_it_stays_so() -> None:
    clock = VirtualClock()
    async with scripted() as panel, client_of(panel.url, clock=clock) as client:
        panel.says("server", rows(100), rows(90), rows(60), rows(60))
        for _ in range(2):
            (await client.list("server")).require_whole()
        with pytest.raises(Temporary):
            (await client.list("server")).require_whole()
        clock.advance(601)
        (await client.list("server")).require_whole()


async def test_rows_that_we_took_away_ourselves_are_not_missed() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("ip", rows(1), rows(0))
        (await client.list("ip")).require_whole()
        client.removed("ip")
        (await client.list("ip")).require_whole()


async def test_a_form_of_another_object_is_refused_before_it_can_be_saved() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("server.edit", "<doc><elid>8</elid><name>x</name></doc>")
        with pytest.raises(Temporary):
            await client.form("server.edit", "7")


async def test_others_get_their_turn_while_a_large_answer_is_parsed() -> None:
    async with scripted() as panel, client_of(panel.url) as client:
        await client.log_in()
        panel.says("server", rows(10_000))
        turns = 0

        async def work() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        worker = asyncio.create_task(work())
        assert len((await client.list("server")).rows) == 10_000
        worker.cancel()
        slices = len(rows(10_000)) // SLICE
        assert turns > slices


async def _provoke(panel: ScriptedPanel, client: PanelClient) -> list[ProvisiondError]:
    caught: list[ProvisiondError] = []
    secrets = {"passwd": "root-pw-1", "confirm": "root-pw-1", "key": "onetimekey0000000", "elid": "1"}
    echo = error("value", obj="root-pw-1", value="root-pw-1 onetimekey0000000", msg=f"bad root-pw-1 s1 {PASSWORD} bill")
    for answer in (echo, *BAD_DAYS.values()):
        panel.says("server.operations", answer)
        try:
            await client.call("server.operations", secrets, write=True)
        except ProvisiondError as problem:
            caught.append(problem)
    return caught


@pytest.mark.parametrize("authinfo", [False, True])
async def test_no_secret_is_ever_in_an_error_or_a_log(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], *, authinfo: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    async with scripted() as panel, client_of(panel.url, authinfo=authinfo) as client:
        caught = await _provoke(panel, client)
        panel.says("auth", error("badpassword", obj="bill", value=PASSWORD, msg=f"bill / {PASSWORD}"))
    async with scripted() as panel, client_of(panel.url) as client:
        panel.says("auth", error("badpassword", obj="bill", value=PASSWORD, msg=f"bill / {PASSWORD}"))
        with pytest.raises(PanelUnhealthyError) as refused:
            await client.call("server")
    caught.append(refused.value)
    assert len(caught) == len(BAD_DAYS) + 2
    shown = (
        "\n".join(f"{e} {e!r} {e.as_dict()} {e.__cause__}" for e in caught) + caplog.text + "".join(capsys.readouterr())
    )
    for secret in ("root-pw-1", "onetimekey", PASSWORD):
        assert secret not in shown
    assert "bill" not in str(refused.value.as_dict())
