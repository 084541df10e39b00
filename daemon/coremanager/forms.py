"""Forms: a save is a submit of the whole form, so every field goes back as it was read (docs/reference/contracts.md#forms)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.coremanager.documents import Doc, text_of

NOT_FIELDS = frozenset(
    {
        "auth",
        "elid",
        "error",
        "func",
        "messages",
        "metadata",
        "ok",
        "out",
        "p_elems",
        "p_num",
        "plid",
        "slist",
        "sok",
        "tparams",
    }
)
"""Children of a form document that are no fields: select lists, texts for people, the protocol's own words."""


@dataclass(frozen=True, slots=True)
class Form:
    """One object's form as it was read. `fields` holds every field, the empty ones too; a missing one is absent."""

    func: str
    elid: str
    plid: str | None
    fields: Mapping[str, str]
    doc: Doc

    def get(self, name: str) -> str:
        return self.fields.get(name, "")

    def has(self, name: str) -> bool:
        return name in self.fields


def read_form(func: str, elid: str, plid: str | None, doc: Doc) -> Form:
    """Every leaf of the document. A field that occurs more than once is a multiple choice: its values joined as panels do."""
    fields: dict[str, str] = {}
    for child in doc.raw:
        if child.tag in NOT_FIELDS or len(child):
            continue
        text = child.get("orig") or child.text or ""
        fields[child.tag] = f"{fields[child.tag]}, {text}" if child.tag in fields else text
    return Form(func, elid, plid, fields, doc)


def save_params(form: Form, changes: Mapping[str, str]) -> dict[str, str]:
    """What a save of `form` sends: `changes` over every field as read."""
    params = {**form.fields, **changes, "elid": form.elid, "sok": "ok"}
    return params if form.plid is None else {**params, "plid": form.plid}


def choices(doc: Doc, name: str) -> list[str]:
    """Keys of the select list `name`; empty when the form has no such list."""
    found: list[str] = []
    for slist in doc.raw.findall("slist"):
        if slist.get("name") == name:
            found += [value.get("key") or text_of(value) for value in slist if value.tag in {"val", "msg"}]
    return found
