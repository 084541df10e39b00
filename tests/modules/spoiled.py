"""Bad days of a panel's reports: a simulated panel's answer, changed before it goes out over HTTP."""

from __future__ import annotations

from collections.abc import Callable

from daemon.sandbox import DciPanel
from daemon.sandbox.answers import Document, Element, Row, Value, report
from daemon.sandbox.panel import Call, Function

Rows = list[Row]


def spoil(panel: DciPanel, func: str, change: Callable[[Rows], Rows]) -> None:
    """From now on the report `func` has the rows that `change` makes of the right ones."""
    honest = panel.functions[func]

    def run(call: Call) -> Document:
        return report("spoiled", change(_rows(honest.run(call))))

    panel.functions[func] = Function(run, admin=False)


def put(panel: DciPanel, func: str, field: str, *values: Value | None) -> None:
    """Give `field` of the first rows these values, one for each; None takes the field out."""

    def change(rows: Rows) -> Rows:
        for row, value in zip(rows, values, strict=False):
            if value is None:
                row.pop(field, None)
            else:
                row[field] = value
        return rows

    spoil(panel, func, change)


def exact(number: str, text: str = "?") -> Element:
    return Element(text, {"orig": number})


def _rows(document: Document) -> Rows:
    data = document["reportdata"]
    assert isinstance(data, dict)
    band = next(iter(data.values()))
    assert isinstance(band, dict)
    rows = band.get("elem", [])
    assert isinstance(rows, list)
    return [dict(row) for row in rows if isinstance(row, dict)]
