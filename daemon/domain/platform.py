"""What a look at an outside platform brought to light; shared by every family of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PlatformReport:
    """What `check` found: the version as the platform says it (or ""), what is missing, what was learnt."""

    version: str
    problems: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One unverified setting against the live platform: `verdict` is confirmed, contradicted or unknown."""

    setting: str
    value: str
    verdict: str
    detail: str
