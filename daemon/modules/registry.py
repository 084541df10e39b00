"""Finds processing modules through the entry points `provisiond.modules`, ours too, and builds the configured ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from daemon.domain.clock import Clock
from daemon.domain.errors import ConfigError
from daemon.modules.base import ProcessingModule
from daemon.settings.modules import ModuleSettings
from daemon.settings.secrets import Secret
from daemon.settings.types import SecretRef

GROUP = "provisiond.modules"

Credentials: TypeAlias = Callable[[SecretRef], Secret]
SettingsClass: TypeAlias = type[ModuleSettings]


@dataclass(frozen=True, slots=True)
class Plugin:
    """What an entry point names. `make` gets an instance of `settings`, and imports its libraries only then."""

    type: str
    settings: SettingsClass
    make: Callable[[Any, Credentials, Clock], ProcessingModule]


def types() -> list[str]:
    """The names that `type:` may have; nothing is imported for it."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def plugin(module_type: str) -> Plugin:
    """Raises ConfigError `unknown_type` or, for an entry point that names no Plugin, `broken_plugin`."""
    found: list[EntryPoint] = list(entry_points(group=GROUP, name=module_type))
    if not found:
        known = ", ".join(types())
        raise ConfigError(
            "unknown_type", f"no processing module of type {module_type} is installed; there are: {known}"
        )
    loaded = found[0].load()
    if not isinstance(loaded, Plugin) or loaded.type != module_type:
        raise ConfigError("broken_plugin", f"{found[0].value} is not a processing module of type {module_type}")
    return loaded


def build(settings: ModuleSettings, credentials: Credentials, clock: Clock) -> ProcessingModule:
    """The configured module; nothing is sent anywhere yet."""
    return plugin(settings.type).make(settings, credentials, clock)
