# SPDX-License-Identifier: MIT
"""Running tasks are stopped: from `cancel()` to the task's own end, from its time limit to its end, and the same of
tasks that do not listen.

Each time is told by the task itself where it lives to do so, else read from the slots. Floor: `signal`: a forked Python
in `time.sleep` gets a signal, raises in its handler, and says in a `finally` when that was.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import hold_gil, tell_end

CANCELLED = "cancel() of a running task: it has stopped"
TIMED_OUT = "a time limit of 0.1 s: stopped after that"
KILLED = "cancel() of C code that holds the GIL: ended after the grace period of 0.1 s"
LIMIT = 0.1


def works(terms: Terms) -> Sequence[Work]:
    return [Work(name, "ms", more_is_better=False) for name in (CANCELLED, TIMED_OUT, KILLED)]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        if subject == "signal":
            return {
                work: statistics.median(_signal() for _ in range(terms.kills))
                for work in (CANCELLED, TIMED_OUT, KILLED)
            }
        return _localq(Path(folder), terms.kills)


def _localq(folder: Path, times: int) -> dict[str, float]:
    from localq import LocalQueue

    found: dict[str, list[float]] = {CANCELLED: [], TIMED_OUT: [], KILLED: []}
    with LocalQueue(workers=2, grace_period=LIMIT) as queue:
        for number in range(times):
            path = folder / f"cancelled-{number}"
            future = queue.delay(tell_end, str(path))
            _wait(future.running)
            asked = time.monotonic()
            future.cancel()
            _wait(path.exists)
            found[CANCELLED].append((float(path.read_text()) - asked) * 1000)
        for number in range(times):
            path = folder / f"limit-{number}"
            limited = queue.options(timeout=LIMIT).delay(tell_end, str(path))
            limited.exception()
            started = limited.start_ns / 1e9
            found[TIMED_OUT].append((float(path.read_text()) - started - LIMIT) * 1000)
        for _ in range(times // 4 + 1):
            deaf = queue.delay(hold_gil)
            _wait(deaf.running)
            asked = time.monotonic()
            deaf.cancel()
            _wait(lambda: not queue._space.slots()["running"])
            found[KILLED].append((time.monotonic() - asked - LIMIT) * 1000)
    return {name: statistics.median(values) for name, values in found.items()}


def _wait(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(0.0005)


def _signal() -> float:
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGURG, lambda *_: 1 / 0)
            os.write(tell, b"ready")
            time.sleep(60)
        finally:
            os.write(tell, repr(time.monotonic()).encode())
            os._exit(0)
    os.read(hear, 5)
    time.sleep(0.002)
    asked = time.monotonic()
    os.kill(child, signal.SIGURG)
    said = float(os.read(hear, 100))
    os.waitpid(child, 0)
    os.close(hear)
    os.close(tell)
    return (said - asked) * 1000


BENCH = Bench(
    name="stop",
    title="Running tasks are stopped",
    works=works,
    turn=turn,
    takes_part=lambda name: False,
    floors=("signal",),
)

if __name__ == "__main__":
    command.run_alone(BENCH)
