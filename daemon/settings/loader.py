"""The YAML of a daemon -> one frozen `Settings`, or every problem at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from daemon.domain.errors import ConfigError
from daemon.domain.resources import RESOURCES, Kind, Resource
from daemon.settings.daemon import DaemonSettings
from daemon.settings.dcimanager import MODULE_TYPES, DcimanagerSettings
from daemon.settings.ipam import IPAM_TYPES, IpamSettings
from daemon.settings.modules import ModuleSettings
from daemon.settings.plans import PlanSettings, resource_faults
from daemon.settings.problems import Problem, SettingsError
from daemon.settings.remote import RemoteSettings
from daemon.settings.resources import READ, catalogue, unit_fault
from daemon.settings.secrets import Credentials, secret_refs
from daemon.settings.tree import Node, read_tree
from daemon.settings.validate import nearest, problem_at, validate

MAX_FILES = 2000
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Settings:
    """Everything an admin set. Paths in it are absolute."""

    file: Path
    daemon: DaemonSettings
    modules: tuple[ModuleSettings, ...]
    ipams: tuple[IpamSettings, ...]
    plans: tuple[PlanSettings, ...]
    credentials: Credentials
    resources: Mapping[str, Resource] = field(default_factory=lambda: RESOURCES)
    """Every resource by its code: the built-in ones and those that are declared."""
    warnings: tuple[Problem, ...] = ()

    @property
    def base(self) -> Path:
        """The folder of `provisiond.yaml`, where relative paths start."""
        return self.file.parent

    def module(self, name: str) -> ModuleSettings | None:
        return next((module for module in self.modules if module.name == name), None)

    def ipam(self, name: str) -> IpamSettings | None:
        return next((ipam for ipam in self.ipams if ipam.name == name), None)

    def plan(self, name: str) -> PlanSettings | None:
        return next((plan for plan in self.plans if plan.name == name), None)


@dataclass(frozen=True)
class _File:
    """A file that was read: what it holds and where each thing stands."""

    shown: str
    root: Node
    model: Any

    @property
    def name(self) -> str:
        """The name a file gives itself; known even where the rest of the file is wrong."""
        name = self.root.data.get("name")
        return name if isinstance(name, str) else ""

    def problem(self, *place: str | int, message: str, key: bool = False) -> Problem:
        """At the value of `place`; with `key`, at its name."""
        return problem_at(self.root, self.shown, place, message, key=key)


@dataclass
class _Findings:
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def load(
    path: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    module_types: Mapping[str, type[ModuleSettings]] | None = None,
    ipam_types: Mapping[str, type[IpamSettings]] | None = None,
    check_credentials: bool = True,
) -> Settings:
    """Read `provisiond.yaml` and the folders beside it.

    `module_types` and `ipam_types` add the types of outside plugins to our own. Raises `SettingsError`, a `ConfigError` whose
    `problems` hold everything that is wrong, sorted by place.
    """
    findings = _Findings()
    folder = path.parent
    main = _read(path, DaemonSettings, findings)
    modules = _read_folder(folder / "modules.d", {**MODULE_TYPES, **(module_types or {})}, findings)
    ipams = _read_folder(folder / "ipam.d", {**IPAM_TYPES, **(ipam_types or {})}, findings)
    plans = _read_folder(folder / "plans.d", PlanSettings, findings)
    for files in (modules, ipams, plans):
        _unique(files, findings)
    _check_modules(modules, ipams, findings)
    _check_plans(plans, modules, findings)
    resources = catalogue(main.model.resources if main and main.model else {})
    if main and main.model:  # else every resource of your own would seem unknown
        _check_reports(modules, resources, findings)
        _check_resources(plans, resources, findings)
    daemon = _place_folders(main.model if main and main.model else DaemonSettings(), folder, environ)
    credentials = Credentials.choose(daemon.credentials_dir, environ)
    if check_credentials and main and main.model:
        _check_credentials([main, *modules, *ipams], credentials, findings)
    if findings.problems:
        raise SettingsError(findings.problems)
    _warn(main, modules, findings)
    return Settings(
        file=path.absolute(),
        daemon=daemon,
        modules=tuple(_with_ca_file(file.model, folder).knowing(resources) for file in modules),
        ipams=tuple(_with_ca_file(file.model, folder) for file in ipams),
        plans=tuple(file.model for file in plans),
        credentials=credentials,
        resources=resources,
        warnings=tuple(sorted(findings.warnings)),
    )


def _read(path: Path, model: type[BaseModel] | Mapping[str, type[BaseModel]], findings: _Findings) -> _File | None:
    shown = str(path)
    root, problems = read_tree(path, shown)
    findings.problems.extend(problems)
    if root is None:
        return None
    chosen = model if isinstance(model, type) else _by_type(root, shown, model, findings)
    if chosen is None:
        return _File(shown, root, None)
    value, problems = validate(chosen, root, shown)
    findings.problems.extend(problems)
    return _File(shown, root, value)


def _by_type(
    root: Node, shown: str, types: Mapping[str, type[BaseModel]], findings: _Findings
) -> type[BaseModel] | None:
    """Which plugin a file is for: nothing else in it can be judged before that."""
    kind = root.data.get("type")
    if isinstance(kind, str) and kind in types:
        return types[kind]
    known = ", ".join(sorted(types))
    if "type" not in root.items:
        message = f"is required, one of: {known}"
    else:
        near = nearest(kind, list(types)) if isinstance(kind, str) else None
        hint = f'; did you mean "{near}"?' if near else ""
        message = f"expected one of {known}, got {root.items['type'].show()}{hint}"
    findings.problems.append(problem_at(root, shown, ("type",), message))
    return None


def _read_folder(
    folder: Path, model: type[BaseModel] | Mapping[str, type[BaseModel]], findings: _Findings
) -> list[_File]:
    try:
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        findings.problems.append(Problem(str(folder), 0, 0, "", f"can't be read: {error.strerror or error}"))
        return []
    # Hidden files are what editors leave behind.
    names = [name for name in names if name.endswith((".yaml", ".yml")) and not name.startswith(".")]
    if len(names) > MAX_FILES:
        findings.problems.append(Problem(str(folder), 0, 0, "", f"holds more than {MAX_FILES} files"))
        return []
    files = (_read(folder / name, model, findings) for name in names)
    return [file for file in files if file is not None]


def _unique(files: Iterable[_File], findings: _Findings) -> None:
    seen: dict[str, _File] = {}
    for file in files:
        if not file.name:
            continue
        first = seen.setdefault(file.name, file)
        if first is not file:
            findings.problems.append(file.problem("name", message=f'"{file.name}" is taken already, by {first.shown}'))


def _missing(kind: str, name: str, known: Iterable[str]) -> str:
    near = nearest(name, [each for each in known if each])
    return f'there is no {kind} named "{name}"' + (f'; did you mean "{near}"?' if near else "")


def _check_modules(modules: list[_File], ipams: list[_File], findings: _Findings) -> None:
    names = {ipam.name for ipam in ipams}
    for file in modules:
        ipam = file.root.data.get("ipam")
        if isinstance(ipam, str) and ipam not in names:
            findings.problems.append(file.problem("ipam", message=_missing("address manager", ipam, names)))


def _check_plans(plans: list[_File], modules: list[_File], findings: _Findings) -> None:
    names = {module.name for module in modules}
    for file in plans:
        wanted = file.root.data.get("modules")
        for number, name in enumerate(wanted if isinstance(wanted, list) else []):
            if isinstance(name, str) and name not in names:
                findings.problems.append(file.problem("modules", number, message=_missing("module", name, names)))


def _check_reports(modules: list[_File], resources: Mapping[str, Resource], findings: _Findings) -> None:
    """Custom reports: resources that exist and can be read, in units that measure the same thing."""
    for file in modules:
        if not isinstance(file.model, DcimanagerSettings):
            continue
        for number, report in enumerate(file.model.reports):
            for code, wanted in report.fields.items():
                place = ("reports", number, "fields", code)
                resource = resources.get(code)
                if resource is None:
                    findings.problems.append(
                        file.problem(*place, message=_missing("resource", code, resources), key=True)
                    )
                    continue
                if resource.kind not in READ:
                    message = f"can't be read from a report: it is {_MADE_BY[resource.kind]}"
                    findings.problems.append(file.problem(*place, message=message, key=True))
                for setting, unit in (("unit", wanted.unit), ("text_unit", wanted.text_unit)):
                    wrong = unit_fault(unit, resource) if unit is not None else None
                    if wrong:
                        findings.problems.append(file.problem(*place, setting, message=wrong))


_MADE_BY = {
    Kind.INTEGRAL: "computed from another resource",
    Kind.RATE: "computed from another resource",
    Kind.STOCK: "counted from our own data",
}


def _check_resources(plans: list[_File], resources: Mapping[str, Resource], findings: _Findings) -> None:
    """Resources of plans: known ones, with quantities of their own kind and settings that mean something there."""
    for file in plans:
        for code, wanted in file.model.resources.items() if file.model else ():
            resource = resources.get(code)
            if resource is None:
                message = _missing("resource", code, resources)
                findings.problems.append(file.problem("resources", code, message=message, key=True))
                continue
            for setting, message in resource_faults(wanted, resource):
                findings.problems.append(file.problem("resources", code, setting, message=message))


def _check_credentials(files: Iterable[_File], credentials: Credentials, findings: _Findings) -> None:
    for file in files:
        for place, ref in secret_refs(file.model) if file.model else []:
            try:
                credentials.resolve(ref)
            except ConfigError as error:
                findings.problems.append(file.problem(*place, message=error.message))


def _warn(main: _File | None, modules: list[_File], findings: _Findings) -> None:
    """What is allowed, but seldom meant."""
    if main is None:
        return
    if main.model.mail is None:
        findings.warnings.append(Problem(main.shown, 0, 0, "mail", "is not set: no mail is sent"))
    for file in modules:
        responsible = file.model.responsible
        if responsible is not None and responsible not in main.model.departments:
            near = _missing("department", responsible, main.model.departments)
            message = f"{near}; its tasks are shown, but mailed to nobody"
            findings.warnings.append(file.problem("responsible", message=message))
    for name, department in main.model.departments.items():
        if department.email is None:
            text = "has no email: its tasks are shown, but mailed to nobody"
            findings.warnings.append(main.problem("departments", name, message=text))


def _place_folders(daemon: DaemonSettings, folder: Path, environ: Mapping[str, str]) -> DaemonSettings:
    """Systemd's folders win: it made them, and the service may write to no others."""
    base = folder.absolute()
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    state = Path(given) if given else base / daemon.state_dir
    credentials = base / daemon.credentials_dir
    return daemon.model_copy(update={"state_dir": state, "credentials_dir": credentials})


def _with_ca_file(settings: Any, folder: Path) -> Any:
    if isinstance(settings, RemoteSettings) and settings.tls.ca_file is not None:
        path = folder.absolute() / settings.tls.ca_file
        return settings.model_copy(update={"tls": settings.tls.model_copy(update={"ca_file": str(path)})})
    return settings
