"""The loader: a good configuration, and every way in which one can be wrong."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import pytest

from daemon.domain.errors import ConfigError
from daemon.settings import DcimanagerSettings, IpmanagerSettings, ModuleSettings, load
from daemon.settings.base import About
from daemon.settings.types import Text

from .conftest import DAEMON, IPAM, MODULE, Folder

DAEMON_FILE = "provisiond.yaml"
MODULE_FILE = "modules.d/dci-main.yaml"
IPAM_FILE = "ipam.d/ipm-main.yaml"
PLAN_FILE = "plans.d/ds-small.yaml"


def test_a_good_configuration_loads_whole(config: Folder):
    settings = config.load()
    module, ipam, plan = settings.module("dci-main"), settings.ipam("ipm-main"), settings.plan("ds-small")
    assert isinstance(module, DcimanagerSettings)
    assert isinstance(ipam, IpmanagerSettings)
    assert plan is not None
    assert (module.priority, module.ipam, module.install_within) == (10, "ipm-main", timedelta(hours=2))
    assert module.password.name == "dci-main"
    assert settings.credentials.resolve(module.password).reveal() == "one"
    assert plan.modules == ("dci-main",)
    assert settings.daemon.database.is_sqlite
    assert settings.warnings == ()


def test_settings_of_a_file_cannot_be_changed(config: Folder):
    with pytest.raises(ValueError, match="frozen"):
        config.load().daemon.__setattr__("log_level", "debug")


def test_relative_folders_start_at_the_folder_of_the_main_file(config: Folder):
    settings = config.load()
    assert settings.daemon.state_dir == config.path / "var"
    assert settings.daemon.credentials_dir == config.path / "credentials"
    assert settings.base == config.path


def test_systemds_state_folder_wins(config: Folder):
    assert config.load({"STATE_DIRECTORY": "/run/a:/run/b"}).daemon.state_dir == Path("/run/a")


def test_systemds_credentials_win_and_may_be_group_readable(config: Folder, tmp_path: Path):
    other = Folder(tmp_path / "given")
    other.write("dci-main", "from systemd", mode=0o440)
    other.write("ipm-main", "from systemd", mode=0o440)
    settings = config.load({"CREDENTIALS_DIRECTORY": str(other.path)})
    module = settings.module("dci-main")
    assert isinstance(module, DcimanagerSettings)
    assert settings.credentials.resolve(module.password).reveal() == "from systemd"


def test_a_ca_file_is_found_beside_the_main_file(config: Folder):
    config.replace(MODULE_FILE, "connections: 4", "tls: {ca_file: ca.pem}")
    module = config.load().module("dci-main")
    assert isinstance(module, DcimanagerSettings)
    assert module.tls.ca_file == str(config.path / "ca.pem")


def test_folders_that_are_not_there_are_empty(config: Folder, tmp_path: Path):
    Folder(tmp_path / "bare").write("provisiond.yaml", "{}")
    settings = load(tmp_path / "bare" / "provisiond.yaml", environ={})
    assert (settings.modules, settings.ipams, settings.plans) == ((), (), ())


def test_only_yaml_files_count_and_hidden_ones_do_not(config: Folder):
    for name in ("README.md", "dci-main.yaml~", ".#dci-main.yaml", ".hidden.yaml"):
        config.write(f"modules.d/{name}", "rubbish: [")
    config.write("plans.d/second.yml", (config.path / PLAN_FILE).read_text().replace("ds-small", "ds-more"))
    assert [plan.name for plan in config.load().plans] == ["ds-small", "ds-more"]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (MODULE_FILE, "10", "high", ':3:11: priority: expected a whole number, got "high"'),
        (MODULE_FILE, "10", '"10"', ':3:11: priority: expected a whole number, got "10"'),
        (MODULE_FILE, "10", "1.5", ":3:11: priority: expected a whole number, got 1.5"),
        (MODULE_FILE, "10", "yes", ':3:11: priority: expected a whole number, got "yes"'),
        (MODULE_FILE, "10", "true", ":3:11: priority: expected a whole number, got true"),
        (MODULE_FILE, "10", "-1", ":3:11: priority: expected a number of at least 0, got -1"),
        (MODULE_FILE, " 10", "", ":3:1: priority: expected a whole number, got nothing"),
        (MODULE_FILE, "watch_every", "wach_every", ':13:1: wach_every: is not a setting; did you mean "watch_every"?'),
        (MODULE_FILE, "parking_ip_type: parking", "parking_ip_type: 9", ":9:18: parking_ip_type: expected text (numbers and true or false need quotes to be text), got 9"),
        (MODULE_FILE, "https://dci", "http://dci", ':5:6: url: expected https:// (plain http:// is allowed to loopback addresses only), got "http://dci.example.test:1500/dcimgr"'),
        (MODULE_FILE, "https://dci", "https://u:pw@dci", ':5:6: url: expected a URL without user name and password in it (they have settings of their own), got "https://***@dci.example.test:1500/dcimgr"'),
        (MODULE_FILE, "cred:dci-main", "hunter2", ":7:11: password: expected cred:NAME, the name of a credential; secrets do not stand in this file"),
        (MODULE_FILE, "cred:dci-main", "12345", ":7:11: password: expected cred:NAME, the name of a credential; secrets do not stand in this file"),
        (MODULE_FILE, "settle: 90s", "settle: 59s", ":12:9: settle: expected at least the timeout of 1m, within which a call may still act, got 59s"),
        (MODULE_FILE, "timeout: 60s\nsettle: 90s\n", "timeout: 2m\n", ":1:1: settle: expected at least the timeout of 2m, within which a call may still act, got 90s, its default"),
        (MODULE_FILE, "watch_every: 30s", "watch_every: 30", ":13:14: watch_every: expected a duration such as 30s (a whole number and ms, s, m, h or d), got 30"),
        (MODULE_FILE, "watch_every: 30s", "watch_every: 0s", ':13:14: watch_every: expected a duration longer than zero, got "0s"'),
        (MODULE_FILE, "ipam: ipm-main\n", "", ":1:1: ipam: is required: the panel's own address base isn't supported yet, name an address manager of ipam.d"),
        (MODULE_FILE, "ipam: ipm-main", "ipam: ipm-man", ':8:7: ipam: there is no address manager named "ipm-man"; did you mean "ipm-main"?'),
        (MODULE_FILE, "username: provisiond\n", "", ":1:1: username: is required"),
        (MODULE_FILE, "connections: 4", "connections: 65", ":16:14: connections: expected a number of at most 64, got 65"),
        (MODULE_FILE, "connections: 4", "tls: {verify: false}", ":16:7: tls.verify: is not a setting; known here: ca_file, pin"),
        (MODULE_FILE, "connections: 4", "tls: off", ':16:6: tls: expected a mapping of names to settings, got "off"'),
        (MODULE_FILE, "connections: 4", 'tls: {ca_file: a, pin: "sha256:' + "ab" * 32 + '"}', ":16:24: tls.pin: expected either ca_file or pin, not both"),
        (MODULE_FILE, "connections: 4", "panel: {notes_feld: x}", ':16:9: panel.notes_feld: is not a setting; did you mean "notes_field"?'),
        (MODULE_FILE, "connections: 4", "auth_errors: [access, 5]", ":16:23: auth_errors.1: expected text (numbers and true or false need quotes to be text), got 5"),
        (MODULE_FILE, "connections: 4", "power: {unit: Ah, over: 1h}", ":16:1: power.volts: is required when the unit is Ah"),
        (MODULE_FILE, "connections: 4", "power: {unit: kWh}", ":16:1: power.over: is required when the unit is kWh: the time in which it was used"),
        (MODULE_FILE, "connections: 4", "power: {unit: J}", ':16:15: power.unit: expected W, kW, Wh, kWh or Ah, got "J"'),
        (MODULE_FILE, "connections: 4", "burst: {source: both}", ':16:17: burst.source: expected samples or panel, got "both"'),
        (MODULE_FILE, "connections: 4", "port_speed: 10 GB", ':16:13: port_speed: expected a speed such as 10 Gbit/s (bit/s, Kbit/s, Mbit/s, Gbit/s or Tbit/s), got "10 GB"'),
        (MODULE_FILE, "connections: 4", "port_speed: 10", ":16:13: port_speed: expected a quantity such as 10 TiB (a number and a unit), got 10"),
        (MODULE_FILE, "dcimanager", "dcimanger", ':2:7: type: expected one of dcimanager, manual, got "dcimanger"; did you mean "dcimanager"?'),
        (MODULE_FILE, "type: dcimanager\n", "", ":1:1: type: is required, one of: dcimanager, manual"),
        (MODULE_FILE, "dc-team", "DC team", ':4:14: responsible: expected a name of lower-case letters, digits, dots, dashes, underscores, got "DC team"'),
        (MODULE_FILE, "priority: 10", "priority: 10\npriority: 11", ":4:1: priority: stands here a second time, first in line 3"),
        (DAEMON_FILE, "127.0.0.1:8420", "0.0.0.0:8420", ':1:9: listen: expected a loopback address (127.0.0.1, [::1] or localhost): there is no TLS here, put a TLS proxy in front, got "0.0.0.0:8420"'),
        (DAEMON_FILE, "127.0.0.1:8420", "localhost", ':1:9: listen: expected an address and a port such as 127.0.0.1:8420 or [::1]:8420, got "localhost"'),
        (DAEMON_FILE, "database: sqlite", "database: mysql", ':4:11: database: expected sqlite or {url: postgresql://user@host/name, password: cred:NAME}, got "mysql"'),
        (DAEMON_FILE, "database: sqlite", "database: {url: mysql://u@h/n}", ':4:17: database.url: expected a URL such as postgresql://user@host/name, got "mysql://***@h/n"'),
        (DAEMON_FILE, "database: sqlite", "database: {url: postgresql://u:hunter2@h/n}", ':4:17: database.url: expected a URL without a password in it (the setting password takes cred:NAME), got "postgresql://***@h/n"'),
        (DAEMON_FILE, "log_level: info", "log_level: loud", ':5:12: log_level: expected debug, info, warning or error, got "loud"'),
        (DAEMON_FILE, "dc@example.test", "nobody", ':8:32: departments.dc-team.email: expected a mail address such as noc@example.test, got "nobody"'),
        (DAEMON_FILE, "poll_every: 5m", "lease: 5s", ":1:1: heartbeat: expected at most a third of lease (1666ms), got 5s, its default"),
        (DAEMON_FILE, "poll_every: 5m", "lease: 9s\nheartbeat: 4s", ":7:12: heartbeat: expected at most a third of lease (3s), got 4s"),
        (DAEMON_FILE, "port: 25", "username: x", ":9:35: mail.username: username and password go together"),
        (DAEMON_FILE, "state_dir: var", "state_dir: 5", ":2:12: state_dir: expected a folder, got 5"),
        (DAEMON_FILE, "state_dir: var", "state_dir: ~nobody/x", ':2:12: state_dir: expected a folder without ~, which is not expanded here, got "~nobody/x"'),
        (DAEMON_FILE, "mail: {host: localhost", "mail: {username: u, password: cred:ipm-main, encryption: none, host: mx.example.test", ":9:58: mail.encryption: expected starttls or tls: a password must not cross a network in the clear"),
        (IPAM_FILE, "settle: 90s", "settle: 1s", ":7:9: settle: expected at least the timeout of 1m, within which a call may still act, got 1s"),
        (PLAN_FILE, '"49.00"', "49.00", ':5:38: prices.EUR.month: expected an amount in quotes such as "49.00" (write amounts in quotes), got 49.00'),
        (PLAN_FILE, '"49.00"', '"-1"', ':5:38: prices.EUR.month: expected an amount such as "49.00" (not negative, at most 6 decimals), got "-1"'),
        (PLAN_FILE, "[dci-main]", "[dci-mian]", ':4:11: modules.0: there is no module named "dci-mian"; did you mean "dci-main"?'),
        (PLAN_FILE, "[dci-main]", "dci-main", ':4:10: modules: expected a list, got "dci-main"'),
        (PLAN_FILE, "[dci-main]", "[]", ":4:10: modules: expected at least 1 of them, got a list"),
        (PLAN_FILE, "burst_in_day: {}", "brust: {}", ':11:41: resources.brust: there is no resource named "brust"'),
        (PLAN_FILE, "burst_in_day: {}", "burst_in_dya: {}", ':11:41: resources.burst_in_dya: there is no resource named "burst_in_dya"; did you mean "burst_in_day"?'),
        (PLAN_FILE, "in: {}", "in: {included: 10 Gbit/s}", ":11:28: resources.in.included: Gbit/s is rate, B is data: no conversion"),
        (PLAN_FILE, "in: {}", "in: {included: 10}", ":11:28: resources.in.included: expected a quantity such as 10 TiB (a number and a unit), got 10"),
        (PLAN_FILE, "in: {}", "in: {included: 1 TiB, alert_every: 0 GiB}", ':11:48: resources.in.alert_every: expected a quantity of more than zero, got "0 GiB"'),
        (PLAN_FILE, "in: {}", "in: {alert_every: 1 GiB}", ":11:31: resources.in.alert_every: has no use without included"),
        (PLAN_FILE, "in: {}", "in: {included: 0.3 B}", ":11:28: resources.in.included: 0.3 B is not a whole number of B"),
        (PLAN_FILE, "in: {}", "in: {direction: sum}", ":11:29: resources.in.direction: has a use in burst_in_day and burst_out_day only"),
        (PLAN_FILE, "in: {}", "in: {percentile: 90}", ":11:30: resources.in.percentile: has a use in burst_in_day and burst_out_day only"),
        (PLAN_FILE, "in: {}", "in: {amount: 5 GiB}", ":11:26: resources.in.amount: in is counted, not configured"),
        (PLAN_FILE, "burst_in_day: {}", "burst_in_day: {direction: sum}", ":11:73: resources.burst_out_day.direction: expected sum, as burst_in_day has it"),
        (PLAN_FILE, "burst_in_day: {}", "burst_in_day: {direction: both}", ':11:67: resources.burst_in_day.direction: expected separate, larger or sum, got "both"'),
        (PLAN_FILE, "burst_in_day: {}", "burst_in_day: {percentile: 0}", ":11:68: resources.burst_in_day.percentile: expected a number of at least 1, got 0"),
        (PLAN_FILE, "burst_in_day: {}", "burst_in_day: {x: 1}", ":11:56: resources.burst_in_day.x: is not a setting; known here: alert_every, amount, direction, included, percentile"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_with_its_place_what_was_expected_and_what_came(
    config: Folder, file: str, old: str, new: str, expected: str
):
    config.replace(file, old, new)
    assert config.problems() == [f"config/{file}{expected}"]


def test_all_problems_of_all_files_come_at_once(config: Folder):
    config.replace(DAEMON_FILE, "log_level: info", "log_level: loud")
    config.replace(MODULE_FILE, "priority: 10", "priority: high")
    config.replace(MODULE_FILE, "settle: 90s", "settle: 1s")
    config.replace(IPAM_FILE, "cred:ipm-main", "hunter2")
    config.replace(PLAN_FILE, '"49.00"', "49")
    problems = config.problems()
    assert [problem.split(": ")[1] for problem in problems] == [
        "password",
        "priority",
        "settle",
        "prices.EUR.month",
        "log_level",
    ]
    assert "hunter2" not in "".join(problems)


def test_two_files_with_one_name_are_refused(config: Folder):
    config.write("modules.d/zz.yaml", MODULE)
    config.write("ipam.d/zz.yaml", IPAM)
    assert config.problems() == [
        'config/ipam.d/zz.yaml:1:7: name: "ipm-main" is taken already, by config/ipam.d/ipm-main.yaml',
        'config/modules.d/zz.yaml:1:7: name: "dci-main" is taken already, by config/modules.d/dci-main.yaml',
    ]


def test_a_broken_module_is_not_reported_as_missing_by_its_plans(config: Folder):
    config.replace(MODULE_FILE, "10", "high")
    assert len(config.problems()) == 1


def test_a_missing_main_file_is_a_clear_error(config: Folder):
    (config.path / DAEMON_FILE).unlink()
    assert config.problems() == ["config/provisiond.yaml: can't be read: No such file or directory"]


def test_a_missing_credential_says_where_it_was_looked_for(config: Folder):
    (config.path / "credentials/dci-main").unlink()
    where = config.path / "credentials/dci-main"
    assert config.problems() == [
        f"config/modules.d/dci-main.yaml:7:11: password: credential dci-main not found: no file {where}"
    ]


def test_a_credential_that_others_may_read_is_refused(config: Folder):
    (config.path / "credentials/ipm-main").chmod(0o640)
    where = config.path / "credentials/ipm-main"
    assert config.problems() == [
        f"config/ipam.d/ipm-main.yaml:5:11: password: {where} may be read by others (mode 0640): chmod 600 {where}"
    ]


def test_credentials_can_be_left_unchecked(config: Folder):
    (config.path / "credentials/dci-main").unlink()
    assert load(config.path / DAEMON_FILE, environ={}, check_credentials=False).module("dci-main")


def test_a_department_nobody_knows_and_no_mail_are_warnings(config: Folder):
    config.write(DAEMON_FILE, "\n".join(DAEMON.splitlines()[:-2]))
    nobody = 'there is no department named "dc-team"; its tasks are shown, but mailed to nobody'
    assert [str(warning) for warning in config.load().warnings] == [
        f"config/modules.d/dci-main.yaml:4:14: responsible: {nobody}",
        "config/provisiond.yaml: mail: is not set: no mail is sent",
    ]


def test_a_department_without_mail_address_is_a_warning(config: Folder):
    config.replace(DAEMON_FILE, "{email: dc@example.test}", "{}")
    assert [str(warning) for warning in config.load().warnings] == [
        "config/provisiond.yaml:8:24: departments.dc-team: has no email: its tasks are shown, but mailed to nobody"
    ]


class OutsideSettings(ModuleSettings):
    """What a plugin of somebody else brings along."""

    type: Annotated[Literal["acme"], About("which kind of module")] = "acme"
    colour: Annotated[Text, About("its colour")]


def test_an_outside_plugin_brings_its_own_settings(config: Folder):
    config.write("modules.d/acme.yaml", "name: acme\ntype: acme\ncolour: blue\n")
    settings = load(config.path / DAEMON_FILE, environ={}, module_types={"acme": OutsideSettings})
    assert isinstance(settings.module("acme"), OutsideSettings)


def test_an_error_is_a_config_error_and_holds_its_lines_as_context(config: Folder):
    config.replace(MODULE_FILE, "10", "high")
    with pytest.raises(ConfigError) as caught:
        config.load()
    assert caught.value.code == "settings"
    assert caught.value.context["problems"] == [
        'config/modules.d/dci-main.yaml:3:11: priority: expected a whole number, got "high"'
    ]


def test_loading_writes_no_logs(config: Folder, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        config.load()
    assert caplog.records == []


def test_mail_is_encrypted_unless_the_server_is_this_machine(config: Folder):
    mail = config.load().daemon.mail
    assert mail is not None
    assert mail.security == "none"
    config.replace(DAEMON_FILE, "host: localhost", "host: mx.example.test")
    mail = config.load().daemon.mail
    assert mail is not None
    assert mail.security == "starttls"


def test_access_links_start_at_the_public_url_or_where_we_listen(config: Folder):
    assert config.load().daemon.link_base == "https://panel.example.test"
    config.replace(DAEMON_FILE, "public_url: https://panel.example.test\n", "")
    assert config.load().daemon.link_base == "http://127.0.0.1:8420"
