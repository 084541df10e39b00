"""`provisiond.yaml`: the daemon itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from daemon.domain.resources import RESOURCES
from daemon.settings.base import About, Faults, SettingsModel, fault, refuse
from daemon.settings.resources import ResourceDeclaration
from daemon.settings.types import (
    Credential,
    Duration,
    Email,
    Listen,
    ListenAddress,
    Name,
    Positive,
    Share,
    Text,
    Url,
    Whole,
    format_duration,
    is_loopback,
)


class DatabaseSettings(SettingsModel):
    """Where the daemon keeps what it knows: `sqlite`, or a PostgreSQL server."""

    url: Annotated[
        str | None,
        About("PostgreSQL database, without a password in it", why="SQLite, in state_dir/provisiond.db"),
    ] = None
    password: Annotated[
        Credential | None, About("its password", why="peer or certificate login", example="cred:db")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        if value == "sqlite":
            return {}
        if not isinstance(value, cls) and not (isinstance(value, dict) and "url" in value):
            raise refuse("sqlite or {url: postgresql://user@host/name, password: cred:NAME}")
        return value

    @field_validator("url")
    @classmethod
    def _postgresql(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            password, _ = parts.password, parts.port
        except ValueError:
            raise refuse("a URL such as postgresql://user@host/name") from None
        if parts.scheme not in {"postgresql", "postgres"} or len(parts.path) < 2:
            raise refuse("a URL such as postgresql://user@host/name")
        if password is not None or "password=" in parts.query:
            raise refuse("a URL without a password in it (the setting password takes cred:NAME)")
        return value

    @property
    def is_sqlite(self) -> bool:
        return self.url is None


class DepartmentSettings(SettingsModel):
    """Who gets a task when a person must act."""

    email: Annotated[Email | None, About("where its tasks are mailed to", why="tasks are only shown")] = None


class MailSettings(SettingsModel):
    """The server that takes our mail. Without this block no mail is sent."""

    host: Annotated[Text, About("name or address of the mail server")]
    port: Annotated[int, About("its port", why="the port of mail relays"), Field(ge=1, le=65535)] = 25
    sender: Annotated[Email, About("the From address of our mail"), Field(alias="from")]
    username: Annotated[
        Text | None, About("its login", why="no login, as a relay on this machine needs none", example="provisiond")
    ] = None
    password: Annotated[Credential | None, About("password of the login", why="no login", example="cred:mail")] = None
    encryption: Annotated[
        Literal["none", "starttls", "tls"] | None,
        About(
            "how the way to it is encrypted: none, starttls or tls",
            why="none to this machine, starttls to any other",
            example="starttls",
        ),
    ] = None
    timeout: Annotated[Positive, About("one delivery, in all", why="a relay that takes longer is as good as down")] = (
        timedelta(seconds=30)
    )

    @property
    def security(self) -> Literal["none", "starttls", "tls"]:
        """What is really used."""
        return self.encryption or ("none" if is_loopback(self.host) else "starttls")

    @model_validator(mode="after")
    def _login(self) -> Self:
        faults = Faults()
        if (self.username is None) != (self.password is None):
            faults.add(("username",) if self.username else ("password",), "username and password go together")
        if self.password is not None and self.security == "none" and not is_loopback(self.host):
            faults.add(("encryption",), "expected starttls or tls: a password must not cross a network in the clear")
        faults.raise_if_any()
        return self


class DaemonSettings(SettingsModel):
    """The daemon itself."""

    listen: Annotated[
        Listen,
        About(
            "address and port of the HTTP API; loopback only, port 0 takes a free one",
            why="there is no TLS here: put a TLS proxy in front to be reached from elsewhere",
        ),
    ] = ListenAddress("127.0.0.1", 8420)
    state_dir: Annotated[
        Path,
        About(
            "database, socket and master key; relative to this file's folder; STATE_DIRECTORY wins over it",
            why="where systemd puts the state of a service",
        ),
        Field(strict=False),
    ] = Path("/var/lib/provisiond")
    credentials_dir: Annotated[
        Path,
        About(
            "files that cred:NAME names, mode 0600; relative to this file's folder; CREDENTIALS_DIRECTORY wins over it",
            why="used where systemd's LoadCredential isn't",
        ),
        Field(strict=False),
    ] = Path("credentials")
    database: Annotated[
        DatabaseSettings,
        About(
            "the word sqlite, or {url: postgresql://user@host/name, password: cred:db}",
            why="SQLite needs nothing installed and is enough for one node",
        ),
    ] = DatabaseSettings.model_construct()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        About("what is logged: debug, info, warning or error", why="info tells each step of each operation once"),
    ] = "info"
    poll_every: Annotated[
        Positive,
        About(
            "how often the reports are read from every module", why="the step in which switches and panels collect them"
        ),
    ] = timedelta(minutes=5)
    resources: Annotated[
        dict[Name, ResourceDeclaration],
        About(
            "resources of your own, by code, beside the built-in ones; a module's reports or pushed usage give their readings",
            why="the built-in ones only",
            example="{gpu_power: {unit: W, kind: gauge}}",
        ),
    ] = Field(default_factory=dict)
    samples_keep: Annotated[
        Positive, About("how long samples are kept", why="a quarter and a week to argue about a bill")
    ] = timedelta(days=100)
    evidence_keep: Annotated[
        Positive,
        About(
            "how long samples are kept that a usage record rests on; at least samples_keep",
            why="a year and a month",
        ),
        Field(validate_default=True),
    ] = timedelta(days=400)
    grace: Annotated[
        Duration,
        About(
            "how long after its end, and after its last reading could have come, a period is closed",
            why="late corrections of a panel arrive within the hour",
        ),
    ] = timedelta(hours=2)
    coverage_least: Annotated[
        Share,
        About(
            "least share of a period that readings must cover; a usage record with less waits for a person",
            unit="%",
            why="a day and a half of a month may be missing",
        ),
    ] = 95
    coverage_alert: Annotated[
        Share,
        About(
            "share of the running period that readings must cover; operators are told of services with less",
            unit="%",
            why="before bills are held back",
        ),
    ] = 99
    public_url: Annotated[
        Url | None,
        About(
            "where customers reach us; start of one-time access links",
            why="http:// and the address of listen",
        ),
    ] = None
    departments: Annotated[
        dict[Name, DepartmentSettings],
        About(
            "who gets a task when a person must act; a module names one as `responsible`",
            why="tasks are shown, but mailed to nobody",
        ),
    ] = Field(default_factory=dict)
    mail: Annotated[MailSettings | None, About("the server that takes our mail", why="no mail is sent")] = None
    node: Annotated[
        Name | None,
        About(
            "name of this node; must differ between nodes on one database",
            why="the machine's host name",
            example="node-1",
        ),
    ] = None
    slots: Annotated[
        Whole,
        About(
            "operations that move at the same time on this node", unit="legs", why="panels, not we, are the slow part"
        ),
        Field(ge=1, le=1000),
    ] = 16
    lease: Annotated[
        Positive,
        About(
            "how long a node that fell silent keeps its work before another takes it over",
            why="several missed heartbeats, and still a takeover within half a minute",
        ),
    ] = timedelta(seconds=20)
    heartbeat: Annotated[
        Positive,
        About(
            "how often a node renews its lease; at most a third of it", why="two may be lost before the lease lapses"
        ),
        Field(validate_default=True),
    ] = timedelta(seconds=5)
    sweep_every: Annotated[
        Positive,
        About(
            "how often work that is due and that nobody moves is looked for",
            why="a forgotten timer costs seconds, not hours",
        ),
    ] = timedelta(seconds=2)
    leg_within: Annotated[
        Positive,
        About(
            "time limit of one leg of an operation; its step is looked at again afterwards",
            why="longer than any few calls",
        ),
    ] = timedelta(minutes=10)

    @field_validator("state_dir", "credentials_dir", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        if not isinstance(value, str | Path) or not str(value) or "\x00" in str(value):
            raise refuse("a folder")
        if str(value).startswith("~"):
            # Whose home it would be depends on who starts the daemon: root for a command, a service account for systemd.
            raise refuse("a folder without ~, which is not expanded here")
        return value

    @field_validator("resources")
    @classmethod
    def _not_a_built_in_one(cls, resources: dict[str, ResourceDeclaration]) -> dict[str, ResourceDeclaration]:
        faults = Faults()
        for code in resources:
            if code in RESOURCES:
                faults.add((code,), "is a built-in resource; choose another name")
        faults.raise_if_any()
        return resources

    @field_validator("evidence_keep")
    @classmethod
    def _evidence_stays_longest(cls, evidence_keep: timedelta, info: ValidationInfo) -> timedelta:
        least = info.data.get("samples_keep")
        if least is not None and evidence_keep < least:
            fault(
                (), f"expected at least samples_keep ({format_duration(least)}), got {format_duration(evidence_keep)}"
            )
        return evidence_keep

    @field_validator("heartbeat")
    @classmethod
    def _beats_thrice(cls, heartbeat: timedelta, info: ValidationInfo) -> timedelta:
        lease = info.data.get("lease")
        if lease is not None and heartbeat * 3 > lease:
            most = format_duration(lease / 3)
            fault((), f"expected at most a third of lease ({most}), got {format_duration(heartbeat)}")
        return heartbeat

    @property
    def link_base(self) -> str:
        """What one-time access links start with, without a slash at the end."""
        return (self.public_url or f"http://{self.listen}").rstrip("/")
