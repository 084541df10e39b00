"""Everything an admin sets: the models of the YAML, the loader with places in its errors, secret references."""

from __future__ import annotations

from daemon.settings.daemon import DaemonSettings
from daemon.settings.dcimanager import MODULE_TYPES, DcimanagerSettings
from daemon.settings.ipam import IPAM_TYPES, IpamSettings, IpmanagerSettings
from daemon.settings.loader import Settings, load
from daemon.settings.modules import ManualSettings, ModuleSettings
from daemon.settings.plans import PlanSettings
from daemon.settings.problems import Problem, SettingsError
from daemon.settings.secrets import Credentials, Secret
from daemon.settings.types import SecretRef

__all__ = [
    "IPAM_TYPES",
    "MODULE_TYPES",
    "Credentials",
    "DaemonSettings",
    "DcimanagerSettings",
    "IpamSettings",
    "IpmanagerSettings",
    "ManualSettings",
    "ModuleSettings",
    "PlanSettings",
    "Problem",
    "Secret",
    "SecretRef",
    "Settings",
    "SettingsError",
    "load",
]
