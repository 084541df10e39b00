"""The panels' wire formats: XML, wrapped JSON and flat JSON (docs/reference/contracts.md#reply-formats)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from daemon.sandbox.answers import Document, Element, PanelError, Value

JSON_FORMATS = frozenset({"json", "sjson"})
FLAT_FORMAT = "jsondata"

_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_FORBIDDEN = {code: "\ufffd" for code in range(32) if code not in (9, 10, 13)}

LOGIN_PAGE = """<!DOCTYPE html>
<html><head><title>Authorization</title></head>
<body><form method="post"><input name="username"><input name="password" type="password"><button>Log in</button></form></body></html>
"""


def render(document: Document, out: str, *, single_as_object: bool = True) -> tuple[str, bytes]:
    """The answer in the asked format: (content type, body). Without or with an unknown `out` it is XML."""
    form = out.lower()
    if form == FLAT_FORMAT:
        return "application/json", _json_bytes(flat(document))
    if form in JSON_FORMATS:
        return "application/json", _json_bytes({"doc": wrapped(document, single_as_object=single_as_object)})
    return "text/xml", to_xml(document).encode()


def error_document(error: PanelError) -> Document:
    about = Element(error.object, {"name": "object", "type": "msg", "msg": error.object or error.type})
    params: list[Value] = [about]
    if error.value:
        params.append(Element(error.value, {"name": "value"}))
    attributes = {"type": error.type, "object": error.object, "lang": "en", "report": "no"}
    return {
        "error": Element(attributes=attributes, children={"param": params, "group": "", "stack": "", "msg": str(error)})
    }


def to_xml(document: Document) -> str:
    """Joined strings, no tree: ten thousand rows are written in a fraction of a second."""
    parts = [_XML_HEAD, "<doc>"]
    _xml_children(document, parts)
    parts.append("</doc>\n")
    return "".join(parts)


def _xml_children(children: Mapping[str, Value], parts: list[str]) -> None:
    for name, value in children.items():
        if isinstance(value, str):
            parts.append(f"<{name}>{_text(value)}</{name}>" if value else f"<{name}/>")
        elif isinstance(value, Element | Mapping):
            _xml_element(name, value, parts)
        else:
            for item in value:
                _xml_children({name: item}, parts)


def _xml_element(name: str, value: Element | Mapping[str, Value], parts: list[str]) -> None:
    attributes, text, children = "", "", value
    if isinstance(value, Element):
        attributes = "".join(f" {key}={quoteattr(_clean(item))}" for key, item in value.attributes.items())
        text, children = value.text, value.children
    if text:
        parts.append(f"<{name}{attributes}>{_text(text)}</{name}>")
        return
    parts.append(f"<{name}{attributes}>")
    _xml_children(children if isinstance(children, Mapping) else {}, parts)
    parts.append(f"</{name}>")


def _clean(text: str) -> str:
    return text if text.isprintable() else text.translate(_FORBIDDEN)


def _text(text: str) -> str:
    """A carriage return is written as a reference: a parser would turn it into a line feed."""
    return escape(_clean(text), {"\r": "&#13;"}) if "\r" in text else escape(_clean(text))


def wrapped(value: Value, *, single_as_object: bool) -> Any:
    """The XML tree as JSON, mechanically: text under `$`, attribute `a` under `$a`, repeated elements as an array.

    `single_as_object` writes a repeated element that occurs once as an object, as a mechanical converter does; some panels
    keep the array. A client has to take both.
    """
    if isinstance(value, str):
        return {"$": value} if value else {}
    if isinstance(value, Element):
        node: dict[str, Any] = {f"${key}": item for key, item in value.attributes.items()}
        if value.text:
            node["$"] = value.text
        return node | {key: wrapped(item, single_as_object=single_as_object) for key, item in value.children.items()}
    if isinstance(value, Mapping):
        return {key: wrapped(item, single_as_object=single_as_object) for key, item in value.items()}
    items = [wrapped(item, single_as_object=single_as_object) for item in value]
    return items[0] if single_as_object and len(items) == 1 else items


def flat(document: Document) -> Any:
    """The flat JSON: a list is a bare array of flat objects, anything else one object of strings."""
    if "p_elems" in document:
        rows = document.get("elem", [])
        return [_flat_row(row) for row in rows] if isinstance(rows, Sequence) else []
    return _flat_row(document)


def _flat_row(value: Value) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, Element):
        if not value.children:
            return value.text
        return dict(value.attributes) | {key: _flat_row(item) for key, item in value.children.items()}
    if isinstance(value, Mapping):
        return {key: _flat_row(item) for key, item in value.items()}
    return [_flat_row(item) for item in value]


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
