"""Our line in a server's notes: `provisiond <key>`. A person's notes around it stay as they are."""

from __future__ import annotations

import re

_MARK = re.compile(r"(?:^|(?<=\s))provisiond (\S+)(?=\s|$)")
"""Also found where a panel turned line ends into spaces."""


def marks_in(notes: str) -> frozenset[str]:
    return frozenset(_MARK.findall(notes))


def with_mark(notes: str, key: str) -> str:
    """`notes` with our line at its end; unchanged when it is there."""
    if key in marks_in(notes):
        return notes
    kept = notes.rstrip("\r\n")
    return f"{kept}\n{_line(key)}" if kept else _line(key)


def without_mark(notes: str, key: str) -> str:
    """`notes` without our line and without the line end that came with it."""
    mark = rf"(?:^|(?<=\s)){re.escape(_line(key))}(?=\s|$)"
    return re.sub(rf"\A{mark}(?:\r?\n)?|(?:\r?\n)?{mark}", "", notes)


def _line(key: str) -> str:
    return f"provisiond {key}"
