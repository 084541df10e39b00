"""The contract of a processing module.

A module talks to its platform and nothing else: it does not retry, sleep, read the clock, touch the database or know a price.
Every method does one thing on the platform and returns, or raises one of `daemon.domain.errors` (Temporary: surely not done;
Uncertain: sent, answer unknown; Permanent; Capacity; Unhealthy), or `PersonNeeded` where a person is the platform.

The workflow decides what has been done by reading: each change has its counterpart in `ServerView`, so that one `read` is the
probe of every step. Verbs are "make it so": called again they do no harm, and what is already so is success.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from daemon.domain.platform import Finding, PlatformReport


class Part(StrEnum):
    """What a reading of one server costs: ask only for what the question needs."""

    ROW = "row"
    """Owner's name, host name, main address, power and flags: from the platform's list of servers."""
    FORM = "form"
    """Owner's id and our marks: the server's edit form."""
    ADDRESSES = "addresses"
    CONNECTIONS = "connections"
    SYSTEM = "system"
    """The operating system the platform says is installed."""


class Power(StrEnum):
    ON = "on"
    OFF = "off"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RemoteAddress:
    """An address as the platform lists it on a server."""

    remote_id: str
    address: str
    name: str
    """The host name set on it."""


@dataclass(frozen=True)
class ServerView:
    """One reading of one server. A field whose part was not asked for holds its default."""

    remote_id: str
    hostname: str = ""
    main_address: str = ""
    server_types: frozenset[str] = frozenset()
    """The types it is sold as (part ROW)."""
    owner_name: str = ""
    """Name of the owner; "" when nobody owns it (part ROW)."""
    owner_id: str | None = None
    """The platform's id of the owner; None when nobody owns it (part FORM)."""
    marks: frozenset[str] = frozenset()
    """Keys of ours found in the server's notes (part FORM)."""
    addresses: tuple[RemoteAddress, ...] = ()
    power: Power = Power.UNKNOWN
    enabled: bool = True
    installing: bool = False
    failed: bool = False
    """The last operation on it failed."""
    diagnosing: bool = False
    busy: bool = False
    """A connection of it is being switched (part CONNECTIONS)."""
    system: str = ""
    """Template id of the installed operating system (part SYSTEM)."""

    def address(self, address: str) -> RemoteAddress | None:
        return next((a for a in self.addresses if a.address == address), None)


@dataclass(frozen=True)
class FreeServer:
    remote_id: str
    label: str
    hostname: str
    main_address: str


