# SPDX-License-Identifier: MIT
"""A worker is killed in a task (SIGKILL): until whoever waits hears of it, and until a task with a retry runs again.

Floors: `fork`: kill a forked Python, see it end by its pidfd, wait for it, fork another and have that one say the time;
`python`, for the supervisor: an interpreter that is told to do nothing; `10ms`, the goal for a task that runs again.
The pools that break when a worker dies take part in the first work only, each with a new pool a kill.
"""

from __future__ import annotations

import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import command, peers
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import hold_once, same

HEARD = "a worker is killed: its client hears of it"
AGAIN = "a worker is killed: its task runs again"
REPLACED = "the supervisor is killed: the next result"
GOAL_MS = {"10ms": 10.0}
FEWER = 10  # kills of the supervisor: each takes more than a second
BREAK = ("ppe-fork", "loky")


def works(terms: Terms) -> Sequence[Work]:
    return [
        Work(HEARD, "ms", more_is_better=False, goals={"ppe-fork": 1.0}),
        Work(AGAIN, "ms", more_is_better=False, goals=dict.fromkeys(GOAL_MS, 1.0)),
        Work(REPLACED, "ms", more_is_better=False),
    ]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject in GOAL_MS:
        return {AGAIN: GOAL_MS[subject]}
    with tempfile.TemporaryDirectory() as folder:
        if subject == "fork":
            return {AGAIN: statistics.median(_fork_again() for _ in range(terms.kills))}
        if subject == "python":
            return {REPLACED: statistics.median(_start_python() for _ in range(terms.kills // 4 + 1))}
        if subject == "localq":
            return _localq(Path(folder), terms.kills)
        return {HEARD: statistics.median(_broken(subject, Path(folder, str(i))) for i in range(terms.kills // 4 + 1))}


def _localq(folder: Path, kills: int) -> dict[str, float]:
    from localq import LocalQueue

    heard, again, replaced = [], [], []
    with LocalQueue(workers=2) as queue:
        for number in range(kills):
            path = folder / f"heard-{number}"
            future = queue.delay(hold_once, str(path))
            killed = _kill(path)
            future.exception()
            heard.append(_since(killed))
        for number in range(kills):
            path = folder / f"again-{number}"
            retried = queue.options(max_retries=1).delay(hold_once, str(path))
            killed = _kill(path)
            again.append((retried.result() - killed) * 1000)
        for _ in range(kills // FEWER + 1):
            supervisor: Any = queue._connection.hold
            killed = time.monotonic()
            os.kill(supervisor.supervisor_pid, signal.SIGKILL)
            queue.options(max_retries=1).delay(same, 1).result()
            replaced.append(_since(killed))
            time.sleep(1.1)  # one that is lost at once again is replaced more slowly
    return {HEARD: statistics.median(heard), AGAIN: statistics.median(again), REPLACED: statistics.median(replaced)}


def _start_python() -> float:
    began = time.monotonic()
    subprocess.call([sys.executable, "-c", "pass"], close_fds=False)
    return _since(began)


def _broken(subject: str, path: Path) -> float:
    pool = peers.find(subject).start(2)
    try:
        pool.wait(pool.submit(same, 1))
        future = pool.submit(hold_once, str(path))
        killed = _kill(path)
        future.exception()
        return _since(killed)
    finally:
        pool.close()


def _kill(path: Path) -> float:
    """Kill the worker that says its pid in that file; when that was."""
    while not (path.exists() and (said := path.read_text()).endswith("\n")):
        time.sleep(0.0005)
    now = time.monotonic()
    os.kill(int(said), signal.SIGKILL)
    return now


def _since(then: float) -> float:
    return (time.monotonic() - then) * 1000


def _fork_again() -> float:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    pidfd = os.pidfd_open(child)
    killed = time.monotonic()
    os.kill(child, signal.SIGKILL)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    os.waitpid(child, 0)
    os.close(pidfd)
    hear, tell = os.pipe()
    if os.fork() == 0:
        os.write(tell, repr(time.monotonic()).encode())
        os._exit(0)
    os.wait()
    said = float(os.read(hear, 100))
    os.close(hear)
    os.close(tell)
    return (said - killed) * 1000


BENCH = Bench(
    name="recovery",
    title="Workers and the supervisor are killed (SIGKILL)",
    works=works,
    turn=turn,
    takes_part=lambda name: name in BREAK,
    floors=("fork", "python", *GOAL_MS),
    is_long=True,
    share=45.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)
