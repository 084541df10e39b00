"""The reference page of all settings, produced from the models."""

from __future__ import annotations

from pydantic import BaseModel

from daemon.settings.addons import AddonSettings
from daemon.settings.base import About, about_field
from daemon.settings.daemon import DaemonSettings, DatabaseSettings, DepartmentSettings, MailSettings
from daemon.settings.dcimanager import (
    BurstReport,
    CustomReport,
    DcimanagerSettings,
    PanelNames,
    PowerReport,
    ReportField,
    TrafficReport,
)
from daemon.settings.ipam import IpmanagerSettings
from daemon.settings.kinds import kind_of
from daemon.settings.modules import ManualSettings, ModuleSettings
from daemon.settings.plans import PlanSettings, ResourceSettings
from daemon.settings.prices import PriceSettings
from daemon.settings.remote import RemoteSettings, TlsSettings
from daemon.settings.resources import ResourceDeclaration
from daemon.settings.yamltext import defaults, is_type, ordered, yaml_text

_INTRO = """\
# Settings

Made from the models by `python -m daemon.settings.render`; a test fails when this page and the models differ.

`provisiond --config FILE` names `provisiond.yaml` (by default `/etc/provisiond/provisiond.yaml`). Beside it lie the folders
`modules.d`, `ipam.d` and `plans.d`, one YAML file for each module, address manager and plan, in any order. `provisiond check` reads
them all and shows every problem at once, with file, line and column.

- **duration**: a whole number and `ms`, `s`, `m`, `h` or `d`, such as `90s`.
- **amount**: digits in quotes, at most 6 decimals, such as `"49.00"`.
- **size**: a whole number and `B`, `KiB`, `MiB`, `GiB`, `TiB`, `PiB` (or `kB`, `MB` ... of 1000), such as `64 MiB`.
- **quantity**: a number and a unit, such as `10 TiB`, `1.5 GB` or `10 Gbit/s`; the units are listed under [resources](#resources).
- **`cred:NAME`**: a secret never stands in a file; NAME is a file in the folder that systemd gives (`CREDENTIALS_DIRECTORY`),
  else in `credentials_dir`, there with mode 0600.
- **URL**: `https://`; plain `http://` to loopback addresses only.
- Relative paths start at the folder of `provisiond.yaml`.
- *unverified*: no live panel has confirmed this default; see [contracts](contracts.md). `provisiond module probe NAME` says which of
  them yours confirms.
- *later*: accepted, but not acted on in this release.
"""

_ADDONS = """\
By internal name. `ip` (all public IPv4 addresses, the main one included), `ipv6` and `privateip` are numbers; `ostempl`, `recipe` and
`special_ip_block_<type>` are choices. With `special_ip_block_<type>` the main address comes from the address type `<type>`: when the
value is `<type>`, and always with billing `do_not_count`. The other names that these panels know (`panel`, `ns`, `bandwidth`,
`portspeed`, `ncpu`, `cpu`, `ram`, `hdd_1` to `hdd_12`, `pci_1` to `pci_4`) are accepted with billing `do_not_count` or `included` only:
ordering them comes later. An add-on without prices costs nothing; one with prices has them in every currency of the plan."""

_RESOURCES = """\
One block for each resource of your own, by its code. Built in are `in`, `out`, `power`, `energy`, `burst_in_day`, `burst_out_day`,
`addresses`, `services`, `active_calls`, `concurrent_calls` and `pbx_extensions`; their names can't be taken. Units are `B`, `KB` to `PB`
(steps of 1000), `KiB` to `PiB` (of 1024), `bit/s` to `Tbit/s` (of 1000), `us`, `ms`, `s`, `min`, `h`, `d`, `mW` to `MW`, `uWh` to `MWh`, `mWs`,
`Ws`, `addresses`, `services`, `calls`, `extensions` and `items`."""

# (heading, introduction, model, fields told elsewhere)
_SECTIONS: tuple[tuple[str, str, type[BaseModel], type[BaseModel] | None], ...] = (
    ("## provisiond.yaml", "The daemon itself.", DaemonSettings, None),
    ("### database", "The word `sqlite`, or a block:", DatabaseSettings, None),
    ("### departments", "One block for each name:", DepartmentSettings, None),
    ("### resources", _RESOURCES, ResourceDeclaration, None),
    ("### mail", "Without this block no mail is sent.", MailSettings, None),
    ("## modules.d: every module", "What modules of all types have.", ModuleSettings, None),
    (
        "## modules.d: type dcimanager",
        "A DCImanager 5; beside these, the settings of every module and of a panel.",
        DcimanagerSettings,
        ModuleSettings,
    ),
    ("### panel", "Functions, fields and words of DCImanager.", PanelNames, None),
    (
        "### traffic",
        "The traffic report: per server a running total of the panel's calendar month.",
        TrafficReport,
        None,
    ),
    ("### burst", "Where burstable bandwidth comes from, and the panel's report of it.", BurstReport, None),
    ("### power", "The report of power consumption.", PowerReport, None),
    ("### reports", "A list of other reports of the panel, each a block:", CustomReport, None),
    ("#### fields", "One block for each resource that is read:", ReportField, None),
    (
        "## modules.d: type manual",
        "A person is the platform; beside these, the settings of every module.",
        ManualSettings,
        ModuleSettings,
    ),
    ("## ipam.d: type ipmanager", "An IPmanager 5; beside these, the settings of a panel.", IpmanagerSettings, None),
    (
        "## A panel: dcimanager and ipmanager",
        "Login, time limits and TLS of every connection to a panel.",
        RemoteSettings,
        None,
    ),
    ("### tls", "How the panel's certificate is verified; it can't be switched off.", TlsSettings, None),
    ("## plans.d", "A tariff plan: what is sold. Changing it never changes what was sold before.", PlanSettings, None),
    (
        "### addons",
        _ADDONS,
        AddonSettings,
        None,
    ),
    ("### prices", "By currency; the same in add-ons.", PriceSettings, None),
    ("### resources of a plan", "By code; `{}` counts it.", ResourceSettings, None),
)


def reference_page() -> str:
    parts = [_INTRO]
    for heading, text, model, elsewhere in _SECTIONS:
        parts.append(f"{heading}\n\n{text}\n")
        parts.append(_table(model, elsewhere))
    return "\n".join(parts)


def _table(model: type[BaseModel], elsewhere: type[BaseModel] | None) -> str:
    lines = ["| setting | takes | default | what it is |", "|---|---|---|---|"]
    written = defaults(model)
    told: set[str] = set()
    for base in (elsewhere, RemoteSettings if model is not RemoteSettings else None):
        if base is not None and issubclass(model, base):
            told |= {name for name in base.model_fields if about_field(base, name) == about_field(model, name)}
    for attribute, name, info in ordered(model):
        if attribute in told:
            continue
        about = about_field(model, attribute) or About("")
        default = "required" if info.is_required() or is_type(info) else _default(written.get(name))
        lines.append(
            f"| `{name}` | {_cell(kind_of(info.annotation, info.metadata))} | {default} | {_cell(_words(about, absent=not default))} |"
        )
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    return "" if value is None or value == {} or isinstance(value, dict) else f"`{yaml_text(value)}`"


def _words(about: About, *, absent: bool) -> str:
    text = about.text[0].upper() + about.text[1:] + (f", in {about.unit}" if about.unit else "")
    text += f"; {'without it' if absent else 'why'}: {about.why}" if about.why else ""
    marks = [word for word, on in (("unverified", about.unverified), ("later", about.later)) if on]
    return text + "." + "".join(f" *{mark}*" for mark in marks)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
