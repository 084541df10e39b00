"""Which example files there are and what stands in them; the words around it come from the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from daemon.settings.daemon import DaemonSettings
from daemon.settings.dcimanager import DcimanagerSettings
from daemon.settings.ipam import IpmanagerSettings
from daemon.settings.modules import ManualSettings
from daemon.settings.plans import PlanSettings


@dataclass(frozen=True)
class Example:
    """`given` are the settings that stand in the file switched on, by their names in the file."""

    path: str
    model: type[BaseModel]
    title: str
    given: Mapping[str, Any] = field(default_factory=dict)


_DAEMON = {
    "listen": "127.0.0.1:8420",
    "state_dir": "var",
    "credentials_dir": "credentials",
    "database": "sqlite",
    "log_level": "info",
    "poll_every": "5m",
    "public_url": "https://panel.example.test",
    "departments": {"dc-team": {"email": "dc@example.test"}},
    "mail": {"host": "localhost", "port": 25, "from": "noc@example.test"},
}
_DCI = {
    "name": "dci-main",
    "type": "dcimanager",
    "priority": 10,
    "responsible": "dc-team",
    "url": "https://dci.example.test:1500/dcimgr",
    "username": "provisiond",
    "password": "cred:dci-main",
    "ipam": "ipm-main",
    "parking_ip_type": "parking",
    "timeout": "60s",
    "settle": "90s",
}
_BY_HAND = {
    "name": "by-hand",
    "type": "manual",
    "priority": 90,
    "responsible": "dc-team",
    "stock": {"E3-1230-16G": 3},
}
_IPM = {
    "name": "ipm-main",
    "type": "ipmanager",
    "url": "https://ipm.example.test:1500/ipmgr",
    "username": "provisiond",
    "password": "cred:ipm-main",
    "timeout": "60s",
    "settle": "90s",
}
_PLAN = {
    "name": "ds-small",
    "title": "Small dedicated server",
    "product": "dedicated",
    "server_type": "E3-1230-16G",
    "modules": ["dci-main"],
    "prices": {"EUR": {"setup": "0.00", "month": "49.00"}},
    "addons": {
        "ostempl": {"billing": "client_selects", "values": ["ISPsystem__Debian-12-x86_64"]},
        "ip": {"billing": "amount", "max": 16, "prices": {"EUR": {"month": "2.00"}}},
        "ipv6": {"billing": "amount", "max": 16},
        "special_ip_block_guardvlan9": {"billing": "client_selects", "values": ["guardvlan9", "none"]},
    },
    "resources": {"in": {}, "out": {}},
}

EXAMPLES = (
    Example("config/provisiond.yaml", DaemonSettings, "The daemon itself.", _DAEMON),
    Example(
        "config/modules.d/dci-main.yaml",
        DcimanagerSettings,
        "A processing module: a connection to a DCImanager 5. One file for each; the file's name means nothing.",
        _DCI,
    ),
    Example(
        "config/modules.d/by-hand.yaml",
        ManualSettings,
        "A processing module where a person is the platform: every step becomes a task for the department, closing the task "
        "continues the operation.",
        _BY_HAND,
    ),
    Example(
        "config/ipam.d/ipm-main.yaml",
        IpmanagerSettings,
        "An address manager: an IPmanager 5, by an account of level user that takes and gives back addresses.",
        _IPM,
    ),
    Example(
        "config/plans.d/ds-small.yaml",
        PlanSettings,
        "A tariff plan: what is sold. Changing it never changes what was sold before.",
        _PLAN,
    ),
)
