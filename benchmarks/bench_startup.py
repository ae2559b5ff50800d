# SPDX-License-Identifier: MIT
"""A fresh interpreter: the import alone, and import + start + first result + close. The wall time of the process.

Its floor is `python`: an interpreter that is told to do nothing.
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

IMPORT = "import"
WHOLE = "import + start + first result + close"


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(IMPORT, "ms", more_is_better=False),
        Work(WHOLE, "ms", more_is_better=False, goals={"ppe-fork": 1.0}),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject == "python":
        nothing_ms = _milliseconds("pass", terms.starts)
        return {IMPORT: nothing_ms, WHOLE: nothing_ms}
    peer = peers.find(subject)
    return {
        IMPORT: _milliseconds(peer.importing, terms.starts),
        WHOLE: _milliseconds(peer.hello, terms.starts),
    }


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
    title="A fresh interpreter, 2 workers, one result",
    works=works,
    turn=turn,
    takes_part=lambda name: True,
    floors=("python",),
)

if __name__ == "__main__":
    command.run_alone(BENCH)
