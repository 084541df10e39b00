"""The small types of the YAML: durations, amounts, sizes, secret references, URLs, zones, listen addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, StringConstraints

from daemon.settings.base import refuse

# A name ends up in tables, log lines, file names and metrics: short, lower case, no spaces.
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = (
    {"B": 1}
    | {f"{p}iB": 1024**n for n, p in enumerate("KMGTP", 1)}
    | {f"{p}B": 1000**n for n, p in enumerate("kMGTP", 1)}
)
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}) ?([kKMGTP]i?B|B)", re.ASCII)
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
_SECRET = re.compile(r"cred:([A-Za-z0-9][A-Za-z0-9._-]{0,127})", re.ASCII)
_EMAIL = re.compile(r"[^@\s\x00-\x1f<>,;]{1,64}@[^@\s\x00-\x1f<>,;]{1,255}")
_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_LONGEST = 36_500 * _UNITS["d"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """`cred:NAME`: says where a secret is, never what it is."""

    name: str

    def __str__(self) -> str:
        return f"cred:{self.name}"


class ListenAddress(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(value: Any) -> timedelta:
    """A whole number and a unit: `1m30s` and `1.5h` are refused so that there is one way to write each duration."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    milliseconds = int(match[1]) * _UNITS[match[2]] if match else _LONGEST + 1
    if milliseconds > _LONGEST:
        raise refuse("a duration such as 30s (a whole number and ms, s, m, h or d)")
    return timedelta(milliseconds=milliseconds)


def check_positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise refuse("a duration longer than zero")
    return value


def format_duration(value: timedelta) -> str:
    """The shortest exact spelling, the inverse of `parse_duration`."""
    total = value // timedelta(milliseconds=1)
    for unit in ("d", "h", "m", "s"):
        if total and total % _UNITS[unit] == 0:
            return f"{total // _UNITS[unit]}{unit}"
    return f"{total}ms" if total else "0s"


def parse_amount(value: Any) -> Decimal:
    """Text only: YAML reads an unquoted 1.10 as a binary fraction and has lost the zero, and perhaps more, before we see it."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refuse('an amount in quotes such as "49.00" (write amounts in quotes)')
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise refuse('an amount such as "49.00" (not negative, at most 6 decimals)')
    return Decimal(value)


def parse_size(value: Any) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    unit = match[2] if match else ""
    if match is None or unit not in _SIZES:
        raise refuse("a size such as 64 MiB (a whole number and B, KiB, MiB, GiB, TiB, PiB, kB, MB, GB, TB or PB)")
    number: int = int(match[1]) * _SIZES[unit]
    return number


def format_size(value: int) -> str:
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if value and value % _SIZES[unit] == 0:
            return f"{value // _SIZES[unit]} {unit}"
    return f"{value} B"


def parse_secret(value: Any) -> SecretRef:
    if isinstance(value, SecretRef):
        return value
    match = _SECRET.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        # The loader never shows what came for this one: it may be the secret itself.
        raise refuse("cred:NAME, the name of a credential; secrets do not stand in this file")
    return SecretRef(match[1])


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(value: str) -> str:
    """Https anywhere, plain http only to this machine: a password must not cross a network in the clear."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise refuse("a URL such as https://panel.example.test:1500/dcimgr") from None
    if parts.scheme not in {"http", "https"} or not host or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise refuse("a URL such as https://panel.example.test:1500/dcimgr")
    if parts.username is not None or parts.password is not None:
        raise refuse("a URL without user name and password in it (they have settings of their own)")
    if parts.query or parts.fragment:
        raise refuse("a URL without ? and # parts")
    if parts.scheme == "http" and not is_loopback(host):
        raise refuse("https:// (plain http:// is allowed to loopback addresses only)")
    return value


def parse_zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) < 64:
            return ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # KeyError is ZoneInfoNotFoundError's base
        pass
    raise refuse("a time zone such as UTC or Europe/Berlin")


def parse_listen(value: Any) -> ListenAddress:
    if isinstance(value, ListenAddress):
        return value
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    host, port = (match["v6"] or match["host"], int(match["port"])) if match else ("", -1)
    if not 0 <= port <= 65535:
        raise refuse("an address and a port such as 127.0.0.1:8420 or [::1]:8420")
    if not is_loopback(host):
        raise refuse(
            "a loopback address (127.0.0.1, [::1] or localhost): there is no TLS here, put a TLS proxy in front"
        )
    return ListenAddress(host, port)


def check_pin(value: str) -> str:
    """Colons and case are how tools print it; we keep one spelling."""
    digits = value.removeprefix("sha256:").replace(":", "").lower()
    if not value.startswith("sha256:") or not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise refuse('a fingerprint such as "sha256:" and 64 hexadecimal digits')
    return f"sha256:{digits}"


def check_email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise refuse("a mail address such as noc@example.test")
    return value


def check_text(value: str) -> str:
    """No control characters: these values go into forms, mail headers and log lines."""
    if not value.strip() or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise refuse("text that is not empty and has no control characters")
    return value


def _pattern(pattern: str, expected: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise refuse(expected)
        return value

    return check


Text = Annotated[str, StringConstraints(max_length=1024), AfterValidator(check_text)]
Name = Annotated[
    str, AfterValidator(_pattern(NAME_PATTERN, "a name of lower-case letters, digits, dots, dashes, underscores"))
]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Word = Annotated[
    str, AfterValidator(_pattern(r"[A-Za-z0-9_.\-]{1,64}", "a word of letters, digits, dots, dashes, underscores"))
]
Words = Annotated[tuple[Word, ...], Field(strict=False)]
Currency = Annotated[str, AfterValidator(_pattern(r"[A-Z]{3}", "a currency code of three capital letters such as EUR"))]
Duration = Annotated[timedelta, PlainValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]
Positive = Annotated[Duration, AfterValidator(check_positive)]
Amount = Annotated[Decimal, PlainValidator(parse_amount), PlainSerializer(lambda v: format(v, "f"), return_type=str)]
Size = Annotated[int, PlainValidator(parse_size), PlainSerializer(format_size, return_type=str)]
Credential = Annotated[SecretRef, PlainValidator(parse_secret), PlainSerializer(str, return_type=str)]
Url = Annotated[str, AfterValidator(check_url)]
Zone = Annotated[ZoneInfo, PlainValidator(parse_zone), PlainSerializer(str, return_type=str)]
Listen = Annotated[ListenAddress, PlainValidator(parse_listen), PlainSerializer(str, return_type=str)]
Pin = Annotated[str, AfterValidator(check_pin)]
Email = Annotated[str, AfterValidator(check_email)]
Whole = Annotated[int, Field(ge=0, le=1_000_000_000)]
Share = Annotated[int, Field(ge=0, le=100)]
