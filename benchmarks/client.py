# SPDX-License-Identifier: MIT
"""A client beside others: `python -m benchmarks.client NAME CALLS`, a process that attaches to the queue of that name.

Used by bench_scale. Says `ready` when it is there. For each number on its stdin it submits CALLS no-op calls and
gathers them, again and again for so many seconds; then it says how many calls that were and how many seconds it took.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

from benchmarks.measure import ROOT
from benchmarks.workloads import nothing


class Client:
    """The other end: a process of this file."""

    def __init__(self, queue: str, calls: int) -> None:
        """It is there when `wait_until_ready` returns, so that several may start at once."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.client", queue, str(calls)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        if self._answer() != "ready":
            raise RuntimeError(f"a client did not start; exit status {self._process.wait()}")

    def begin(self, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def end(self) -> tuple[int, float]:
        """How many calls it made since `begin`, and in how many seconds."""
        calls, seconds = self._answer().split()
        return int(calls), float(seconds)

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main() -> None:
    from localq import LocalQueue

    name, calls = sys.argv[1], int(sys.argv[2])
    with LocalQueue.attach(name) as queue:

        def submit_and_gather() -> None:
            for future in [queue.delay(nothing) for _ in range(calls)]:
                future.result()

        submit_and_gather()
        print("ready", flush=True)
        for told in sys.stdin:
            done = 0
            begin = now = perf_counter()
            while now - begin < float(told):
                submit_and_gather()
                done += calls
                now = perf_counter()
            print(done, now - begin, flush=True)


if __name__ == "__main__":
    main()
