"""The docs say what is there: links lead somewhere, commands exist, layers stand in the order that is checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from daemon.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "systemd").glob("*.md"),
    *(ROOT / "daemon").rglob("*.md"),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"(?:provisiond|\bp)(?: --[a-z]+(?:[ =]\S+)?)* ((?:[a-z]+)(?: [a-z]+)?)")


def links(page: Path) -> Iterator[str]:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target).exists()]

    assert missing == []


def commands(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from commands(found, (*words, name))
    else:
        yield words


def written_commands(page: Path) -> Iterator[str]:
    """`provisiond noun verb` in code: between backticks and in fenced blocks."""
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    for piece in code:
        yield from COMMAND.findall(piece)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_docs_exists(page: Path) -> None:
    known = set(commands(cli))
    nouns = {words[0] for words in known}
    groups = {words[0] for words in known if len(words) > 1}
    wrong = []
    for text in written_commands(page):
        words = tuple(text.split())
        if words[0] not in nouns:
            continue  # prose such as `provisiond in`
        if words[0] in groups and len(words) == 2 and not any(name[:2] == words for name in known):
            wrong.append(text)

    assert wrong == []


def test_the_architecture_page_names_the_layers_in_the_order_that_is_checked() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    places = []
    for layer in contract["layers"]:
        first = layer.split("|")[0].strip(" ()")
        found = re.search(rf"`{re.escape(first)}`|^\s*{re.escape(first)}\b", page, re.MULTILINE)
        assert found is not None, first
        places.append(found.start())

    assert places == sorted(places)


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in (ROOT / "docs/adr").glob("0*.md"))

    assert [name for name in files if name not in index] == []
