"""Seals: the same samples always give the same one, and nothing can be changed under it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.quality import Quality
from daemon.domain.seal import Sealed, canonical, seal

T0 = datetime(2026, 11, 1, tzinfo=UTC)
RECORD = Sealed(7, "in", T0, T0 + timedelta(minutes=10), "B", 2**64)
SAMPLES = [
    (T0, 10, Quality.FIRST),
    (T0 + timedelta(minutes=5), 2**63, Quality.OK),
    (T0 + timedelta(minutes=10), 2**64 + 10, Quality.OK),
    (T0 + timedelta(minutes=5), 5, Quality.LATE),
]


def test_the_text_under_the_seal_can_be_written_by_hand() -> None:
    assert canonical(RECORD, SAMPLES).decode() == (
        "usage 1\nservice 7\nresource in\nsince 1793491200000000\nuntil 1793491800000000\nunit B\n"
        "quantity 18446744073709551616\nformula 1\n"
        "1793491200000000 10 first\n"
        "1793491500000000 5 late\n"
        "1793491500000000 9223372036854775808 ok\n"
        "1793491800000000 18446744073709551626 ok\n"
    )
    assert seal(RECORD, SAMPLES) == f"sha256:{hashlib.sha256(canonical(RECORD, SAMPLES)).hexdigest()}"


def test_the_seal_never_changes_for_the_same_record() -> None:
    assert seal(RECORD, SAMPLES) == "sha256:be6d1d8d3afcafda5bbc818bf9838d050d1d4597417e95fc00e768c4e7be2049"


def test_neither_the_order_of_storage_nor_the_zone_of_a_moment_matters() -> None:
    tokyo = [(at.astimezone(ZoneInfo("Asia/Tokyo")), total, quality) for at, total, quality in reversed(SAMPLES)]
    assert seal(RECORD, tokyo) == seal(RECORD, SAMPLES)


@pytest.mark.parametrize(
    "change",
    [
        {"service_id": 8},
        {"resource": "out"},
        {"since": T0 - timedelta(microseconds=1)},
        {"until": T0 + timedelta(days=1)},
        {"base_unit": "KB"},
        {"quantity": 2**64 - 1},
        {"formula": 2},
    ],
)
def test_every_field_of_the_record_is_under_the_seal(change) -> None:
    assert seal(replace(RECORD, **change), SAMPLES) != seal(RECORD, SAMPLES)


@settings(deadline=None)
@given(st.integers(0, len(SAMPLES) - 1), st.sampled_from(["drop", "double", "total", "moment", "class"]))
def test_every_sample_is_under_the_seal(index, change) -> None:
    changed = list(SAMPLES)
    at, total, _ = changed[index]
    match change:
        case "drop":
            del changed[index]
        case "double":
            changed.append(changed[index])
        case "total":
            changed[index] = (at, total + 1, changed[index][2])
        case "moment":
            changed[index] = (at + timedelta(microseconds=1), total, changed[index][2])
        case "class":
            changed[index] = (at, total, Quality.GAP)
    assert seal(RECORD, changed) != seal(RECORD, SAMPLES)


def test_what_could_be_read_in_two_ways_is_refused() -> None:
    with pytest.raises(ValueError, match="no name"):
        seal(replace(RECORD, resource="in\nservice 8"), SAMPLES)
    with pytest.raises(ValueError, match="no name"):
        seal(replace(RECORD, base_unit=""), SAMPLES)
    with pytest.raises(ValueError, match="needs a zone"):
        seal(RECORD, [(datetime(2026, 11, 1), 1, Quality.OK)])


def test_what_is_not_known_is_sealed_as_unknown_and_not_as_zero() -> None:
    unknown = replace(RECORD, quantity=None)
    assert b"\nquantity unknown\n" in canonical(unknown, SAMPLES)
    assert seal(unknown, SAMPLES) != seal(replace(RECORD, quantity=0), SAMPLES)
