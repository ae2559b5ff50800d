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
    megabyte = 1 << 20
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watch", str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as watch:  # fmt: skip
        assert watch.stdout is not None
        assert watch.stdout.readline() == "ready\n"
        holding = [sys.executable, "-c", HOLDING, str(60 * megabyte)]
        with (
            mmap.mmap(-1, 40 * megabyte) as shared,
            subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
        ):
            shared.write(b"x" * (40 * megabyte))
            assert child.stdout is not None
            child.stdout.readline()
            said, _ = watch.communicate()
            child.communicate()

    assert int(said) >= 100 * megabyte


@pytest.mark.slow
def test_the_peak_of_results_is_at_least_the_results():
    values = take_turn("peak", "pool", TERMS)

    names = [work.name for work in BENCH.works(TERMS)]
    assert set(values) == set(names)
    assert values["4 tasks return 20 MB each"] >= 80
