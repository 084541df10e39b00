"""A whole configuration on disk, from which each test changes one thing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.settings import Settings, SettingsError, load

DAEMON = """\
listen: 127.0.0.1:8420
state_dir: var
credentials_dir: credentials
database: sqlite
log_level: info
poll_every: 5m
public_url: https://panel.example.test
departments: {dc-team: {email: dc@example.test}}
mail: {host: localhost, port: 25, from: noc@example.test}
"""
MODULE = """\
name: dci-main
type: dcimanager
priority: 10
responsible: dc-team
url: https://dci.example.test:1500/dcimgr
username: provisiond
password: cred:dci-main
ipam: ipm-main
parking_ip_type: parking
license_server: isp-main
timeout: 60s
settle: 90s
watch_every: 30s
power_within: 10m
install_within: 2h
connections: 4
readback_pause: 2s
capacity_within: 24h
"""
IPAM = """\
name: ipm-main
type: ipmanager
url: https://ipm.example.test:1500/ipmgr
username: provisiond
password: cred:ipm-main
timeout: 60s
settle: 90s
"""
PLAN = """\
name: ds-small
product: dedicated
server_type: E3-1230-16G
modules: [dci-main]
prices: {EUR: {setup: "0.00", month: "49.00"}}
addons:
  ostempl: {billing: client_selects, values: [ISPsystem__Debian-12-x86_64]}
  ip: {billing: amount, max: 16, prices: {EUR: {month: "2.00"}}}
  ipv6: {billing: amount, max: 16}
  special_ip_block_guardvlan9: {billing: client_selects, values: [guardvlan9, none]}
resources: {in: {}, out: {}, power: {}, burst_in_day: {}, burst_out_day: {}}
"""


class Folder:
    """Files under `config/`, named as in error messages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str | bytes, mode: int = 0o600) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(mode)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.path / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def load(self, environ: Mapping[str, str] | None = None) -> Settings:
        return load(Path("config/provisiond.yaml"), environ=environ or {})

    def problems(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """Everything that is wrong, as it is shown."""
        with pytest.raises(SettingsError) as caught:
            self.load(environ)
        assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A good configuration, with its parent as the current folder: `config/...` is what messages show."""
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path / "config")
    folder.write("provisiond.yaml", DAEMON)
    folder.write("modules.d/dci-main.yaml", MODULE)
    folder.write("ipam.d/ipm-main.yaml", IPAM)
    folder.write("plans.d/ds-small.yaml", PLAN)
    folder.write("credentials/dci-main", "one\n")
    folder.write("credentials/ipm-main", "two\n")
    return folder
