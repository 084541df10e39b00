"""Finds address managers through the entry points `provisiond.ipam`, ours too, and builds the configured ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from daemon.domain.clock import Clock
from daemon.domain.errors import ConfigError
from daemon.ipam.base import Ipam
from daemon.settings.ipam import IpamSettings
from daemon.settings.secrets import Secret
from daemon.settings.types import SecretRef

GROUP = "provisiond.ipam"

Credentials: TypeAlias = Callable[[SecretRef], Secret]
SettingsClass: TypeAlias = type[IpamSettings]


@dataclass(frozen=True, slots=True)
class Plugin:
    """What an entry point names. `make` gets an instance of `settings`, and imports its libraries only then."""

    type: str
    settings: SettingsClass
    make: Callable[[Any, Credentials, Clock], Ipam]


def types() -> list[str]:
    """The names that `type:` may have; nothing is imported for it."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def plugin(ipam_type: str) -> Plugin:
    """Raises ConfigError `unknown_type` or, for an entry point that names no Plugin, `broken_plugin`."""
    found: list[EntryPoint] = list(entry_points(group=GROUP, name=ipam_type))
    if not found:
        known = ", ".join(types())
        raise ConfigError("unknown_type", f"no address manager of type {ipam_type} is installed; there are: {known}")
    loaded = found[0].load()
    if not isinstance(loaded, Plugin) or loaded.type != ipam_type:
        raise ConfigError("broken_plugin", f"{found[0].value} is not an address manager of type {ipam_type}")
    return loaded


def build(settings: IpamSettings, credentials: Credentials, clock: Clock) -> Ipam:
    """The configured address manager; nothing is sent anywhere yet."""
    return plugin(settings.type).make(settings, credentials, clock)
