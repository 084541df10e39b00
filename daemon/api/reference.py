"""The reference page of the API, made from its description so that they can't drift.

`python -m daemon.api.reference` writes it, with `--check` it only says whether it differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from daemon.api.endpoint import Endpoint
from daemon.api.openapi import description, statuses
from daemon.api.table import ENDPOINTS

PAGE = "docs/reference/api.md"
Json = dict[str, Any]

_INTRO = """\
# HTTP API

Made from the code by `python -m daemon.api.reference`; a test fails when this page and the API differ. The same, for programs, is
served as OpenAPI 3.1 at `/openapi.json`.

- **Where.** On `listen` of `provisiond.yaml` (loopback; put a TLS proxy in front to be reached from elsewhere), and on the Unix socket
  `state_dir/provisiond.sock` for commands on the same machine, where no token is asked for and the caller has role `admin`.
- **Who.** `Authorization: Bearer TOKEN`; `provisiond token create --role ROLE` makes one and shows it once. Roles: `read`, `order`, `operate`,
  `bill`, `admin`. Every role may read, `admin` may do everything. Every change is recorded with the name of its token (`token:NAME`), or with
  the uid of the socket's caller (`uid:N`). Too many failed logins of one address are answered with 429; a good token is always let in.
- **Writes that get lost.** Send an `Idempotency-Key` of your own (1 to 200 printable ASCII characters, unique in the installation): the same
  key, route and JSON value get the same status and body, and nothing is done twice; a second caller waits for the first. The same key for
  anything else is refused with 409. `POST /v1/orders` requires one. A refused request stores no key. Answers that hold a secret are not
  kept, so those entries take no key.
- **Lists** are `{"items": [...], "next": "..."}`: `?limit=` (1 to 500, 50 if not given) and `?after=` with `next` of the page before; `next` is
  null on the last page. New items never shift the pages.
- **Errors** are `application/problem+json` with `status`, `code`, `detail` and `errors: [{"field", "code", "message"}]`, every wrong field at
  once; [error codes](error-codes.md) lists the codes. Anything may be answered with 404, 405, 413, 500 or 503; after 429 and 503
  `Retry-After` says how many seconds to wait.
- **Values.** Times are ISO 8601 with an offset; a time without one is refused. Amounts and quantities are strings, exact to the last
  digit. Bodies are JSON of at most 1 MiB: a key that stands twice, NaN, NUL characters and numbers beyond 64 bits are refused.
"""


def page() -> str:
    document = description("")
    lines = [_INTRO]
    for tag in dict.fromkeys(entry.tag for entry in ENDPOINTS):
        lines.append(f"## {tag.capitalize()}\n")
        for entry in ENDPOINTS:
            if entry.tag == tag:
                lines += _entry(entry, document)
    lines.append("## Shapes\n\nMore fields may come; the ones here stay.\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _shape(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _entry(entry: Endpoint, document: Json) -> Iterator[str]:
    operation = document["paths"][entry.path][entry.method.lower()]
    yield f"### {entry.method} {entry.path}\n"
    yield f"{operation['summary']}.\n"
    if entry.roles is None:
        yield "- no login"
    else:
        yield f"- roles: {', '.join(sorted(entry.roles))}"
    for parameter in operation["parameters"]:
        if parameter["in"] != "path":
            about = f": {parameter['description']}" if parameter["description"] else ""
            yield f"- `{parameter['name']}` ({_parameter(parameter)}){about}"
    body = operation.get("requestBody")
    if body is not None:
        optional = "" if body["required"] else ", may be left out"
        yield f"- body: {_type(body['content']['application/json']['schema'])}{optional}"
    good = operation["responses"][str(entry.status)].get("content", {})
    shapes = ", ".join(f"{_type(content['schema'])} ({media})" for media, content in good.items())
    yield f"- answer: {entry.status}{': ' + shapes if shapes else ''}"
    for status, words in entry.others.items():
        yield f"- {status}: {words}"
    own = {status: words for status, words in statuses(entry).items() if status in entry.refusals}
    for status, words in own.items():
        yield f"- {status}: {words}"
    yield ""


def _parameter(parameter: Json) -> str:
    parts = ["required" if parameter["required"] else "optional", _type(parameter["schema"])]
    if "default" in parameter["schema"]:
        parts.append(f"default `{parameter['schema']['default']}`")
    return ", ".join(parts)


def _shape(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}\n"
    if schema.get("description"):
        yield " ".join(schema["description"].split()) + "\n"
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n"
        return
    yield "| field | type | |\n|---|---|---|"
    required = set(schema.get("required", ()))
    for field, part in schema.get("properties", {}).items():
        notes = [part["description"]] if "description" in part else []
        if field not in required:
            notes.append("may be left out")
        yield f"| `{field}` | {_type(part)} | {'; '.join(notes)} |"
    yield ""


def _type(part: Json) -> str:
    """A JSON schema in a few words."""
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(option) for option in part["anyOf"]))
    if "allOf" in part:
        return _type(part["allOf"][0])
    if "enum" in part:
        return "one of " + ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    kind = part.get("type", "any JSON")
    if kind == "array":
        return f"list of {_type(part.get('items', {}))}"
    if kind == "object" and isinstance(part.get("additionalProperties"), dict):
        return f"mapping to {_type(part['additionalProperties'])}"
    if part.get("format") == "date-time":
        return "time"
    bounds = [f"{word} {part[name]}" for name, word in _BOUNDS if name in part]
    return f"{kind} ({', '.join(bounds)})" if bounds else str(kind)


_BOUNDS = (("minimum", "from"), ("maximum", "to"), ("minLength", "at least"), ("maxLength", "at most"))


def main(arguments: Sequence[str], root: Path) -> int:
    path, text = root / PAGE, page()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        sys.stdout.write(f"{PAGE} differs from the code: python -m daemon.api.reference\n")
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{PAGE}: written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[2]))
