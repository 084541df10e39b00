"""The commented examples in `config/` and the reference page, produced from the models so that they can't drift.

`python -m daemon.settings.render` writes them, with `--check` it only says which differ. In the examples a line `# like this` is
prose and a line `#like: this` is a setting that is switched off: take the # away to use it.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.settings.base import About, about_field
from daemon.settings.examples import EXAMPLES, Example
from daemon.settings.kinds import model_in
from daemon.settings.reference import reference_page
from daemon.settings.yamltext import defaults, is_type, ordered, yaml_text

REFERENCE = "docs/reference/settings.md"
_WIDTH = 116


def example_text(example: Example) -> str:
    lines = textwrap.wrap(example.title, _WIDTH - 2, initial_indent="# ", subsequent_indent="# ")
    lines.append("# A line like `#name: value` is a setting with its default or an example: take the # away to use it.")
    lines.append("# Made by `python -m daemon.settings.render`; all of it is explained in " + REFERENCE + ".")
    for block in _blocks(example.model, example.given, depth=0, off=False):
        lines += ["", *block]
    return "\n".join(lines) + "\n"


def _blocks(model: type[BaseModel], given: Mapping[str, Any], *, depth: int, off: bool) -> Iterator[list[str]]:
    written = defaults(model)
    for attribute, name, info in ordered(model):
        about = about_field(model, attribute) or About("")
        # What isn't acted on yet stands in the reference page; in an example it would only distract.
        if about.later and name not in given:
            continue
        hidden = off or (name not in given and not info.is_required())
        prose = _prose(about, info, written.get(name))
        yield [
            *_comment(prose, depth, off=off),
            *_setting(info, name, given.get(name), about, written, depth, off=hidden),
        ]


def _setting(
    info: FieldInfo, name: str, given: Any, about: About, written: Mapping[str, Any], depth: int, *, off: bool
) -> list[str]:
    mark, indent = "#" if off else "", "  " * depth
    nested = model_in(info.annotation)
    if nested is not None and not about.example and (isinstance(given, Mapping) or given is None):
        lines = [line for block in _blocks(nested, given or {}, depth=depth + 1, off=off) for line in block]
        return [f"{mark}{indent}{name}:", *lines]
    if isinstance(given, Mapping) and len(yaml_text(given)) > 80:
        inner = (f"{mark}{indent}  {yaml_text(key)}: {yaml_text(value)}" for key, value in given.items())
        return [f"{mark}{indent}{name}:", *inner]
    value = yaml_text(given) if given is not None else about.example or yaml_text(written[name])
    return [f"{mark}{indent}{name}: {value}"]


def _prose(about: About, info: FieldInfo, default: Any) -> str:
    text = about.text[0].upper() + about.text[1:]
    text += f" [{about.unit}]." if about.unit else "."
    if info.is_required() or is_type(info):
        text += " Required."
    elif default is not None and default != {} and model_in(info.annotation) is None:
        text += f" Default: {yaml_text(default)}" + (f" ({about.why})." if about.why else ".")
    elif about.why:
        text += f" Without it: {about.why}."
    return text + (" Unverified." if about.unverified else "")


def _comment(prose: str, depth: int, *, off: bool) -> list[str]:
    start = ("#" if off else "") + "  " * depth + "# "
    return textwrap.wrap(prose, _WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


def outputs() -> dict[str, str]:
    """Every produced file: path from the repository's root -> text."""
    files = {example.path: example_text(example) for example in EXAMPLES}
    return files | {REFERENCE: reference_page()}


def main(arguments: Sequence[str], root: Path) -> int:
    differing = []
    for name, text in outputs().items():
        path = root / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    verb = "differs from the models" if "--check" in arguments else "written"
    sys.stdout.writelines(f"{name}: {verb}\n" for name in differing)
    return 1 if differing and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[2]))
