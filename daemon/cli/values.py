"""What people type: NAME=VALUE pairs, reasons, files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
LARGEST = 256 * 1024


def pairs(texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {text!r}")
        found[name] = value
    return found


def _key_option(command: F) -> F:
    return click.option(
        "--key", help="Idempotency key: repeating a lost request with the same one does nothing twice."
    )(command)


def reason_options(command: F) -> F:
    """`--reason` and `--key`."""
    return click.option("--reason", default="", help="Why; stands in the audit log.")(_key_option(command))


def why_options(command: F) -> F:
    """The same, where somebody steps in and has to say why."""
    return click.option("--reason", required=True, help="Why; stands in the audit log.")(_key_option(command))


@dataclass(frozen=True)
class Document:
    """An order from a file, and where each field stands in it."""

    data: Any
    places: Callable[[str], str | None] = field(default=lambda _field: None)


def read_document(name: str) -> Document:
    """YAML or JSON from a file, or from standard input for `-`. Raises UsageError that says what is wrong where."""
    shown = "standard input" if name == "-" else name
    try:
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise click.UsageError(f"{shown} can't be read: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise click.UsageError(f"{shown} is larger than {LARGEST // 1024} KiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(f"{shown} is not UTF-8 text") from None
    return _yaml(text, shown)


def _yaml(text: str, shown: str) -> Document:
    """JSON is YAML, too; what only a JSON reader takes (tabs) is read as JSON."""
    from daemon.settings.tree import parse_tree
    from daemon.settings.validate import problem_at

    root, problems = parse_tree(text, shown)
    if root is None and text.lstrip().startswith("{"):
        try:
            return Document(json.loads(text))
        except ValueError:
            pass
    if root is None or problems:
        raise click.UsageError("\n".join(str(problem) for problem in problems))
    known = root

    def place(name: str) -> str | None:
        found = problem_at(known, shown, tuple(name.split(".")), "")
        return f"{shown}:{found.line}:{found.column}" if found.line else None

    return Document(root.data, place)
