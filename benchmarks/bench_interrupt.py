# SPDX-License-Identifier: MIT
"""Ctrl-C while a program waits for results: until it has ended and the shell has its prompt back.

Each program submits 8 tasks of half a second to 2 workers and waits for their results within a `with`; once the first
have had time to begin, SIGINT goes to all processes of its group, as a terminal's Ctrl-C does. What takes longer than
ENOUGH_SECONDS is killed and counted as that. Floor: `200ms`, the goal.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import command
from benchmarks.measure import ROOT
from benchmarks.terms import Bench, Terms, Work

ENDED = "Ctrl-C: the program has ended"
GOAL_MS = {"200ms": 200.0}
ENOUGH_SECONDS = 10.0
TIDY_SECONDS = 2.0
BUSY_SECONDS = 0.2  # after the submission: workers have begun, and none has ended

_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
from benchmarks.workloads import nothing, pause_500_ms
{start}
    for handle in [pool.{submit}(nothing) for _ in range(20)]:
        handle.{wait}()
    handles = [pool.{submit}(pause_500_ms) for _ in range(8)]
    print("waiting", flush=True)
    for handle in handles:
        handle.{wait}()
"""

PROGRAMS = {
    "localq": _PROGRAM.format(
        start="from localq import LocalQueue\nwith LocalQueue(workers=2) as pool:", submit="delay", wait="result"
    ),
    "ppe-fork": _PROGRAM.format(
        start="import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool:",
        submit="submit",
        wait="result",
    ),
    "pool": _PROGRAM.format(
        start="import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:",
        submit="apply_async",
        wait="get",
    ),
    "loky": _PROGRAM.format(
        start="import loky\nwith loky.ProcessPoolExecutor(2) as pool:", submit="submit", wait="result"
    ),
}


def works(terms: Terms) -> Sequence[Work]:
    return [Work(ENDED, "ms", more_is_better=False, goals=dict.fromkeys(GOAL_MS, 1.0))]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject in GOAL_MS:
        return {ENDED: GOAL_MS[subject]}
    return {ENDED: statistics.median(interrupted_ms(subject) for _ in range(terms.interrupts))}


def interrupted_ms(subject: str) -> float:
    """From SIGINT to the program's end. Raises RuntimeError when that was not what ended it."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAMS[subject]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            assert program.stdout is not None
            if program.stdout.readline() != "waiting\n":
                raise RuntimeError(f"{subject} ended before it was interrupted: {program.communicate()[1][-1000:]}")
            time.sleep(BUSY_SECONDS)
            began = time.monotonic()
            os.killpg(program.pid, signal.SIGINT)
            try:
                _, errors = program.communicate(timeout=ENOUGH_SECONDS)
            except subprocess.TimeoutExpired:
                return ENOUGH_SECONDS * 1000
            taken = (time.monotonic() - began) * 1000
        finally:
            _end_group(program.pid)
    if "KeyboardInterrupt" not in errors:
        raise RuntimeError(f"{subject} was not interrupted: exit status {program.returncode}")
    return taken


def _end_group(group: int) -> None:
    """Kill what is left of it. Whoever removes semaphores after the program's end is given the time to do so."""
    until = time.monotonic() + TIDY_SECONDS
    try:
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.01)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing is left


BENCH = Bench(
    name="interrupt",
    title="Ctrl-C while results are waited for, 2 workers",
    works=works,
    turn=turn,
    takes_part=PROGRAMS.__contains__,
    floors=tuple(GOAL_MS),
    is_long=True,
    share=25.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
