"""Starts that must not happen: each says what is wrong in a sentence, ends with its own exit code, and leaves no half a daemon."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.store.targets import PostgresTarget
from tests.acceptance.house import (
    Cli,
    Daemon,
    Database,
    api_of,
    change,
    daemon,
    http,
    listens,
    refused_start,
    sandbox,
    use_postgres,
)
from tests.databases import PostgresTemplate

FAILED, LOCKED, CONFIG = 1, 5, 78
"""Exit codes; systemd's unit ends its starts at the last one."""


def assert_nobody_listens(config: Path) -> None:
    with pytest.raises(OSError, match="refused"):
        http("GET", f"{listens(config)}/readyz")
    assert_no_socket(config)


def assert_no_socket(config: Path) -> None:
    path = config.parent / "var" / "provisiond.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as local, pytest.raises(OSError, match=r"refused|No such"):
        local.connect(str(path))


def test_a_second_daemon_on_the_same_folder_is_told_who_works_there_and_the_first_goes_on(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, daemon(panels.config) as first:
        code, said = refused_start(panels.config)
        assert (code, "Traceback" in said) == (LOCKED, False)
        assert f"another provisiond (process {first.process.pid}) works on this folder" in said
        for command in (("db", "migrate"),):
            done = Cli(panels.config).run(*command)
            assert (done.returncode, "another provisiond" in done.stderr) == (LOCKED, True)
        assert api_of(panels.config).active()["state"] == "active"


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("schema_version", "1", "of an older version; stop all nodes and run `provisiond db migrate`"),
        ("schema_oldest", "999", "upgraded by a newer provisiond; install that version"),
    ],
    ids=["older", "newer"],
)
def test_a_database_of_another_version_is_refused(
    fact: str, value: str, said: str, tmp_path: Path, on_both: Callable[[Path], Database]
) -> None:
    with sandbox(tmp_path) as panels:
        database = on_both(panels.config)
        Cli(panels.config).text("db", "migrate")
        database.ask(f"UPDATE fact SET value = '{value}' WHERE name = '{fact}'")
        before = database.ask("SELECT name, value FROM fact ORDER BY name")
        code, told = refused_start(panels.config)
        assert (code, "Traceback" in told) == (CONFIG, False)
        assert said in told
        assert_nobody_listens(panels.config)
        checked = Cli(panels.config).run("db", "check")
        assert (checked.returncode, said in checked.stdout) == (4, True)
        assert database.ask("SELECT name, value FROM fact ORDER BY name") == before
        migrated = Cli(panels.config).run("db", "migrate")
        if fact == "schema_version":
            assert migrated.returncode == 0, migrated.stderr
            with daemon(panels.config):
                pass
        else:
            assert migrated.returncode == 4
            assert said in migrated.stderr


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (None, "this file is not a SQLite database"),
        ("CREATE TABLE foo (a)", "holds tables of something else and none of provisiond's"),
    ],
    ids=["random bytes", "another program's"],
)
def test_a_sqlite_file_that_is_not_ours_is_refused_and_left_as_it_is(
    statement: str | None, said: str, tmp_path: Path
) -> None:
    with sandbox(tmp_path) as panels:
        file = Database(panels.config).file
        file.parent.mkdir(exist_ok=True)
        if statement is None:
            file.write_bytes(secrets.token_bytes(5000))
        else:
            Database(panels.config).ask(statement)
        before = file.read_bytes()
        code, told = refused_start(panels.config)
        assert (code, "Traceback" in told) == (CONFIG, False)
        assert f"{file}: " in told
        assert said in told
        checked = Cli(panels.config).run("db", "check")
        assert (checked.returncode == 0, "Traceback" in checked.stderr) == (False, False)
        assert said in checked.stdout
        assert_nobody_listens(panels.config)
        assert file.read_bytes() == before


