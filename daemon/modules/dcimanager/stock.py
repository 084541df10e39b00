"""Which servers are free (docs/reference/contracts.md#free-server), and why the others of that type are not."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.coremanager.documents import Elem
from daemon.modules.base import FreeServer, Stock
from daemon.settings.dcimanager import DcimanagerSettings

_TYPE_FIELDS = {"any": ("chassis_templ", "type"), "chassis_templ": ("chassis_templ",), "type": ("type",)}

_FLAGS = {
    "blocked": "not for sale",
    "hwproblem": "hardware problem",
    "diag_in_progress": "diagnostics are running",
    "install_in_progress": "an install is running",
    "operation_failed": "its last operation failed",
    "disabled": "disabled",
}


def stock_of(rows: Iterable[Elem], server_type: str, settings: DcimanagerSettings) -> Stock:
    """Free servers of a type in the panel's order."""
    free: list[FreeServer] = []
    left_out: dict[str, str] = {}
    for row in rows:
        if server_type not in types_of(row, settings):
            continue
        remote_id = row.text("id") or ""
        reason = why_not_free(row, settings)
        if reason is None:
            free.append(FreeServer(remote_id, row.text("name") or "", row.text("hostname") or "", row.text("ip") or ""))
        else:
            left_out[remote_id] = reason
    return Stock(tuple(free), left_out)


def types_of(row: Elem, settings: DcimanagerSettings) -> frozenset[str]:
    fields = _TYPE_FIELDS[settings.server_type_by]
    return frozenset(text for field in fields if (text := row.text(field)))


def why_not_free(row: Elem, settings: DcimanagerSettings) -> str | None:
    owner = row.text("owner")
    if owner and owner != settings.panel.no_owner:
        return f"owned by {owner}"
    hostname = row.text("hostname") or ""
    if hostname != settings.free_hostname:
        return f"its host name is {hostname or 'empty'}, not {settings.free_hostname}"
    flags = [_FLAGS.get(flag, flag) for flag in settings.panel.unsellable_flags if row.has(flag)]
    return ", ".join(flags) or None
