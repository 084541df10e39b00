from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import structlog

from daemon.observability import logs
from daemon.observability.redaction import is_secret_name, mask, mask_text
from daemon.settings.secrets import Secret

CANARY = "zq7-canary-Vx91"


@pytest.fixture
def stream():
    """A stream that takes all logs, and the process as it was before."""
    root = logging.getLogger()
    level, handlers, raising = root.level, list(root.handlers), logging.raiseExceptions
    yield io.StringIO()
    logging.captureWarnings(False)
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.raiseExceptions = raising
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_when_nobody_sits_at_a_terminal(stream):
    logs.configure("info", stream=stream)
    structlog.get_logger("daemon.engine").info("leg ends", due_at=datetime(2026, 1, 1, tzinfo=UTC))
    (line,) = lines(stream)
    assert line["event"] == "leg ends"
    assert line["level"] == "info"
    assert line["logger"] == "daemon.engine"
    assert line["due_at"] == "2026-01-01T00:00:00+00:00"
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    assert line["timestamp"].endswith("Z")


def test_a_person_at_a_terminal_gets_colours_and_no_json(stream):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    logs.configure("info", stream=terminal)
    structlog.get_logger().info("server reserved", server="101")
    assert "\x1b[" in terminal.getvalue()
    assert "server reserved" in terminal.getvalue()


def test_every_line_of_a_leg_carries_what_is_bound_to_it_and_no_other_leg_sees_it(stream):
    logs.configure("info", stream=stream)
    log = structlog.get_logger()

    async def leg(operation: int) -> None:
        with logs.bound(operation=operation, service=operation + 100, module=None):
            await asyncio.sleep(0)
            with logs.bound(step="install", module="dci-main"):
                log.info("sent")
            await asyncio.sleep(0)
            log.info("ends")

    async def both() -> None:
        await asyncio.gather(leg(1), leg(2))
        log.info("outside")

    asyncio.run(both())
    found = lines(stream)
    for operation in (1, 2):
        sent, ends = (line for line in found if line.get("operation") == operation)
        assert (sent["service"], sent["step"], sent["module"]) == (operation + 100, "install", "dci-main")
        assert "step" not in ends
        assert "module" not in ends
    assert "operation" not in found[-1]


