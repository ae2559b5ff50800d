# SPDX-License-Identifier: MIT
"""Peak memory of a large array on its way: of client, workers and shared memory together, beyond what was there before.

An array that the client has goes to several tasks at once that read it all, as it is and stored once (where a library
cannot store: as it is); and tasks return new arrays of that size, which the client then holds. So the least there is
for the results is that of the arrays themselves, and for the arguments nothing: a copy of each is read from somewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks import command
from benchmarks.bench_transfer import ITEM_BYTES, PEERS, prepare_workers, runner
from benchmarks.measure import ROOT, started
from benchmarks.terms import Bench, Terms, Work, size_name
from benchmarks.workloads import make, total

TASKS = 4


def works(terms: Terms) -> Sequence[Work]:
    return [Work(name, "MB", more_is_better=False) for name in _names(terms)]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    values: dict[str, float] = {}
    given, stored, returned = _names(terms)
    count = terms.peak_bytes // ITEM_BYTES
    array = make(count)
    for name in (given, stored, returned):  # each in a pool of its own: some keep what they have for the next time
        with started(subject, terms.workers) as peer:
            run = runner(peer, subject)
            prepare_workers(run, terms.workers, 1)
            put = getattr(peer, "put", None)
            if name == stored and put is None:
                if subject != "localq":
                    values[stored] = values[given]
                continue
            with _peak_megabytes(values, name):
                if name == returned:
                    results = run(make, [count] * TASKS)
                else:
                    results = run(total, [put(array) if put is not None and name == stored else array] * TASKS)
            del results
    return values


def _names(terms: Terms) -> tuple[str, str, str]:
    size = size_name(terms.peak_bytes)
    return f"{TASKS} tasks read {size}", f"{TASKS} tasks read {size}, put once", f"{TASKS} tasks return {size} each"


@contextmanager
def _peak_megabytes(values: dict[str, float], name: str) -> Iterator[None]:
    """Note what this process, its descendants and shared memory took at most in between."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watch", str(os.getpid())],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        yield
        said, _ = watch.communicate()
    values[name] = int(said) / 1e6


BENCH = Bench(
    name="peak",
    title="Peak memory of large arrays on their way, all processes and shared memory",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    is_long=True,
    share=30.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
