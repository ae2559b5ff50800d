# SPDX-License-Identifier: MIT
"""The benchmark of Ctrl-C: what it times is a program that was interrupted."""

from __future__ import annotations

import pytest

from benchmarks import bench_interrupt
from benchmarks.bench_interrupt import ENOUGH_SECONDS, interrupted_ms


@pytest.mark.slow
def test_a_program_of_ours_is_interrupted_and_ends():
    assert 0 < interrupted_ms("localq") < ENOUGH_SECONDS * 1000


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise SystemExit('no pool today')", "ended before it was interrupted: no pool today"),
        ("print('waiting', flush=True)", "was not interrupted: exit status 0"),
    ],
)
def test_a_program_that_ends_by_itself_is_not_timed(monkeypatch, program, why):
    monkeypatch.setitem(bench_interrupt.PROGRAMS, "pool", program)

    with pytest.raises(RuntimeError, match=why):
        interrupted_ms("pool")
