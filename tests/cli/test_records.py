"""Usage records at a shell."""

from __future__ import annotations

import pytest

from tests.api.test_records import fill, touch
from tests.cli.conftest import Desk


@pytest.fixture(autouse=True)
async def records(desk: Desk) -> None:
    await fill(desk.home)


async def test_records_that_wait_are_listed_with_their_reasons_and_one_shows_everything(desk: Desk) -> None:
    listed = await desk("usage", "records", "--held", "--newest")
    assert "nothing is known of it" in listed.out
    assert "unknown" in listed.out
    assert len(listed.out.splitlines()) == 3
    shown = await desk("usage", "record", "2")
    assert "3 KiB (3072 B)" in shown.out
    assert "3 of 4" in shown.out
    assert (await desk("usage", "record", "3", "--json")).json["quantity"] is None


async def test_a_record_is_accepted_or_corrected_with_a_reason(desk: Desk) -> None:
    assert (await desk("usage", "accept", "2")).code == 2
    done = await desk("usage", "accept", "2", "--reason", "the panel was down")
    assert (done.code, done.out) == (0, "record 5, revision 2: 3 KiB\n")
    done = await desk("usage", "correct", "3", "--quantity", "1.5", "--reason", "read off")
    assert (done.code, done.out) == (0, "record 6, revision 2: 1.5 W\n")
    again = await desk("usage", "correct", "3", "--quantity", "1", "--reason", "x")
    assert (again.code, "revised" in again.err) == (1, True)


async def test_the_exit_code_of_verify_says_whether_something_was_touched(desk: Desk) -> None:
    done = await desk("usage", "verify", "--all")
    assert (done.code, done.out.splitlines()[-1]) == (0, "4 other_formula")
    assert (await desk("usage", "verify", "--service", "1", "--json")).json["counts"] == {"other_formula": 4}
    done = await desk("usage", "verify", "1", "99")
    assert (done.code, done.err) == (1, "record 99: there is none\n")
    assert (await desk("usage", "verify")).code == 2
    await touch(desk.home, "held = FALSE WHERE id = 3")
    done = await desk("usage", "verify", "--all")
    assert (done.code, done.out.splitlines()[-1]) == (1, "1 broken, 3 other_formula")
    assert "held: False stands in the record, the audit log has True" in done.out


async def test_verify_goes_through_all_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.cli.records.VERIFIED_AT_ONCE", 3)
    done = await desk("usage", "verify", "--all")
    assert done.out.splitlines()[-1] == "4 other_formula"
