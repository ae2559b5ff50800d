# SPDX-License-Identifier: MIT
"""The benchmark of peak memory: the memory of all processes is seen, and so is shared memory."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.bench_peak import BENCH
from benchmarks.measure import ROOT, take_turn
from benchmarks.terms import Terms
from tests.support.waiting import eventually

MEGABYTE = 1 << 20
TERMS = replace(Terms.quick(), workers=2, peak_bytes=20_000_000)

HOLDING = """
import sys
held = bytearray(int(sys.argv[1]))
held[::4096] = b"x" * len(held[::4096])
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_watch_sees_the_memory_of_a_child_and_shared_memory():
    # Shared memory is the whole machine's: what others let go of meanwhile is missing, so it may take another look.
    eventually(lambda: watched(60 * MEGABYTE, 40 * MEGABYTE) >= 100 * MEGABYTE, within=50.0)


def watched(private, shared):
    """The bytes that the watch sees when a child takes so many for itself, and this process so many to share."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watch", str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as watch:  # fmt: skip
        assert watch.stdout is not None
        assert watch.stdout.readline() == "ready\n"
        holding = [sys.executable, "-c", HOLDING, str(private)]
        with (
            mmap.mmap(-1, shared) as memory,
            subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
        ):
            memory.write(b"x" * shared)
            assert child.stdout is not None
            child.stdout.readline()
            said, _ = watch.communicate()
            child.communicate()
    return int(said)


@pytest.mark.slow
def test_the_peak_of_results_is_at_least_the_results():
    values = take_turn("peak", "pool", TERMS)

    names = [work.name for work in BENCH.works(TERMS)]
    assert set(values) == set(names)
    assert values["4 tasks return 20 MB each"] >= 80
