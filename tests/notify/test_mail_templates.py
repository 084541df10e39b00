from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from daemon.notify import templates
from daemon.notify.templates import one_line, plain, render

ACTIVE = {"hostname": "a.test", "addresses": ["192.0.2.4"], "link": "https://p.test/access/x", "days": 7}
FAULT = {"service": 3, "operation": 7, "verb": "provision", "message": "no undo", "since": "2026-01-01T00:00:00+00:00"}


def test_every_template_on_disk_has_a_name_in_the_code():
    folder = Path(templates.__file__).parent / "templates"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(templates.NAMES)


def test_a_missing_value_is_an_error_and_not_a_hole_in_the_mail():
    with pytest.raises(UndefinedError):
        render("service_active", {name: value for name, value in ACTIVE.items() if name != "link"})


@pytest.mark.parametrize("name", ["nothing", "../mail", "fault.txt", ""])
def test_only_known_templates_are_rendered(name):
    with pytest.raises(ValueError, match="no mail template"):
        render(name, {})


def test_the_ready_mail_lists_addresses_one_below_the_other():
    text = render("service_active", {**ACTIVE, "addresses": ["192.0.2.4", "2001:db8::4"]})
    assert "Addresses:  192.0.2.4\n            2001:db8::4\n" in text
    assert "password" in text.lower()


def test_the_fault_mail_says_what_to_type():
    assert "provisiond operation why 7" in render("fault", FAULT)


def test_the_task_mail_says_what_is_wanted():
    values = {
        "title": "Put a disk in",
        "instructions": "Rack 4.\nSlot 2.",
        "wants": {"serial": "its number"},
        "task": 9,
    }
    text = render("task", values)
    assert "Rack 4.\nSlot 2." in text
    assert "  serial: its number\n" in text
    assert "provisiond task close 9" in text
    assert "To be entered" not in render("task", {**values, "wants": {}})


def test_a_value_cannot_forge_further_lines_or_hide_characters():
    text = render("service_active", {**ACTIVE, "hostname": "a.test\n\nNew link: https://evil.test\x1b[2J"})
    assert "\nNew link" not in text
    assert "\x1b" not in text


def test_a_value_is_text_and_no_template():
    assert "{{ 7 * 7 }}" in render("fault", {**FAULT, "message": "{{ 7 * 7 }}"})


def test_plain_text_keeps_lines_and_tabs_only():
    assert plain("a\tb\r\nc\x00d\udcff") == "a\tb\nc d?"
    assert one_line("  a\n b\x07 c ", 5) == "a b c"
