"""The small types: what they take, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from daemon.settings.types import (
    check_pin,
    check_url,
    format_duration,
    format_size,
    parse_amount,
    parse_duration,
    parse_listen,
    parse_secret,
    parse_size,
    parse_zone,
)

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()), st.binary())


@given(st.integers(min_value=0, max_value=3_153_600_000_000))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int):
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@given(st.integers(min_value=0, max_value=10**6), st.sampled_from([("ms", 1), ("s", 10**3), ("m", 60_000)]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: tuple[str, int]):
    assert parse_duration(f"{number}{unit[0]}") == timedelta(milliseconds=number * unit[1])


@given(st.integers(min_value=0, max_value=10**15))
def test_a_size_reads_back_as_it_was_written(size: int):
    assert parse_size(format_size(size)) == size


@given(st.decimals(min_value=0, max_value=10**11, places=6, allow_nan=False))
def test_an_amount_keeps_every_digit(amount: Decimal):
    assert parse_amount(f"{amount:f}") == amount


def sentence(check: Any, value: Any) -> str:
    """What a check says against a value; the start of every refusal when it takes it."""
    try:
        check(value)
    except PydanticCustomError as error:
        return error.message()
    return "expected "


@pytest.mark.parametrize("parse", [parse_duration, parse_amount, parse_size, parse_secret, parse_zone, parse_listen])
@given(value=ANYTHING)
def test_whatever_comes_is_taken_or_refused_with_a_sentence(parse: Any, value: Any):
    assert sentence(parse, value).startswith("expected ")


@given(value=st.text() | st.from_regex(r"https?://[^ ]*"))
def test_whatever_url_comes_is_taken_or_refused_with_a_sentence(value: str):
    assert sentence(check_url, value).startswith("expected ")
    assert sentence(check_pin, value).startswith("expected ")


@given(st.from_regex(r"[0-9]{1,20}(ms|s|m|h|d)", fullmatch=True))
def test_whatever_number_a_duration_has_it_is_taken_or_refused(value: str):
    assert sentence(parse_duration, value).startswith("expected ")


@pytest.mark.parametrize(
    "text", ["", "5", "5 s", "1.5h", "1m30s", "-1s", "5S", "5sec", "5s\n", "٣s", "9" * 13 + "s", "99999999d", "s"]
)
def test_these_are_not_durations(text: str):
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@pytest.mark.parametrize(
    "value", ["", "1,00", "1e3", "-1", "+1", ".5", "1.", "0.1234567", "1 ", "٣", 1, 1.5, True, None]
)
def test_these_are_not_amounts(value: Any):
    with pytest.raises(PydanticCustomError):
        parse_amount(value)


@pytest.mark.parametrize(
    ("text", "size"), [("1 TiB", 1024**4), ("64MiB", 64 * 1024**2), ("5 GB", 5 * 10**9), ("7 B", 7)]
)
def test_these_are_sizes(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1", "1 KB", "1 kiB", "1  MiB", "x B", "-1 B", "1 EiB"])
def test_these_are_not_sizes(text: str):
    with pytest.raises(PydanticCustomError):
        parse_size(text)


@pytest.mark.parametrize(
    "text", ["hunter2", "cred:", "cred:../x", "cred:a/b", "cred:.x", "cred:a b", "CRED:a", "cred:a\n"]
)
def test_these_are_not_references_to_a_secret(text: str):
    with pytest.raises(PydanticCustomError):
        parse_secret(text)


@pytest.mark.parametrize(
    "url",
    ["https://a.example.test:1500/dcimgr", "http://127.0.0.1:1500/x", "http://localhost/x", "http://[::1]:15/x"],
)
def test_these_urls_are_fine(url: str):
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["", "dci", "ftp://a/b", "https://", "https://a b/", "https://a/\n", "https://a:99999/", "http://10.0.0.1/x",
     "http://127.0.0.1.evil.test/", "http://localhost@evil.test/", "https://a/x?y", "https://a/#x", "https://[::1/x"],
)  # fmt: skip
def test_these_urls_are_refused(url: str):
    with pytest.raises(PydanticCustomError):
        check_url(url)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:8420", "localhost:80", "127.5.5.5:65535"])
def test_these_can_be_listened_on(text: str):
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    "text", ["0.0.0.0:80", "[::]:80", ":80", "10.0.0.1:80", "::1:80", "127.0.0.1:65536", "example.test:80"]
)
def test_these_cannot_be_listened_on(text: str):
    with pytest.raises(PydanticCustomError):
        parse_listen(text)


def test_a_pin_has_one_spelling():
    assert check_pin("sha256:" + "AB:" * 31 + "AB") == "sha256:" + "ab" * 32


@pytest.mark.parametrize("text", ["Europe/Berlin", "UTC"])
def test_these_are_zones(text: str):
    assert str(parse_zone(text)) == text


@pytest.mark.parametrize("text", ["Mars/Base", "../../etc/passwd", "/etc/localtime", "", "\x00", "Europe"])
def test_these_are_not_zones(text: str):
    with pytest.raises(PydanticCustomError):
        parse_zone(text)
