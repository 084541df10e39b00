"""Plain texts of mails, made from the files in `templates/`. A value that a template needs and doesn't get is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

NAMES = ("service_active", "fault", "task", "usage_alert", "coverage_alert")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def render(name: str, values: Mapping[str, Any]) -> str:
    """The text of template `name`; raises ValueError for an unknown name and jinja2's UndefinedError for a missing value."""
    if name not in NAMES:
        raise ValueError(f"there is no mail template {name!r}")
    return _environment().get_template(f"{name}.txt").render(values)


def plain(text: str) -> str:
    """`text` with line feeds and tabs, but no other control characters."""
    return _CONTROL.sub(" ", text.replace("\r\n", "\n")).encode("utf-8", "replace").decode()


def one_line(value: object, longest: int = 200) -> str:
    """`value` on one line, cut where it gets too long for a header or a heading."""
    return " ".join(plain(str(value)).split())[:longest]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
        autoescape=False,  # noqa: S701 - these are plain texts: nothing in them is ever shown as HTML
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["one_line"] = one_line
    return environment
