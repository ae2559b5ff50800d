# SPDX-License-Identifier: MIT
"""Tasks are stopped: running ones from `cancel()` to the task's own end, from its time limit to its end, and the same
of tasks that do not listen; and queued ones, of which a ProcessPoolExecutor too can cancel all that its workers have
not been promised.

Each time is told by the task itself where it lives to do so, else read from the slots. Floors: `signal`: a forked
Python in `time.sleep` gets a signal, raises in its handler, and says in a `finally` when that was; `10ms`, the goal.
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
from benchmarks.measure import started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import hold, hold_gil, nothing, tell_end

QUEUED = "cancel() of a queued task"
CANCELLED = "cancel() of a running task: it has stopped"
TIMED_OUT = "a time limit of 0.1 s: stopped after that"
KILLED = "cancel() of C code that holds the GIL: ended after the grace period of 0.1 s"
LIMIT = 0.1
GOAL_MS = {"10ms": 10.0}
MOST_PROMISED = 5  # of the queued tasks: those that are in the pipe to its workers, a ProcessPoolExecutor can't cancel
MOST_SECONDS = 20.0


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(CANCELLED, "ms", more_is_better=False, goals=dict.fromkeys(GOAL_MS, 1.0)),
        Work(TIMED_OUT, "ms", more_is_better=False, goals=dict.fromkeys(GOAL_MS, 1.0)),
        Work(KILLED, "ms", more_is_better=False),
        Work(QUEUED, "us", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject in GOAL_MS:
        return dict.fromkeys((CANCELLED, TIMED_OUT), GOAL_MS[subject])
    with tempfile.TemporaryDirectory() as folder:
        if subject == "signal":
            return {
                work: statistics.median(_signal() for _ in range(terms.kills))
                for work in (CANCELLED, TIMED_OUT, KILLED)
            }
        queued = {QUEUED: _cancel_queued(subject, Path(folder), terms.calls)}
        return queued if subject != "localq" else {**_localq(Path(folder), terms.kills), **queued}


def _cancel_queued(subject: str, folder: Path, calls: int) -> float:
    """Microseconds each, the latest first."""
    fifo = folder / "release"
    os.mkfifo(fifo)
    with started(subject, workers=1) as peer:
        held = peer.submit(hold, str(fifo))
        with open(fifo, "wb"):  # returns when the worker has opened its end: from here on it takes nothing else
            queued = [peer.submit(nothing) for _ in range(calls)]
            queued.reverse()
            began = time.perf_counter()
            cancelled = sum(future.cancel() for future in queued)
            taken = time.perf_counter() - began
        peer.wait(held)
    if cancelled < calls - MOST_PROMISED:
        raise RuntimeError(f"{subject} has cancelled {cancelled} of {calls} queued tasks")
    return taken / calls * 1e6


def _localq(folder: Path, times: int) -> dict[str, float]:
    from localq import LocalQueue

    found: dict[str, list[float]] = {CANCELLED: [], TIMED_OUT: [], KILLED: []}
    with LocalQueue(
        workers=2
    ) as queue:  # its grace is long: on a busy machine no worker is killed before it says its end
        for number in range(times):
            path = folder / f"cancelled-{number}"
            future = queue.delay(tell_end, str(path))
            _wait(Path(f"{path}.begun").exists)  # a task that runs has not always come as far as its own first line
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
    with LocalQueue(workers=2, grace_period=LIMIT) as queue:
        for _ in range(times // 4 + 1):
            deaf = queue.delay(hold_gil)
            _wait(deaf.running)
            asked = time.monotonic()
            deaf.cancel()
            _wait(lambda: not queue._space.slots()["running"])
            found[KILLED].append((time.monotonic() - asked - LIMIT) * 1000)
    return {name: statistics.median(values) for name, values in found.items()}


def _wait(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + MOST_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"what is waited for has not come within {MOST_SECONDS:g} s")
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
    title="Tasks are stopped",
    works=works,
    turn=turn,
    takes_part=lambda name: name == "ppe-fork",
    floors=("signal", *GOAL_MS),
    is_long=True,
    share=30.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
