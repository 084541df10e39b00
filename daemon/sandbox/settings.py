"""How a sandbox is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from daemon.sandbox.clock import Now

DEFAULT_TYPE = "E3-1230-16G"
DEFAULT_TEMPLATES = ("ISPsystem__Debian-12-x86_64", "ISPsystem__Ubuntu-24.04-x86_64", "ISPsystem__AlmaLinux-9-x86_64")
DEFAULT_RECIPES = ("ISPsystem__lamp", "#local__base")


@dataclass(frozen=True)
class SandboxSettings:
    """Everything has a default that makes a small, quick installation. Seconds are those of the sandbox's clock."""

    servers: Mapping[str, int] = field(default_factory=lambda: {DEFAULT_TYPE: 4})
    """Servers of each DCImanager by type: name -> how many."""
    dci_panels: int = 1
    """How many DCImanagers; the second is called dci-second."""

    public: int = 32
    private: int = 16
    parking: int = 16
    """Free parking addresses beside those that the free servers hold from the start."""
    guardvlan9: int = 8
    public_ipv6: int = 64
    pools: Mapping[str, int] = field(default_factory=dict)
    """Further IPv4 types: name -> how many addresses."""

    flag_delay: float = 0.0
    """From an accepted request to its flags."""
    power_seconds: float = 0.0
    """How long switching power or ports takes after that."""
    install_seconds: float = 0.0
    """How long an install runs; 0 installs at once."""
    diag_seconds: float = 0.0
    """How long diagnostics run on a server that lost its owner."""
    latency: float = 0.0
    """Real seconds added to every answer."""

    save_trap: str = "vendor"
    """Which left-out fields a form save erases: "vendor" (mac, name, notes, type, owner) or "all"."""
    json_single_as_object: bool = True
    """Write a list of one row as an object in JSON, as a mechanical conversion does."""
    iplist_groups: bool = True
    """Heading rows (type=group) in `iplist`."""
    traffic_orig: bool = True
    """Attribute `orig` with exact bytes in the traffic report."""
    burst_both: bool = True
    """Burst in both directions, or one number for both."""
    row_limit: int = 0
    """The "Number of records" of the daemon's account; 0 shows all rows."""
    zone: str = "UTC"
    """Time zone of the panels: where a month begins."""
    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    recipes: tuple[str, ...] = DEFAULT_RECIPES
    resources: tuple[str, ...] = ("in", "out")
    """What the plan that is written for it counts."""

    username: str = "provisiond"
    password: str = "sandbox-pass"  # noqa: S105 - the sandbox holds nothing worth a secret
    host: str = "127.0.0.1"
    dci_port: int = 0
    """0 takes any free port; further DCImanagers always take any."""
    ipm_port: int = 0
    mail_port: int = 0
    now: Now | None = None
    """The base clock, aware UTC; None is real time."""

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> SandboxSettings:
        """Settings from texts, as a command line gives them: numbers, true or false, lists joined by commas.

        `servers` and `pools` are written "E3-1230-16G=4,E5=2". Raises ValueError that names the setting.
        """
        defaults = cls()
        known = {item.name: getattr(defaults, item.name) for item in fields(cls) if item.name != "now"}
        unknown = sorted(set(texts) - set(known))
        if unknown:
            raise ValueError(f"there is no setting {unknown[0]}; there are {', '.join(known)}")
        return cls(**{name: _read(name, text, known[name]) for name, text in texts.items()})


def _read(name: str, text: str, default: object) -> Any:
    """The value of a setting, of the same kind as its default."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, int | float):
            return type(default)(text)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if isinstance(default, Mapping):
            return {key: int(count) for key, _, count in (part.rpartition("=") for part in parts)}
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name}: can't read {text!r}") from error
    return tuple(parts) if isinstance(default, tuple) else text
