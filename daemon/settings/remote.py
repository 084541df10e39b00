"""What every configured connection to a panel has: address, login, time limits, TLS."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from daemon.settings.base import About, Faults, SettingsModel, fault
from daemon.settings.types import Credential, Pin, Positive, Size, Text, Url, Whole, Words, format_duration


class TlsSettings(SettingsModel):
    """How the panel's certificate is verified. There is no switch to turn that off."""

    ca_file: Annotated[
        Text | None,
        About(
            "PEM file with the authority that signed it; relative to the folder of provisiond.yaml",
            why="the system's authorities",
            example="dci-ca.pem",
        ),
    ] = None
    pin: Annotated[
        Pin | None,
        About(
            'SHA-256 fingerprint of the certificate itself, "sha256:..."',
            why="an authority signed it",
            example='"sha256:..."',
        ),
    ] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        faults = Faults()
        if self.ca_file and self.pin:
            faults.add(("pin",), "expected either ca_file or pin, not both")
        faults.raise_if_any()
        return self


class RemoteSettings(SettingsModel):
    """A login at a panel of the COREmanager family."""

    url: Annotated[Url, About("full URL of the panel, as its documentation gives it; nothing is added to it")]
    username: Annotated[Text, About("an account of our own, nobody else logs in with it: filters stick to accounts")]
    password: Annotated[Credential, About("its password, as cred:NAME")]
    authinfo: Annotated[
        bool,
        About(
            "send name and password with each call instead of one session",
            why="a session keeps them out of every call; panels may bind it to our address",
        ),
    ] = False
    out: Annotated[
        Literal["xml", "json"],
        About("format of the panel's answers", why="the one every known client of these panels uses"),
    ] = "xml"
    tls: Annotated[
        TlsSettings,
        About(
            'how the panel\'s certificate is verified: {ca_file: FILE} or {pin: "sha256:..."}',
            why="the system's authorities",
            example="{ca_file: panel-ca.pem}",
        ),
    ] = TlsSettings()
    timeout: Annotated[Positive, About("one call, in all", why="what the panel's vendor uses in its own client")] = (
        timedelta(seconds=60)
    )
    settle: Annotated[
        Positive,
        About(
            "how long after sending a lost request may still take effect: timeout and the panel's slowest queueing",
            why="only after it does 'not there' mean that it never arrived",
        ),
        Field(validate_default=True),
    ] = timedelta(seconds=90)
    connections: Annotated[
        Whole,
        About("calls at the same time", why="an administrator's session is a shared resource of the panel"),
        Field(ge=1, le=64),
    ] = 4
    reads_repeated: Annotated[
        Whole,
        About(
            "reads repeated per minute at most, over all that fail",
            unit="reads",
            why="a panel in trouble needs rest",
        ),
    ] = 20
    login_every: Annotated[
        Positive,
        About("how long after a refused login the next one is tried", why="panels lock accounts that try more often"),
    ] = timedelta(minutes=1)
    body_limit: Annotated[
        Size,
        About("largest answer that is read", why="a report of 100 000 servers fits"),
        Field(ge=65536, le=4 * 1024**3),
    ] = 64 * 1024**2
    list_shrink_limit: Annotated[
        Whole,
        About(
            "how much shorter a list may be than the last time, and 'not in the list' is still believed",
            unit="percent",
            why="accounts have row limits and filters that stick: a sudden short list is doubtful",
        ),
        Field(le=100),
    ] = 20
    auth_errors: Annotated[
        Words,
        About(
            "error types that mean a refused login or a missing right",
            why="the module is unhealthy then, its operations wait",
            unverified=True,
        ),
    ] = ("access", "auth", "badpassword")
    empty_pool_errors: Annotated[
        Words,
        About(
            "error types that mean 'no address left' when one is asked for",
            why="waits instead of failing",
            unverified=True,
        ),
    ] = ("limit",)
    missing_errors: Annotated[
        Words,
        About(
            "error types that mean 'no such element': a delete counts as done",
            why="seen in the vendor's code",
            unverified=True,
        ),
    ] = ("missed",)
    family_ipv4: Annotated[Text, About("the panel's word for IPv4 in the field `family`", unverified=True)] = "ipv4"
    family_ipv6: Annotated[Text, About("the panel's word for IPv6 in the field `family`", unverified=True)] = "ipv6"

    @field_validator("settle")
    @classmethod
    def _settle_covers_timeout(cls, settle: timedelta, info: ValidationInfo) -> timedelta:
        timeout = info.data.get("timeout")
        if timeout is not None and settle < timeout:
            told = f"at least the timeout of {format_duration(timeout)}, within which a call may still act"
            fault((), f"expected {told}, got {format_duration(settle)}")
        return settle
