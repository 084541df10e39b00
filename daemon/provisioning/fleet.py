"""The configured modules with their address managers and time limits: what workflows work with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from daemon.domain.errors import ConfigError
from daemon.ipam.base import Ipam
from daemon.modules.base import ProcessingModule
from daemon.provisioning.outcomes import Limits
from daemon.settings.loader import Settings
from daemon.settings.modules import ManualSettings, ModuleSettings
from daemon.settings.remote import RemoteSettings

NO_TIME = timedelta()
TASK_WITHIN = ManualSettings.model_fields["task_within"].default


@dataclass(frozen=True)
class Carrier:
    """One module, ready to carry services."""

    module: ProcessingModule
    settings: ModuleSettings
    limits: Limits
    ipam: Ipam | None
    ipam_limits: Limits

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the platforms it needs, as their health is kept."""
        return (self.name, *([self.ipam.name] if self.ipam else []))

    @property
    def by_hand(self) -> bool:
        return self.module.by_hand

    @property
    def switching(self) -> Limits:
        """Limits of what the platform takes its time for: power, ports. Without effect it is sent a second time."""
        shows = max(self.settings.power_within, self.limits.settle)
        return replace(self.limits, shows=shows, within=2 * shows)

    @property
    def department(self) -> str:
        return self.settings.responsible or ""


@dataclass(frozen=True)
class Fleet:
    """All carriers and the settings they came from."""

    settings: Settings
    carriers: dict[str, Carrier] = field(default_factory=dict)

    def carrier(self, name: str) -> Carrier:
        """Raises ConfigError `module_gone` for a module that a service still needs and YAML no longer has."""
        if name not in self.carriers:
            raise ConfigError("module_gone", f"modules.d has no module {name}, but a service is on it: put it back")
        return self.carriers[name]

    def by_priority(self, names: Sequence[str]) -> list[Carrier]:
        """Lowest number first; equal numbers by name."""
        found = [self.carriers[name] for name in names if name in self.carriers]
        return sorted(found, key=lambda carrier: (carrier.settings.priority, carrier.name))

    def platforms(self) -> dict[str, ProcessingModule | Ipam]:
        """Every platform by its name, each once."""
        found: dict[str, ProcessingModule | Ipam] = {made.name: made.module for made in self.carriers.values()}
        for made in self.carriers.values():
            if made.ipam is not None:
                found[made.ipam.name] = made.ipam
        return found

    async def close(self) -> None:
        for carrier in self.carriers.values():
            await carrier.module.close()
        for ipam in {carrier.ipam.name: carrier.ipam for carrier in self.carriers.values() if carrier.ipam}.values():
            await ipam.close()


def carrier(settings: ModuleSettings, module: ProcessingModule, ipam: Ipam | None, ipam_settings: object) -> Carrier:
    own = _limits(settings, settings, settings.name)
    return Carrier(module, settings, own, ipam, _limits(settings, ipam_settings, ipam.name if ipam else settings.name))


def _limits(settings: ModuleSettings, remote: object, name: str) -> Limits:
    """`name` is the system's own: it is what is ill when its login is refused."""
    settle = remote.settle if isinstance(remote, RemoteSettings) else NO_TIME
    return Limits(
        settle=settle,
        shows=settle,
        within=settings.step_within,
        look=settings.watch_every,
        capacity=settings.capacity_within,
        task=settings.task_within if isinstance(settings, ManualSettings) else TASK_WITHIN,
        department=settings.responsible or "",
        module=name,
    )