def test_a_postgresql_database_without_our_tables_is_refused_until_they_are_made(
    tmp_path: Path, postgres_server: PostgresTemplate
) -> None:
    with sandbox(tmp_path) as panels, postgres_server.empty_database() as target:
        use_postgres(panels.config, target)
        database = Database(panels.config, target)
        code, said = refused_start(panels.config)
        assert (code, "Traceback" in said) == (CONFIG, False)
        assert "`provisiond db migrate` makes them" in said
        assert database.number("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert_nobody_listens(panels.config)
        assert "made the tables" in Cli(panels.config).text("db", "migrate")
        assert "current" in Cli(panels.config).text("db", "migrate")
        with daemon(panels.config):
            pass


def test_a_database_server_that_is_down_is_worth_another_try(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, contextlib.closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        use_postgres(panels.config, PostgresTarget("127.0.0.1", closed.getsockname()[1], "postgres", "provisiond"))
        code, said = refused_start(panels.config)
        assert (code, "Traceback" in said) == (FAILED, False)
        assert "provisiond: the database can't be used at the moment" in said
        assert_nobody_listens(panels.config)


def test_systemd_ends_its_starts_at_the_exit_code_of_settings_and_database_only() -> None:
    unit = (Path(__file__).parents[2] / "systemd" / "provisiond.service").read_text()
    assert f"\nRestartPreventExitStatus={CONFIG}\n" in unit
    assert "\nRestart=on-failure\n" in unit


def test_a_first_start_makes_a_sqlite_file_for_us_alone(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, daemon(panels.config):
        state_dir = tmp_path / "var"
        modes = {path.name: path.stat().st_mode & 0o777 for path in state_dir.iterdir()}
        assert modes["provisiond.db"] == modes["master.key"] == 0o600
        assert modes["provisiond.sock"] == 0o660


def test_a_file_that_can_not_be_made_is_told_with_its_cause(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels:
        hindrance = tmp_path / "var" / "provisiond.db.new"
        hindrance.mkdir(parents=True)
        code, said = refused_start(panels.config)
        assert code == FAILED
        assert "provisiond.db: the database can't be made: " in said
        assert str(hindrance) in said
        assert_nobody_listens(panels.config)
        hindrance.rmdir()
        with daemon(panels.config):
            pass


def test_a_daemon_that_made_its_database_needs_no_more_memory_than_one_that_found_it(tmp_path: Path) -> None:
    def resident(running: Daemon) -> int:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    with sandbox(tmp_path) as panels:
        with daemon(panels.config) as first:
            made = resident(first)
        with daemon(panels.config) as second:
            found = resident(second)
    assert made < found + 8 * 1024


def test_a_plan_of_a_type_that_no_server_has_is_told_by_check(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels:
        assert Cli(panels.config).json("check")["warnings"] == []
        plan = next((tmp_path / "plans.d").glob("*.yaml"))
        change(plan, "server_type", "E5-9999-1G")
        assert Cli(panels.config).json("check")["warnings"] == [
            f"plan {plan.stem}: dci-main has no server of type E5-9999-1G"
        ]


def test_a_master_key_that_is_wrong_or_missing_is_refused_when_passwords_depend_on_it(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels:
        key = tmp_path / "var" / "master.key"
        with daemon(panels.config):
            service = api_of(panels.config).active()
            before = Cli(panels.config).json("service", "access", str(service["id"]))
        right = key.read_bytes()
        key.write_bytes(secrets.token_bytes(32))
        code, said = refused_start(panels.config)
        assert (code, "Traceback" in said) == (CONFIG, False)
        assert "the master key is not the one this database was used with" in said
        key.unlink()
        code, said = refused_start(panels.config)
        assert code == CONFIG
        assert f"the master key is missing: restore {key}" in said
        assert not key.exists()
        assert_nobody_listens(panels.config)
        key.touch(0o600)
        key.write_bytes(right)
        with daemon(panels.config):
            assert Cli(panels.config).json("service", "access", str(service["id"])) == before


def test_mistakes_in_the_settings_are_told_all_at_once_with_their_places(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels:
        (tmp_path / "modules.d" / "dci-main.yaml").write_text(
            "name: dci-main\ntype: dcimanager\npriority: high\nurl: http://127.0.0.1:1/dcimgr\nusername: p\n"
            "password: plain-text-password\nipam: ipm-main\nparking_ip_tipe: parking\n"
        )
        change(panels.config, "poll_every", "5")
        code, said = refused_start(panels.config)
        assert (code, "Traceback" in said) == (CONFIG, False)
        module = tmp_path / "modules.d" / "dci-main.yaml"
        assert f'{module}:3:11: priority: expected a whole number, got "high"' in said.splitlines()
        assert any(line.startswith(f"{module}:6:11: password: ") for line in said.splitlines())
        assert any(f"{module}:8:1: parking_ip_tipe" in line and "parking_ip_type" in line for line in said.splitlines())
        assert any(line.startswith(f"{panels.config}:") and "poll_every" in line for line in said.splitlines())
        assert "plain-text-password" not in said
        assert not (tmp_path / "var").exists()


def test_a_port_in_use_is_named_and_worth_another_try(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        change(panels.config, "listen", place)
        code, said = refused_start(panels.config)
        assert (code, "Traceback" in said) == (FAILED, False)
        assert f"can't listen on {place}: " in said
        assert_no_socket(panels.config)
        assert {path.name for path in (tmp_path / "var").iterdir()} == {"lock"}, "no work was begun"
        taken.close()
        with daemon(panels.config):
            pass
