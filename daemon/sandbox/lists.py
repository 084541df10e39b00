"""Lists and parameters: which parameters are fields, filtering rows, and the ways in which a faulty list is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.sandbox.answers import Document, Row, listing

SECRETS = frozenset({"password", "passwd", "confirm", "checkpasswd", "authinfo", "auth", "key", "ipmipass"})
PROTOCOL = frozenset({"func", "out", "lang", "su", "sfrom", "progressid", "operafake", "hfields", "clicked_button"})


def public(params: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in params.items() if key not in SECRETS and key not in PROTOCOL}


def fields(params: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in public(params).items() if key not in ("sok", "filter", "elid", "plid")}


def results(document: Document) -> dict[str, str]:
    return {key: value for key, value in document.items() if isinstance(value, str) and key != "ok"}


def rows_of(document: Document) -> list[Row]:
    rows = document.get("elem", [])
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def matches(row: Row, wanted: Mapping[str, str]) -> bool:
    """A filter on a field compares text by "contains", as a panel's filter form does; unknown fields match nothing."""
    for key, value in wanted.items():
        shown = row.get(key)
        if not isinstance(shown, str) or value not in shown:
            return False
    return True


def shortened(document: Document, *, empty: bool) -> Document:
    """Fewer rows than `p_elems` says; an answer that is no list stays."""
    if "p_elems" not in document:
        return document
    rows = rows_of(document)
    return listing([] if empty else rows[: len(rows) // 2], len(rows))


def mixed_up(document: Document) -> Document:
    """Each row keeps its id and shows what belongs to the next one; in a report the same goes for each band."""
    bands = document.get("reportdata")
    if isinstance(bands, dict):
        return {**document, "reportdata": {name: mixed_up(band) for name, band in bands.items()}}
    rows = rows_of(document)
    if not rows:
        return document
    key = "id" if "id" in rows[0] else "ip"
    moved = [{**rows[(index + 1) % len(rows)], key: row[key]} for index, row in enumerate(rows)]
    return {**document, "elem": moved}
