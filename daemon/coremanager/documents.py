"""A panel's answer, XML or JSON, as one small tree (docs/reference/contracts.md#reply-formats).

Both formats become the same ElementTree elements: `Doc` is the whole answer, `Elem` one element of it. Missing (None) and
empty ("") are never confused, because the panels' flags are elements that exist or don't.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from daemon.coremanager.transport import UnreadableError

Json = Any

_ROOTS = frozenset({"doc", "error"})


class Elem:
    """One element: a row of a list, a field, an error."""

    __slots__ = ("raw",)

    def __init__(self, raw: Element) -> None:
        self.raw = raw

    def has(self, name: str) -> bool:
        """Whether the child exists, empty or not: the form of the panels' flags."""
        return self.raw.find(name) is not None

    def text(self, name: str) -> str | None:
        """The child's text; "" when it is there and empty, None when it is missing."""
        child = self.raw.find(name)
        return None if child is None else text_of(child)

    def orig(self, name: str) -> str | None:
        """The child's raw value (attribute `orig`); None when it has none or an empty one."""
        child = self.raw.find(name)
        return None if child is None else child.get("orig") or None

    def value(self, name: str) -> str | None:
        """The raw value where the panel gives one, else the text for people."""
        return self.orig(name) or self.text(name)

    def attribute(self, name: str) -> str | None:
        return self.raw.get(name)


class Doc(Elem):
    """A whole answer. Its root is `doc`, or `error` where a panel puts the error at the root."""

    __slots__ = ()

    @property
    def error(self) -> Elem | None:
        found = self.raw if self.raw.tag == "error" else self.raw.find("error")
        return None if found is None else Elem(found)

    def rows(self) -> list[Elem]:
        """The rows of a list: children `elem` of the document."""
        return [Elem(row) for row in self.raw.findall("elem")]

    def report_rows(self) -> Iterator[Element]:
        """Every `elem` below `reportdata`, headings too; plain elements, because ten thousand are usual."""
        for data in self.raw.iter("reportdata"):
            yield from data.iter("elem")


def text_of(element: Element) -> str:
    return (element.text or "").strip()


class DocReader:
    """Parses while the answer arrives: XML slice by slice, JSON at the end. Knows them apart by the first character."""

    def __init__(self) -> None:
        self._xml: DefusedXMLParser | None = None
        self._json: bytearray | None = None
        self._head = b""

    def feed(self, data: bytes) -> None:
        if self._xml is not None:
            self._feed_xml(data)
        elif self._json is not None:
            self._json += data
        else:
            self._begin(self._head + data)

    def close(self) -> Doc:
        if self._xml is not None:
            return Doc(self._close_xml())
        if self._json is not None:
            return Doc(_from_json(bytes(self._json)))
        raise UnreadableError("an empty body" if not self._head else "something that is neither XML nor JSON")

    def _begin(self, head: bytes) -> None:
        self._head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        first = self._head[:1]
        if first == b"<":
            self._xml = _parser()
            self._feed_xml(self._head)
        elif first in (b"{", b"["):
            self._json = bytearray(self._head)
        elif first:
            raise UnreadableError("something that is neither XML nor JSON")

    def _feed_xml(self, data: bytes) -> None:
        assert self._xml is not None
        try:
            self._xml.feed(data)
        except DefusedXmlException:
            raise UnreadableError("a document type or entities, as in a web page") from None
        except (ParseError, ValueError, LookupError):  # LookupError: an encoding nobody knows
            raise UnreadableError("broken XML") from None

    def _close_xml(self) -> Element:
        assert self._xml is not None
        try:
            root: Element | None = self._xml.close()
        except (ParseError, ValueError):
            raise UnreadableError("a truncated or broken document") from None
        if root is None or root.tag not in _ROOTS:
            raise UnreadableError("a document that is not a panel's")
        return root


def _parser() -> DefusedXMLParser:
    """The parser of defusedxml with its guards, building elements without a Python call for each.

    Its own handlers only translate names of namespaces, which these panels don't use; without them a report of ten thousand rows
    takes half the time.
    """
    builder = TreeBuilder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    parser.parser.ordered_attributes = False
    parser.parser.StartElementHandler = builder.start
    parser.parser.EndElementHandler = builder.end
    return parser


def parse(body: bytes) -> Doc:
    """The whole body at once, for tests and small answers. Raises UnreadableError."""
    reader = DocReader()
    reader.feed(body)
    return reader.close()


def _from_json(body: bytes) -> Element:
    try:
        return _tree(json.loads(body))
    except (ValueError, RecursionError):
        raise UnreadableError("a truncated or broken document") from None


def _tree(data: Json) -> Element:
    root = Element("doc")
    if isinstance(data, list):  # the flat format: a bare array of rows
        _add(root, "elem", data)
        return root
    inside = data.get("doc", data)
    if not isinstance(inside, Mapping):
        raise UnreadableError("a document that is not a panel's")
    _fill(root, inside)
    if inside is not data and "error" in data:  # an error beside the document instead of in it
        _add(root, "error", data["error"])
    return root


def _fill(element: Element, fields: Mapping[str, Json]) -> None:
    """`$` is the text, `$a` the attribute a, anything else a child."""
    for key, value in fields.items():
        if key == "$":
            element.text = _plain(value)
        elif key.startswith("$"):
            element.set(key[1:], _plain(value))
        else:
            _add(element, key, value)


def _add(parent: Element, tag: str, value: Json) -> None:
    """A child for each value: one row may come as an object or as an array of one."""
    for item in value if isinstance(value, list) else [value]:
        child = SubElement(parent, tag)
        if isinstance(item, Mapping):
            _fill(child, item)
        elif item is not None:
            child.text = _plain(item)


def _plain(value: Json) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else str(value)
