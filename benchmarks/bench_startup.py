# SPDX-License-Identifier: MIT
"""What a start and an end take: of a fresh interpreter, and of the pool alone.

The import alone, and import + start of two workers + first result + close, are the wall time of a process; the close of
a pool whose two workers have nothing to do is timed within the turn. Floor: `python`, an interpreter that does nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from time import perf_counter

from benchmarks import command, peers
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import nothing, same

WORKERS = 2
IMPORT = "import"
WHOLE = "import + start + first result + close"
CLOSE = "close, with nothing to do"


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(IMPORT, "ms", more_is_better=False),
        Work(WHOLE, "ms", more_is_better=False, goals={"ppe-fork": 1.0}),
        Work(CLOSE, "ms", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject == "python":
        nothing_ms = _milliseconds("pass", terms.starts)
        return {IMPORT: nothing_ms, WHOLE: nothing_ms}
    peer = peers.find(subject)
    starts = 1 if peer.is_heavy else terms.starts
    return {
        IMPORT: _milliseconds(peer.importing, starts),
        WHOLE: _milliseconds(peer.hello, starts),
        CLOSE: statistics.median(_close_milliseconds(peer) for _ in range(starts)),
    }


def _close_milliseconds(subject: peers.Subject) -> float:
    peer = subject.start(WORKERS)
    if subject.submits:
        for handle in [peer.submit(nothing) for _ in range(10 * WORKERS)]:
            peer.wait(handle)
    else:
        list(peer.map(same, range(10 * WORKERS), 1))
    begin = perf_counter()
    peer.close()
    return (perf_counter() - begin) * 1000


def _milliseconds(program: str, starts: int) -> float:
    """The median over `starts` processes, after one that fills the caches of files and byte code."""
    took: list[float] = []
    # Errors go to a file: the end of a pipe would also wait for helpers that outlive the program for a moment.
    with tempfile.TemporaryFile("w+") as errors:
        for _ in range(1 + starts):
            begin = perf_counter()
            # close_fds=False lets the parent use posix_spawn, so that its own size does not count.
            status = subprocess.call([sys.executable, "-c", program], stderr=errors, close_fds=False)
            took.append((perf_counter() - begin) * 1000)
            if status != 0:
                errors.seek(0)
                raise RuntimeError((errors.read().strip().splitlines() or [f"exit status {status}"])[-1])
    return statistics.median(took[1:])


BENCH = Bench(
    name="startup",
    title="Start and end, 2 workers",
    works=works,
    turn=turn,
    takes_part=lambda name: True,
    floors=("python",),
    share=70.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
