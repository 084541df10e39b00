"""The reference pages say what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from daemon.api import reference
from daemon.cli import reference as cli_reference

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for path in sorted((ROOT / "daemon").rglob("*.py")) if "sandbox" not in path.parts]
"""The sandbox speaks the panels' own words."""
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
MAKERS = {"_bad_key": 0, "_failed": 2, "problem": 1}
"""Functions of ours that take a code, and its place among their arguments."""
FIELD_MAKERS = {"_problem": 1, "_error": 1}
BUILT = {"schema_missing", "schema_older", "schema_newer", "panel_<type>", "settings"}
BUILT |= {"no_route", "no_method", "too_large", "http"}
"""Codes that are put together, or stand in a table."""


def nodes() -> Iterator[ast.AST]:
    for tree in TREES:
        yield from ast.walk(tree)


def error_classes() -> set[str]:
    """The classes of daemon.domain.errors, and whatever is derived from them anywhere."""
    found = {"ProvisiondError"}
    classes = [node for node in nodes() if isinstance(node, ast.ClassDef)]
    while True:
        more = {node.name for node in classes if any(isinstance(b, ast.Name) and b.id in found for b in node.bases)}
        if more <= found:
            return found
        found |= more


def calls() -> Iterator[tuple[str, ast.Call]]:
    for node in nodes():
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            yield name, node


def constants(makers: dict[str, int]) -> set[str]:
    found = set()
    for name, node in calls():
        place = makers.get(name)
        if place is not None and len(node.args) > place:
            code = node.args[place]
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                found.add(code.value)
    return found


def field_codes() -> set[str]:
    """Codes in literal entries of `errors`."""
    found = constants(FIELD_MAKERS)
    for node in nodes():
        if isinstance(node, ast.Dict):
            entry = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            code = entry.get("code")
            if {"field", "code", "message"} == set(entry) and isinstance(code, ast.Constant):
                found.add(str(code.value))
    return found


def told(part: str) -> set[str]:
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", part, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def test_every_error_code_is_explained_and_no_other() -> None:
    page = (ROOT / "docs/reference/error-codes.md").read_text(encoding="utf-8")
    before, _, after = page.partition("### Codes of single fields")
    fields, _, after = after.partition("## Temporary")
    used = constants(dict.fromkeys(error_classes(), 0) | MAKERS) | BUILT
    assert told(before) | told(after) == used
    assert told(fields) == field_codes()


def test_the_page_of_the_api_is_made_from_the_code() -> None:
    assert reference.main(["--check"], ROOT) == 0, "python -m daemon.api.reference"


def test_the_page_of_the_commands_is_made_from_the_code() -> None:
    assert cli_reference.main(["--check"], ROOT) == 0, "python -m daemon.cli.reference"
