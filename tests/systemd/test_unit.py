from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "provisiond.service"
PROGRAM = "/opt/provisiond/bin/provisiond"
DROP_INS = sorted((SYSTEMD / "provisiond.service.d").glob("*.conf.example"))
MOST_EXPOSED = "13"
"""Tenths: systemd's score of exposure may be 1.3 at most."""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"this machine has no {name}")
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as it is installed, but for its program, which verify wants to exist: here it is this Python."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, sys.executable))
    return unit


def with_drop_in(installed: Path, drop_in: Path) -> None:
    folder = installed.parent / f"{installed.name}.d"
    folder.mkdir()
    (folder / drop_in.name.removesuffix(".example")).write_text(drop_in.read_text())


def exposure(unit: Path) -> str:
    done = run(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    score = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert score
    return score[1]


def verified(unit: Path) -> str:
    done = run(tool("systemd-analyze"), "verify", str(unit))
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_systemd_has_nothing_to_say_about_the_unit(installed):
    assert verified(installed) == ""


def test_the_unit_is_exposed_no_more_than_we_promise():
    assert float(exposure(UNIT)) <= 1.3


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_each_drop_in_fits_the_unit_and_keeps_the_promise(installed, drop_in):
    with_drop_in(installed, drop_in)
    assert verified(installed) == ""
    assert float(exposure(installed)) <= 1.3


def test_the_drop_ins_are_really_read(installed):
    with_drop_in(installed, SYSTEMD / "provisiond.service.d" / "memory.conf.example")
    assert float(exposure(installed)) > float(exposure(UNIT))


def test_the_user_of_the_unit_is_the_one_that_sysusers_makes(tmp_path):
    declared = (SYSTEMD / "provisiond.sysusers").read_text()
    assert settings()["User"] == settings()["Group"] == "provisiond"
    assert re.search(r"^u provisiond ", declared, re.MULTILINE)
    done = run(tool("systemd-sysusers"), "--dry-run", f"--root={tmp_path}", str(SYSTEMD / "provisiond.sysusers"))
    assert done.returncode == 0, done.stderr


def test_the_daemon_is_told_about_by_notify_and_watched():
    unit = settings()
    assert unit["Type"] == "notify"
    assert unit["NotifyAccess"] == "main"
    assert unit["WatchdogSec"] == "30"
    assert unit["ExecStart"] == f"{PROGRAM} --config /etc/provisiond/provisiond.yaml run"


def test_only_what_a_person_must_mend_ends_the_starts():
    unit = settings()
    assert unit["Restart"] == "on-failure"
    assert unit["StartLimitIntervalSec"] == "0"
    assert unit["RestartPreventExitStatus"] == "78"


def test_no_secret_comes_by_environment_or_command_line():
    assert not re.search(r"^(Environment|EnvironmentFile|PassEnvironment)=", UNIT.read_text(), re.MULTILINE)


def test_the_readme_tells_of_every_file_beside_it():
    text = (SYSTEMD / "README.md").read_text()
    for path in [UNIT, SYSTEMD / "provisiond.sysusers", *DROP_INS]:
        if path not in DROP_INS:
            assert path.name in text
        else:
            assert f"provisiond.service.d/{path.name}" in text
