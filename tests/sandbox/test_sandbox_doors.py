"""The doors, the mail sink, the written configuration and the command."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import sys
from email.message import EmailMessage
from pathlib import Path

import aiohttp
import aiosmtplib
import pytest

from daemon.sandbox import Sandbox, SandboxSettings
from daemon.settings.loader import load

from .lab import PanelClient, lab


async def test_the_state_shows_calls_and_effects_without_passwords() -> None:
    async with lab() as it:
        await it.dci.ok("user.edit", sok="ok", name="client7", passwd="hunter2", confirm="hunter2")
        await it.dci.error("server.edit", elid="999")

        state = await it.state()

        panel = state["dcimanager"]
        assert panel["counts"] == {"user.edit": 1, "server.edit": 1}
        assert panel["calls"][1]["outcome"] == "error:missed:elid"
        assert [effect["func"] for effect in panel["effects"]] == ["user.edit"]
        assert panel["effects"][0]["result"] == {"id": "3"}
        assert "hunter2" not in json.dumps(state)
        assert "sandbox-pass" not in json.dumps(state)


async def test_the_state_tells_when_something_is_due_next() -> None:
    async with lab(power_seconds=30) as it:
        await it.dci.ok("server.poweron", elid="101")

        assert (await it.state())["dcimanager"]["next_due"] == "2026-01-01T00:00:30+00:00"


async def test_the_clock_goes_forward_only() -> None:
    async with lab() as it:
        assert (await it.door("clock", advance=90))["now"] == "2026-01-01T00:01:30+00:00"
        assert "error" in await it.door("clock", advance=-1)
        assert "error" in await it.door("clock")


async def test_flags_of_a_server_can_be_set() -> None:
    async with lab() as it:
        await it.door("server", server="101", hwproblem=True, power_error=True)

        row = await it.dci.server("101")
        assert row.find("hwproblem") is not None
        assert row.find("powererror") is not None
        assert "error" in await it.door("server", server="999", blocked=True)


async def test_reset_forgets_logs_and_keeps_servers() -> None:
    async with lab() as it:
        await it.dci.ok("server.poweron", elid="101")
        await it.door("reset")

        state = await it.state()
        assert state["dcimanager"]["calls"] == []
        assert state["dcimanager"]["servers"][0]["power"] == "on"


async def test_several_panels_share_one_ipmanager() -> None:
    async with lab(dci_panels=2) as it:
        second = PanelClient(it.http, it.sandbox.url("dci-second"))
        await second.ok("server.poweron", elid="101")

        state = await it.state()
        assert state["dci-second"]["servers"][0]["power"] == "on"
        assert state["dcimanager"]["servers"][0]["power"] == "off"
        assert len(state["ipmanager"]["held"]) == 8


async def test_latency_is_added_to_every_answer() -> None:
    async with lab(latency=0.02) as it:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await it.dci.ok("rack")
        assert loop.time() - began >= 0.02


async def test_the_mail_sink_keeps_what_it_gets() -> None:
    async with lab() as it:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "noc@example.test", "ü@example.test", "Grüße"
        message.set_content(".dot at the start\nsecond line ünï\n")

        await aiosmtplib.send(message, hostname=it.sandbox.mail.host, port=it.sandbox.mail.port)

        mail = it.sandbox.mail.messages[0]
        assert (mail.sender, mail.recipients, mail.subject) == ("noc@example.test", ("ü@example.test",), "Grüße")
        assert mail.text.splitlines()[0] == ".dot at the start"
        assert (await it.state())["mail"][0]["subject"] == "Grüße"


async def test_the_mail_sink_refuses_when_told_to() -> None:
    async with lab() as it:
        it.sandbox.mail.refuse = "450 try again"
        message = EmailMessage()
        message["From"], message["To"] = "noc@example.test", "a@example.test"
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await aiosmtplib.send(message, hostname=it.sandbox.mail.host, port=it.sandbox.mail.port)
        assert it.sandbox.mail.messages == []


async def test_the_mail_sink_answers_unknown_and_misplaced_commands() -> None:
    async with lab() as it:
        reader, writer = await asyncio.open_connection(it.sandbox.mail.host, it.sandbox.mail.port)
        said = [await reader.readline()]
        for line in (
            b"HELO x",
            b"RCPT TO:<a@b>",
            b"DATA",
            b"MAIL nonsense",
            b"EXPN x",
            b"RSET",
            b"NOOP",
            b"VRFY a",
            b"QUIT",
        ):
            writer.write(line + b"\r\n")
            said.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

        assert [line[:3] for line in said] == [
            b"220",
            b"250",
            b"503",
            b"503",
            b"501",
            b"502",
            b"250",
            b"250",
            b"252",
            b"221",
        ]


async def test_the_written_configuration_is_accepted_by_the_daemon(tmp_path: Path) -> None:
    async with Sandbox.start(SandboxSettings(dci_panels=2)) as sandbox:
        file = sandbox.write_config(tmp_path, {"watch_every": "200ms"})

        settings = load(file, environ={})

        assert [module.name for module in settings.modules] == ["dci-main", "dci-second"]
        assert settings.plans[0].name == "ds-small"
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "credentials").iterdir())
        assert f"url: {sandbox.dci_url}\n" in (tmp_path / "modules.d" / "dci-main.yaml").read_text()


async def test_the_command_prints_one_line_and_ends_on_sigterm(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from daemon.sandbox.run import run_sandbox\n"
        "from daemon.sandbox.settings import SandboxSettings\n"
        "asyncio.run(run_sandbox(SandboxSettings(), json=True, config_dir=pathlib.Path(sys.argv[1])))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    systems = json.loads(await process.stdout.readline())

    async with aiohttp.ClientSession() as http:
        panel = PanelClient(http, systems["dcimanager"]["url"])
        assert len(await panel.rows("server")) == 4
        async with http.get(f"{systems['doors']}/state") as answer:
            assert answer.status == 200
    process.send_signal(signal.SIGTERM)

    assert await process.stdout.read() == b""
    assert await process.wait() == 0
    assert systems["mail"]["port"]
    assert Path(systems["config"]).is_file()


def test_settings_are_read_from_texts() -> None:
    texts = {
        "servers": "E3=2, E5=1",
        "install_seconds": "2.5",
        "dci_panels": "2",
        "traffic_orig": "false",
        "zone": "Europe/Berlin",
    }

    settings = SandboxSettings.from_texts(texts)

    assert settings.servers == {"E3": 2, "E5": 1}
    assert (settings.install_seconds, settings.dci_panels, settings.traffic_orig) == (2.5, 2, False)
    assert settings.zone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("name", "text"), [("servers", "E3=x"), ("public", "many"), ("traffic_orig", "maybe"), ("colour", "red")]
)
def test_a_setting_that_can_not_be_read_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        SandboxSettings.from_texts({name: text})


async def test_doors_refuse_numbers_that_are_none() -> None:
    async with lab() as it:
        assert "error" in await it.door("clock", advance=float("inf"))
        assert "error" in await it.door("clock", advance=float("nan"))
        assert "error" in await it.door("faults", panel="dci", func="server", kind="late", seconds=float("nan"))
        assert "error" in await it.door("traffic", server="101", rx=-1)
