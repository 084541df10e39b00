"""YAML text -> a tree of nodes that know where they stand.

Built from the parser's events, not by a loader: nothing in a file can name a Python type, grow by aliases or nest without end,
and every key and value keeps its line and column. Scalars follow YAML 1.2's core schema: `no` is text, `012` isn't octal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from daemon.settings.problems import Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII
)
# A password in a URL must not travel into logs by way of an error message.
_LOGIN = re.compile(r"//[^/]*@")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})


@dataclass(slots=True)
class Node:
    """`data` is the plain value; `items` and `keys` are filled for mappings and sequences (keys: where each key stands)."""

    line: int
    column: int
    data: Any = None
    raw: str = ""
    quoted: bool = False
    items: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def show(self) -> str:
        """What came, as it stands in the file, shortened: the end of many an error message."""
        if isinstance(self.data, dict):
            return "a mapping"
        if isinstance(self.data, list):
            return "a list"
        if self.data is None:
            return "nothing"
        raw = _LOGIN.sub("//***@", self.raw)
        text = raw if len(raw) <= 60 else raw[:60] + "..."
        text = "".join(c if c.isprintable() else "?" for c in text)
        return f'"{text}"' if isinstance(self.data, str) else text


class _Stop(Exception):
    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.place = (line, column, message)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not been seen yet."""

    node: Node
    key: str | None = None

    @property
    def is_map(self) -> bool:
        return isinstance(self.node.data, dict)


def read_tree(path: Path, shown: str) -> tuple[Node | None, list[Problem]]:
    """The tree of one file, or None with the reason; duplicate keys leave a tree and are reported beside it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return None, [Problem(shown, 0, 0, "", f"can't be read: {reason}")]
    if len(content) > MAX_BYTES:
        return None, [Problem(shown, 0, 0, "", f"is larger than {MAX_BYTES // 1024} KiB, too large for settings")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        return None, [Problem(shown, line, column, "", "is not UTF-8 text")]
    return parse_tree(text, shown)


def parse_tree(text: str, shown: str) -> tuple[Node | None, list[Problem]]:
    problems: list[Problem] = []
    try:
        root = _build(text, shown, problems)
    except _Stop as stop:
        line, column, message = stop.place
        return None, [*problems, Problem(shown, line, column, "", message)]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        return None, [
            *problems,
            Problem(shown, line, column, "", f"is not valid YAML: {error.problem or error.context}"),
        ]
    except YAMLError as error:
        return None, [*problems, Problem(shown, 0, 0, "", f"is not valid YAML: {str(error).splitlines()[0]}")]
    except (ValueError, IndexError, TypeError, AttributeError, KeyError, AssertionError, RecursionError):
        # The parser itself trips over some broken input; a person still gets a sentence instead of a traceback.
        return None, [*problems, Problem(shown, 0, 0, "", "is not valid YAML")]
    if root is None:
        return None, [*problems, Problem(shown, 1, 1, "", "is empty")]
    if not isinstance(root.data, dict):
        message = f"expected settings of the form `name: value`, got {root.show()}"
        return None, [*problems, Problem(shown, root.line, root.column, "", message)]
    return root, problems


def _build(text: str, shown: str, problems: list[Problem]) -> Node | None:
    stack: list[_Open] = []
    root: Node | None = None
    documents = 0
    for event in _events(text):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Stop(line, column, "holds more than one document (a line ---)")
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            stack.pop()
        elif isinstance(event, AliasEvent | MappingStartEvent | SequenceStartEvent | ScalarEvent):
            _refuse_cleverness(event, line, column)
            top = stack[-1] if stack else None
            if top is not None and top.is_map and top.key is None:
                key, first = _take_key(top, event, (line, column))
                if first is not None:
                    message = f"stands here a second time, first in line {first}"
                    problems.append(Problem(shown, line, column, key, message))
                continue
            node = _node(event, line, column)
            if top is None:
                root = node
            else:
                _attach(top, node)
            if not isinstance(event, ScalarEvent):
                stack.append(_Open(node))
                if len(stack) > MAX_DEPTH:
                    raise _Stop(line, column, f"is nested more than {MAX_DEPTH} levels deep")
    return None if root is not None and root.data is None and not root.raw else root


def _events(text: str) -> Iterator[Any]:
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = True  # reported here, all of them, with their places
    yield from yaml.parse(text)


def _refuse_cleverness(event: Any, line: int, column: int) -> None:
    if isinstance(event, AliasEvent) or event.anchor is not None:
        raise _Stop(line, column, "anchors and aliases (& and *) are not used in settings; write the value out")
    if event.tag is not None:
        raise _Stop(line, column, "tags (!) are not used in settings")


def _take_key(top: _Open, event: Any, place: tuple[int, int]) -> tuple[str, int | None]:
    """The key whose value comes next, and the line of its first appearance when this isn't it."""
    if not isinstance(event, ScalarEvent):
        raise _Stop(*place, "expected a name before the colon")
    key: str = event.value
    if key == "<<":
        raise _Stop(*place, "merge keys (<<) are not used in settings; write the values out")
    top.key = key
    first = top.node.keys.setdefault(key, place)
    return key, None if first == place else first[0]


def _node(event: Any, line: int, column: int) -> Node:
    if isinstance(event, MappingStartEvent):
        return Node(line, column, {})
    if isinstance(event, SequenceStartEvent):
        return Node(line, column, [])
    plain = event.implicit[0] and not event.style
    return Node(line, column, scalar(event.value) if plain else event.value, event.value, not plain)


def _attach(top: _Open, node: Node) -> None:
    if top.is_map:
        key = top.key or ""
        top.key = None
        # The first of two equal keys stays: what follows from it is told as well.
        top.node.items.setdefault(key, node)
        top.node.data.setdefault(key, node.data)
    else:
        top.node.items[len(top.node.data)] = node
        top.node.data.append(node.data)


def scalar(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text) and len(text) <= 40:
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) <= 40:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
