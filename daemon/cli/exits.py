"""What the exit codes mean. They are part of the interface: systemd and scripts act on them."""

from __future__ import annotations

from daemon.domain.errors import ConfigError, ProvisiondError

FAILED = 1
SETTINGS = 2
NO_DAEMON = 3
DATABASE = 4
LOCKED = 5
NOT_STARTED = 78

EXITS = {
    0: "all is well",
    FAILED: "refused, or something failed; what, is said",
    SETTINGS: "the command line or the settings are wrong: nothing was done",
    NO_DAEMON: "no daemon answers on the socket",
    DATABASE: "the database can't be used as it is: another version, no tables, no driver",
    LOCKED: "another provisiond works on the same state_dir",
    NOT_STARTED: "`run` can't start on these settings or this database, and starting it again would change nothing",
}

_STARTS_LATER = {"listen": FAILED, "state_locked": LOCKED}
"""What is in the way of a start and may go away by itself: a service manager is right to try again."""
_BY_CODE = {
    "no_database": DATABASE,
    "not_a_database": DATABASE,
    "schema_missing": DATABASE,
    "schema_older": DATABASE,
    "schema_newer": DATABASE,
    "postgres_extra_missing": DATABASE,
    "state_locked": LOCKED,
}


def exit_of(error: ProvisiondError) -> int:
    """The exit code that tells a script what went wrong."""
    if not isinstance(error, ConfigError):
        return FAILED
    return _BY_CODE.get(error.code, SETTINGS)


def exit_of_run(error: ConfigError) -> int:
    """The exit code of a daemon that could not start; the systemd unit ends its starts at `NOT_STARTED`."""
    return _STARTS_LATER.get(error.code, NOT_STARTED)
