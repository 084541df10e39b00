"""Commands that work without a daemon."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, provisiond


async def test_check_tells_what_every_platform_says(desk: Desk) -> None:
    done = await desk("check", "--json")
    assert done.code == 0, done.err
    assert set(done.json["platforms"]) == {"dci-main", "ipm-main"}
    assert done.json["problems"] == []
    assert "all is well" in (await desk("check")).out


async def test_check_offline_logs_in_nowhere(desk: Desk) -> None:
    desk.home.world.sandbox.fault("dci", "*", "http_500", times=0)
    assert (await desk("check", "--offline")).code == 0
    assert (await desk("check")).code == 1


async def test_check_tells_every_mistake_with_its_place(desk: Desk) -> None:
    config = desk.home.world.config
    module = config.parent / "modules.d" / "dci-main.yaml"
    module.write_text(module.read_text().replace("priority: 10", "priority: high"))
    config.write_text(config.read_text() + "surprise: true\n")
    done = await desk("check", "--offline")
    assert done.code == 2
    assert 'priority: expected a whole number, got "high"' in done.err
    assert "surprise: is not a setting" in done.err
    assert len((await desk("check", "--offline", "--json")).json["problems"]) == 2


async def test_check_keeps_what_its_programs_read_free_of_log_lines(desk: Desk) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon", "--config", str(desk.home.world.config), "check", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["warnings"] == []


async def test_probe_tells_which_settings_the_panel_confirms(desk: Desk) -> None:
    done = await desk("module", "probe", "dci-main", "--json")
    assert done.code == 0
    assert {item["verdict"] for item in done.json["items"]} <= {"confirmed", "unknown"}
    unknown = await desk("module", "probe", "nothing")
    assert unknown.code == 2
    assert "there is no module or IPAM nothing" in unknown.err


async def test_a_database_is_made_and_checked(desk: Desk, tmp_path: Path) -> None:
    config = desk.home.world.config
    missing = await desk("db", "check")
    assert missing.code == 4
    assert "provisiond db migrate" in missing.out
    made = await desk("db", "migrate")
    assert made.code == 0, made.err
    assert "made the tables" in made.out
    assert (await desk("db", "check", "--json")).json == {"problems": []}
    assert (config.parent / "var" / "provisiond.db").exists()


async def test_a_database_of_a_newer_version_is_its_own_exit_code(desk: Desk) -> None:
    import sqlite3

    await desk("db", "migrate")
    path = desk.home.world.config.parent / "var" / "provisiond.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE fact SET value = '999' WHERE name IN ('schema_version', 'schema_oldest')")
    database.close()
    for command in ("migrate", "check"):
        assert (await desk("db", command)).code == 4


async def test_a_second_writer_of_a_state_dir_is_its_own_exit_code(desk: Desk) -> None:
    from daemon.store.lock import StateLock

    with StateLock(desk.home.world.config.parent / "var"):
        done = await desk("db", "migrate")
    assert done.code == 5
    assert "another provisiond" in done.err


async def test_a_pin_is_the_fingerprint_of_the_panels_certificate(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        done = await provisiond("module", "pin", f"https://127.0.0.1:{port}/dcimgr")
    pem = certificate.read_text().split("-----END PRIVATE KEY-----\n")[1]
    assert done.out.strip() == "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert (await provisiond("module", "pin", "http://127.0.0.1/")).code == 2
    assert (await provisiond("module", "pin", f"https://127.0.0.1:{port}/dcimgr")).code == 1


def self_signed(folder: Path) -> Path:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "panel.example.test")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "panel.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("arguments", [("--servers", "many"), ("--install-seconds", "soon")])
async def test_a_sandbox_setting_that_can_not_be_read_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    done = await provisiond("sandbox", *arguments)
    assert done.code == 2


async def test_the_sandbox_says_in_one_line_where_everything_is(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon", "sandbox", "--json", "--config", str(tmp_path / "config"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        assert {"dcimanager", "ipmanager", "mail", "config"} <= set(told)
        assert (await provisiond("--config", told["config"], "check")).code == 0
    finally:
        process.terminate()
        assert await process.wait() == 0
