"""The demo as anybody runs it, and that it does not say what is not so."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.acceptance.house import PROGRAM


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "120"}
    return subprocess.run([*PROGRAM, "demo", *options], capture_output=True, text=True, timeout=170, env=wide)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_sells_a_server_twice_and_counts_a_month_to_the_byte() -> None:
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "now belongs to another customer" in done.stdout
    assert "Used so far:  10 TiB, which is 100 % of what is included" in done.stdout
    assert "points for 95 % of the time" in done.stdout  # the night without the panel, in the graph
    assert done.stdout.count(" equal") == 23
    assert "differs" not in done.stdout
    assert "all 40 records come out the same, bit for bit" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_count_that_is_off_by_one_byte_fails_the_demo_with_a_sentence() -> None:
    done = demo("--only", "month", "--miscount")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count(" differs") == 1
    sentence = " ".join(done.stdout.partition("The demo failed:")[2].split())
    assert sentence.startswith("Ada's in from 28 Feb 23:00 UTC: the usage record says 126")
    record, sandbox = (int(word) for word in sentence.split() if len(word) > 6 and word.isdecimal())
    assert sandbox == record + 1