@dataclass(frozen=True)
class Stock:
    """Free servers of one type, in the platform's order; `left_out` says why others of that type don't count (id -> reason)."""

    free: tuple[FreeServer, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Owner:
    """A user of the platform. `created` is false when it was there before us: its password is not ours to tell."""

    remote_id: str
    name: str
    created: bool


@dataclass(frozen=True)
class Install:
    """What to install. `password` is the derived root password and never appears in a log or an error."""

    template: str
    recipe: str | None
    hostname: str
    address: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Report:
    """One bulk report that a platform can be asked for, and the codes of the resources that it gives.

    The report named `traffic` gives `in` and `out`: running totals, with which a service begins and ends (baseline and last reading).
    """

    name: str
    resources: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """One bulk reading of one report, of all servers: what it gives, in whole base units of `daemon/domain/resources.py`.

    A server that is not in `values` of a resource has no reading of it, which is not zero. `problems` tells, as sentences, what
    was there but could not be read.
    """

    at: datetime
    """The platform's clock is not asked: the caller's moment just before the call, put in by the caller."""
    values: Mapping[str, Mapping[str, int]]
    """Code of a resource -> the platform's id of a server -> quantity; each resource of the report is in it."""
    problems: tuple[str, ...] = ()
    hostnames: Mapping[str, str] = field(default_factory=dict)
    """Id of a server -> the host name in its row, where the report has one."""


class PersonNeeded(Exception):
    """A step that a person does. Becomes a task of the module's department; its result is the step's result.

    `wants` maps each field of the result to a sentence that says what to enter; a field whose sentence ends in "(optional)"
    may be left out. `preset` holds the values that are known already.
    """

    def __init__(
        self,
        title: str,
        instructions: str,
        *,
        wants: Mapping[str, str] | None = None,
        preset: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(title)
        self.title = title
        self.instructions = instructions
        self.wants = dict(wants or {})
        self.preset = dict(preset or {})


class ProcessingModule(Protocol):
    """A configured connection to a platform that can carry services."""

    name: str
    install_shows_within: timedelta
    """How long the platform may take to show a running install; zero where nothing can be watched."""
    install_at_least: timedelta
    """An install that ran for less, of the system that was there before, is no install: the platform may have forgotten it."""
    by_hand: bool
    """True when a person is the platform: nothing can be read, waits and probes are answered by closed tasks."""
    parks: bool
    """True when a free server's main address is a parking address."""

    async def close(self) -> None: ...

    async def check(self) -> PlatformReport:
        """Log in and say what is missing. Raises Temporary or Unhealthy when it can't be asked at all."""
        ...

    async def probe(self) -> tuple[Finding, ...]:
        """Compare unverified settings with the live platform, by read-only calls."""
        ...

    async def stock(self, server_type: str) -> Stock: ...

    async def read(self, remote_id: str, parts: Collection[Part]) -> ServerView | None:
        """A fresh reading that began after this call; None only when the platform surely says that there is no such server.

        Raises Temporary where a short or shrunken list makes absence doubtful.
        """
        ...

    # marks and owner ------------------------------------------------------------------------------------------------------

    async def own_id(self) -> str:
        """The platform's id of the user the daemon works as: owner of reserved servers."""
        ...

    async def reserve(self, remote_id: str, key: str) -> None:
        """Make ourselves the owner and add one line with `key` to the notes. Raises ServerTaken when it isn't free any more."""
        ...

    async def unreserve(self, remote_id: str, key: str, owners: Collection[str]) -> None:
        """Take our line out of the notes, and the owner away if it is one of `owners` (ids): nothing else is ours to clear."""
        ...

    def owner_name(self, customer_id: int) -> str:
        """The name of a customer's user on this platform: one user for all servers of a customer."""
        ...

    async def find_owner(self, name: str) -> Owner | None: ...

    async def create_owner(self, name: str, password: str) -> Owner:
        """A platform user for a customer. One that exists already is returned with `created` false."""
        ...

    async def hand_over(self, remote_id: str, owner_id: str) -> None: ...

    # addresses --------------------------------------------------------------------------------------------------------------

    async def put_address(
        self, remote_id: str, address: str, address_type: str, family: str, hostname: str
    ) -> None: ...

    async def remove_address(self, remote_id: str, address: RemoteAddress) -> None: ...

    async def set_main_address(self, remote_id: str, address: str) -> None: ...

    async def set_hostname(self, remote_id: str, addresses: Collection[RemoteAddress], hostname: str) -> None:
        """Set `hostname` on each of `addresses`; those that carry it already are left alone."""
        ...

    @property
    def free_hostname(self) -> str:
        """The host name that says "free" on this platform."""
        ...

    # power and system -------------------------------------------------------------------------------------------------------

    async def enable(self, remote_id: str) -> None: ...

    async def power_on(self, remote_id: str) -> None: ...

    async def power_off(self, remote_id: str) -> None: ...

    async def install(self, remote_id: str, install: Install) -> None: ...

    async def cancel_install(self, remote_id: str) -> None: ...

    # statistics -------------------------------------------------------------------------------------------------------------

    def reports(self) -> tuple[Report, ...]:
        """What can be asked for, by settings alone. No resource is in two of them; none at all where nothing is measured."""
        ...

    async def measure(self, report: str, at: datetime) -> Measurement:
        """One of `reports()`, of all servers in one call; `at` becomes the measurement's time.

        Raises Permanent `no_report` for a name that is not among them.
        """
        ...
