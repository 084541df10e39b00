"""What a live panel says about our settings, by read-only calls: `check` before work, `probe` for the unverified ones."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from daemon.coremanager.documents import Elem
from daemon.coremanager.errors import PanelError
from daemon.coremanager.forms import Form
from daemon.domain.platform import Finding, PlatformReport
from daemon.modules.dcimanager.client import SERVER_FORM, DciClient

CONFIRMED, CONTRADICTED, UNKNOWN = "confirmed", "contradicted", "unknown"
NEEDED = {"server": "server", "osmgr": "OS template"}
"""Lists without which nothing can be sold, and what is in them."""


async def check(panel: DciClient) -> PlatformReport:
    """Log in, read the lists that every order needs. The panel tells no version over this protocol."""
    await panel.core.log_in()
    problems: list[str] = []
    facts: dict[str, str] = {}
    for func, label in (("server", "servers"), ("user", "users"), ("osmgr", "templates")):
        try:
            listing = await panel.core.list(func)
        except PanelError as error:
            problems.append(f"{label} can't be listed: {error.message}")
            continue
        facts[label] = str(len(listing.rows))
        if listing.doubt:
            problems.append(f"the list of {label} is short: {listing.doubt}")
        if func == "user" and listing.find("name", panel.settings.username) is None:
            problems.append(f"the user {panel.settings.username} is not in the list of users: it needs more rights")
        if func in NEEDED and not listing.rows:
            problems.append(f"there is no {NEEDED[func]}, or none that this user may see")
    return PlatformReport("", tuple(problems), facts)


async def probe(panel: DciClient) -> tuple[Finding, ...]:
    """One server is looked at closely; a panel without servers leaves most findings unknown."""
    rows = (await panel.servers()).rows
    findings = [_types(panel, rows)]
    row = next((row for row in rows if row.text("ip")), rows[0] if rows else None)
    if row is not None and (remote_id := row.text("id")):
        findings += _form_fields(panel, row, await panel.core.form(SERVER_FORM, remote_id))
        findings += await _addresses(panel, remote_id, row.text("ip") or "")
        findings.append(await _system(panel, remote_id))
    findings += await _traffic(panel)
    findings += await _power(panel)
    if panel.settings.burst.source == "panel":
        findings += await _burst(panel)
    return tuple(findings)


def _types(panel: DciClient, rows: list[Elem]) -> Finding:
    used = [field for field in ("chassis_templ", "type") if any(row.text(field) for row in rows)]
    wanted = panel.settings.server_type_by
    verdict = UNKNOWN if not rows else CONFIRMED if (wanted == "any" and used) or wanted in used else CONTRADICTED
    return Finding("server_type_by", wanted, verdict, f"servers carry: {', '.join(used) or 'no type'}")


def _form_fields(panel: DciClient, row: Elem, form: Form) -> list[Finding]:
    names = panel.names
    findings = [
        _present("panel.owner_field", names.owner_field, form),
        _present("panel.notes_field", names.notes_field, form),
    ]
    field = names.main_address_field
    if names.main_address_function != SERVER_FORM:
        detail = f"{names.main_address_function} is not tried"
        findings.append(Finding("panel.main_address_field", field, UNKNOWN, detail))
    elif not form.has(field):
        findings.append(_present("panel.main_address_field", field, form))
    else:
        same = form.get(field) == row.text("ip")
        detail = (
            "it holds the main address of the list" if same else "it holds something else than the list's main address"
        )
        findings.append(Finding("panel.main_address_field", field, CONFIRMED if same else CONTRADICTED, detail))
    return findings


def _present(setting: str, field: str, form: Form) -> Finding:
    if form.has(field):
        return Finding(setting, field, CONFIRMED, f"{form.func} has it")
    return Finding(setting, field, CONTRADICTED, f"{form.func} has: {', '.join(sorted(form.fields)) or 'no field'}")


async def _addresses(panel: DciClient, remote_id: str, main: str) -> list[Finding]:
    listing, addresses = await panel.addresses(remote_id)
    if not addresses:
        return [Finding("panel.hostname_field", panel.names.hostname_field, UNKNOWN, "the server has no address")]
    field = panel.names.hostname_field
    named = any(row.has(field) for row in listing if row.text("type") != "group")
    inside = any(address.address == main for address in addresses)
    return [
        Finding("panel.hostname_field", field, CONFIRMED if named else CONTRADICTED, "looked for in iplist"),
        Finding(
            "panel.main_address_function",
            panel.names.main_address_function,
            UNKNOWN if inside else CONTRADICTED,
            "the main address is in iplist; changing it is not tried"
            if inside
            else "the main address is not in iplist",
        ),
    ]


async def _system(panel: DciClient, remote_id: str) -> Finding:
    field = panel.names.installed_system_field
    form = await panel.core.form("server.operations", remote_id)
    return _present("panel.installed_system_field", field, form)


async def _traffic(panel: DciClient) -> list[Finding]:
    report = panel.settings.traffic
    try:
        doc = await panel.report(report.function, report.period)
    except PanelError as error:
        return [Finding("traffic.period", report.period, CONTRADICTED, error.message)]
    rows = [row for row in doc.report_rows() if row.find(report.id_field) is not None]
    if not rows:
        return [Finding("traffic.period", report.period, UNKNOWN, "the report has no rows")]
    exact = all(
        (element := row.find(field)) is not None and element.get("orig")
        for row in rows
        for field in (report.rx_field, report.tx_field)
    )
    detail = "rows carry exact bytes (orig)" if exact else "there are rows without exact bytes (orig)"
    verdict = CONFIRMED if exact or report.text_unit else CONTRADICTED
    return [
        Finding("traffic.period", report.period, CONFIRMED, f"{len(rows)} rows"),
        Finding("traffic.text_unit", report.text_unit or "none", verdict, detail),
        Finding("traffic.swap", "true" if report.swap else "false", UNKNOWN, "compare one server with its switch port"),
    ]


async def _power(panel: DciClient) -> list[Finding]:
    report = panel.settings.power
    try:
        doc = await panel.report(report.function, report.period)
    except PanelError as error:
        return [Finding("power.function", report.function, CONTRADICTED, error.message)]
    rows = [row for row in doc.report_rows() if row.find(report.id_field) is not None]
    if not rows:
        return [Finding("power.function", report.function, UNKNOWN, "the report has no rows")]
    return [
        Finding("power.function", report.function, CONFIRMED, f"{len(rows)} rows"),
        _in_rows("power.field", report.field, rows),
        Finding("power.unit", report.unit, UNKNOWN, "compare one server with its meter"),
    ]


async def _burst(panel: DciClient) -> list[Finding]:
    report = panel.settings.burst
    try:
        doc = await panel.report(report.function, report.period)
    except PanelError as error:
        return [Finding("burst.period", report.period, CONTRADICTED, error.message)]
    rows = [row for row in doc.report_rows() if row.find(report.id_field) is not None]
    if not rows:
        return [Finding("burst.period", report.period, UNKNOWN, "the report has no rows")]
    fields = (("in_field", report.in_field), ("out_field", report.out_field), ("both_field", report.both_field))
    found = [_in_rows(f"burst.{setting}", field, rows) for setting, field in fields]
    if any(each.verdict == CONFIRMED for each in found):  # either kind will do
        found = [each for each in found if each.verdict == CONFIRMED]
    return [Finding("burst.period", report.period, CONFIRMED, f"{len(rows)} rows"), *found]


def _in_rows(setting: str, field: str, rows: list[Element]) -> Finding:
    having = sum(row.find(field) is not None for row in rows)
    return Finding(setting, field, CONFIRMED if having else CONTRADICTED, f"{having} of {len(rows)} rows have it")