def test_the_level_of_the_settings_decides_and_can_be_changed_later(stream):
    logs.configure("warning", stream=stream)
    log = structlog.get_logger()
    log.info("not shown")
    logs.configure("debug", stream=stream)
    log.debug("shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]


def test_libraries_speak_through_the_same_door_from_warning_on(stream):
    logs.configure("debug", stream=stream)
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("asyncio").warning("Executing %s took long, password=%s", "task", CANARY)
    (line,) = lines(stream)
    assert line["logger"] == "asyncio"
    assert line["level"] == "warning"
    assert line["event"] == "Executing task took long, password=***"


def test_a_warning_of_python_is_a_line_too(stream):
    logs.configure("info", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old way", UserWarning, stacklevel=1)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old way" in line["event"]


def test_a_library_line_with_wrong_arguments_does_not_spill_them(stream, capsys):
    logs.configure("info", stream=stream)
    logging.getLogger("lib").warning("%d", CANARY)
    assert CANARY not in stream.getvalue() + capsys.readouterr().err


def test_configuring_twice_does_not_double_the_lines(stream):
    logs.configure("info", stream=stream)
    logs.configure("info", stream=stream)
    logging.getLogger("lib").error("once")
    assert len(lines(stream)) == 1


def fail_with(password: str) -> None:
    hidden = password + "-in-a-local"
    raise ValueError(f"login failed for {len(hidden)} characters at https://admin:{password}@dci.example.test/dcimgr")


@pytest.mark.parametrize("colours", [False, True])
def test_a_traceback_shows_the_way_but_no_local_values(stream, colours):
    logs.configure("info", stream=stream, colours=colours)
    try:
        fail_with(CANARY)
    except ValueError:
        structlog.get_logger().exception("a bug")
    text = stream.getvalue()
    assert "fail_with" in text
    assert "https://admin:***@dci.example.test/dcimgr" in text
    assert CANARY not in text


@pytest.mark.parametrize("colours", [False, True])
def test_secrets_are_masked_by_name_by_shape_and_by_type(stream, colours):
    logs.configure("info", stream=stream, colours=colours)
    structlog.get_logger().info(
        f"POST authinfo=admin:{CANARY}&func=vds",
        password=CANARY,
        checkpasswd=CANARY,
        headers={"Authorization": f"Bearer {CANARY}", "Set-Cookie": CANARY, "X-Api-Key": CANARY},
        credential=Secret(CANARY),
        nested=[{"deep": (Secret(CANARY), {"confirm": CANARY})}],
        raw=f'{{"password": "{CANARY}", "name": "x"}}'.encode(),
        link=f"https://panel.example.test/access/{CANARY}",
    )
    assert CANARY not in stream.getvalue()
    assert "func=vds" in stream.getvalue()


def test_a_bound_secret_is_masked_as_well(stream):
    logs.configure("info", stream=stream)
    structlog.get_logger().bind(token=CANARY).info("asked")
    assert lines(stream)[0]["token"] == "***"


SECRET_NAMES = [
    "password",
    "passwd",
    "rootpasswd",
    "confirm",
    "checkpasswd",
    "authinfo",
    "auth",
    "key",
    "token",
    "secret",
    "Cookie",
    "Set-Cookie",
    "Authorization",
    "api_key",
    "master_key",
    "session_id",
    "client_secret",
    "access_token",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_field_of_this_name_is_secret(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["author", "keys", "monkey", "step", "confirmed_at", "panel", "idempotency_key", "tokens"]
)
def test_a_field_of_this_name_is_not_secret(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@host/x", "https://u:***@host/x"),
        ("postgresql://app:p@ss@db/x", "postgresql://app:***@db/x"),
        ("https://:p@host", "https://:***@host"),
        ("https://user@host/x", "https://user@host/x"),
        ("out=xml&auth=f00&elid=1", "out=xml&auth=***&elid=1"),
        ("rootpasswd=a&passwd=b&confirm=c", "rootpasswd=***&passwd=***&confirm=***"),
        ("{'token': 'it\\'s', 'id': 1}", "{'token': '***', 'id': 1}"),
        ("<password>x</password>", "<password>***</password>"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("Cookie: dcimgrses5=abc; lang=en", "Cookie: ***"),
        ("modules.d/a.yaml:4:9: password: expected cred:NAME", "modules.d/a.yaml:4:9: password: expected cred:NAME"),
        ("author=me", "author=me"),
    ],
)
def test_a_text_is_masked_where_it_looks_like_a_secret_and_left_alone_elsewhere(text, shown):
    assert mask_text(text) == shown


def test_a_private_key_is_masked_even_when_its_end_is_missing():
    assert mask_text(f"x -----BEGIN PRIVATE KEY-----\n{CANARY}") == "x ***"


def test_a_yes_or_a_no_is_no_secret():
    assert mask({"auth": True, "token": None, "key": 7}) == {"auth": True, "token": None, "key": "***"}


def test_values_of_other_types_come_as_text():
    class Broken:
        def __str__(self):
            raise RuntimeError("no")

    loop: list = []
    loop.append(loop)
    assert mask(Decimal("1.10")) == "1.10"
    assert mask({1: b"\xff"}) == {"1": "\\xff"}
    assert mask(Broken()) == "<Broken that can't be shown: RuntimeError>"
    assert "..." in json.dumps(mask(loop))


def test_a_log_that_cannot_be_written_does_not_stop_the_work(stream):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    logs.configure("info", stream=Full())
    structlog.get_logger().info("still here")
    closed = io.StringIO()
    logs.configure("info", stream=closed)
    closed.close()
    structlog.get_logger().error("still here")


def test_half_a_character_does_not_stop_the_work(stream, tmp_path):
    with (tmp_path / "log").open("w", encoding="ascii") as file:
        logs.configure("info", stream=file)
        structlog.get_logger().info("h\u00f6st \udcff")
    assert json.loads((tmp_path / "log").read_text())["event"] == "h\u00f6st \udcff"
