"""Files that mean harm, or that an editor broke: always a sentence, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.settings import SettingsError, load
from daemon.settings.tree import MAX_BYTES, parse_tree

from .conftest import DAEMON, MODULE, PLAN, Folder

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1:1: is empty"),
        ("# only a remark\n", ":1:1: is empty"),
        ("---\n", ":1:1: is empty"),
        ("- a\n- b\n", ":1:1: expected settings of the form `name: value`, got a list"),
        ("just text\n", ':1:1: expected settings of the form `name: value`, got "just text"'),
        ("42\n", ":1:1: expected settings of the form `name: value`, got 42"),
        (BOMB, ":1:4: anchors and aliases (& and *) are not used in settings; write the value out"),
        ("a: *b\n", ":1:4: anchors and aliases (& and *) are not used in settings; write the value out"),
        ("a: !!python/object/apply:os.system [id]\n", ":1:4: tags (!) are not used in settings"),
        ("a: !secret x\n", ":1:4: tags (!) are not used in settings"),
        ("<<: {a: 1}\n", ":1:1: merge keys (<<) are not used in settings; write the values out"),
        ("? [a, b]\n: c\n", ":1:3: expected a name before the colon"),
        ("a: 1\n---\nb: 2\n", ":2:1: holds more than one document (a line ---)"),
        ("a: " + "[" * 50_000, ":1:19: is nested more than 16 levels deep"),
        ("a: " + "{b: " * 20 + "}" * 20, ":1:64: is nested more than 16 levels deep"),
        ("a: [1, 2\n", ":2:1: is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c\n", ":1:5: is not valid YAML: mapping values are not allowed here"),
        ("\ta: 1\n", ":1:1: is not valid YAML: found character '\\t' that cannot start any token"),
        ('a: "x\n', ":2:1: is not valid YAML: found unexpected end of stream"),
        (b"a: \xff\n", ":1:4: is not UTF-8 text"),
        ("a: 1\n".encode("utf-16"), ":1:1: is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), ": is larger than 256 KiB, too large for settings"),
    ],
)
def test_a_hostile_file_is_told_in_one_sentence(config: Folder, text: str | bytes, expected: str):
    config.write("provisiond.yaml", text)
    assert config.problems() == [f"config/provisiond.yaml{expected}"]


def test_nul_bytes_and_control_characters_are_refused(config: Folder):
    config.write("provisiond.yaml", b"listen: \x00\n")
    assert config.problems()[0].startswith("config/provisiond.yaml")
    config.write("provisiond.yaml", 'mail: {host: "a\\u0000b", from: a@b}\n')
    assert config.problems() == [
        'config/provisiond.yaml:1:14: mail.host: expected text that is not empty and has no control characters, got "a?b"'
    ]


def test_every_equal_key_is_reported_and_the_first_value_counts(config: Folder):
    config.write("provisiond.yaml", DAEMON + "log_level: loud\nlisten: nowhere\n")
    assert config.problems() == [
        "config/provisiond.yaml:10:1: log_level: stands here a second time, first in line 5",
        "config/provisiond.yaml:11:1: listen: stands here a second time, first in line 1",
    ]


def test_a_folder_named_like_a_file_is_a_clear_error(config: Folder):
    (config.path / "plans.d/folder.yaml").mkdir()
    assert config.problems() == ["config/plans.d/folder.yaml: can't be read: Is a directory"]


def test_a_long_value_is_shortened_in_the_message(config: Folder):
    config.replace("provisiond.yaml", "info", "x" * 5000)
    assert len(config.problems()[0]) < 200


def test_a_huge_number_is_refused(config: Folder):
    config.replace("modules.d/dci-main.yaml", "10", "9" * 5000)
    assert "priority: expected a whole number" in config.problems()[0]
    config.replace("modules.d/dci-main.yaml", "9" * 5000, str(2**63))
    assert "priority: expected a number of at most" in config.problems()[0]


def test_yaml_is_read_by_version_1_2():
    root, _ = parse_tree("a: no\nb: 012\nc: 12:30:00\nd: 1.10\ne: ~\nf: 'true'\ng: .inf\nh: 0x1F\n", "x")
    assert root is not None
    assert root.data == {
        "a": "no", "b": 12, "c": "12:30:00", "d": 1.1, "e": None, "f": "true", "g": float("inf"), "h": "0x1F",
    }  # fmt: skip


def load_text(main: bytes, module: bytes, plan: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name) / "config")
        folder.write("provisiond.yaml", main)
        folder.write("modules.d/m.yaml", module)
        folder.write("plans.d/p.yaml", plan)
        told = True
        try:
            load(folder.path / "provisiond.yaml", environ={})
        except SettingsError as error:
            told = bool(error.problems)
        assert told


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise_anything_but_a_config_error(content: bytes):
    load_text(content, content, content)


@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@#,.<~\n \t0123", max_size=80))
@settings(max_examples=400, deadline=None)
def test_no_yaml_shaped_text_raises_anything_but_a_config_error(content: str):
    root, problems = parse_tree(content, "x")
    assert (root is None) <= bool(problems)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_damage_to_a_good_file_raises_anything_but_a_config_error(data: st.DataObject):
    def damage(text: str) -> bytes:
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        return (text[:start] + data.draw(st.text(alphabet="a1:{}[]'\"\n -", max_size=5)) + text[end:]).encode()

    load_text(damage(DAEMON), damage(MODULE), damage(PLAN))


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([line.split(":")[0] for line in MODULE.splitlines()]), VALUE)
@settings(max_examples=150, deadline=None)
def test_no_value_of_any_type_raises_anything_but_a_config_error(name: str, value: object):
    import json

    text = "\n".join(line for line in MODULE.splitlines() if not line.startswith(f"{name}:"))
    load_text(DAEMON.encode(), f"{text}\n{name}: {json.dumps(value)}\n".encode(), PLAN.encode())
