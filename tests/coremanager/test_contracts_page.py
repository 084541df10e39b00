from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "contracts.md"


def anchors() -> set[str]:
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_every_reference_to_the_page_of_facts_leads_somewhere() -> None:
    known = anchors()
    for folder in ("daemon", "docs", "config"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in {".py", ".md", ".yaml"}:
                continue
            for anchor in re.findall(r"contracts\.md#([a-z0-9-]+)", path.read_text(encoding="utf-8")):
                assert anchor in known, f"{path.relative_to(ROOT)} points at contracts.md#{anchor}"


def test_links_inside_the_page_lead_somewhere() -> None:
    known = anchors()
    for anchor in re.findall(r"\]\(#([^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert anchor in known
