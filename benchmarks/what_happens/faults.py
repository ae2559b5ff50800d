# SPDX-License-Identifier: MIT
"""The faults, each a scenario of a few lines that drives any system: FAULTS, in the order of the table.

`python -m benchmarks.what_happens.faults FAULT SYSTEM FOLDER` plays one: run by `sandbox`, and by hand to see why a
cell says what it says. What an outcome is worth is for others to tell.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from benchmarks.what_happens import deeds
from benchmarks.what_happens.stage import NAP_SECONDS, OTHERS, PATIENCE, Hints, Stage, naps
from benchmarks.what_happens.systems import SYSTEMS, WORKERS, Call
from benchmarks.workloads import same

RETRIES = 2
SETTLE_SECONDS = 0.3  # between a signal to a process and the next call: whoever watches it has seen it
LONG_SECONDS = 30.0  # a task that outlasts the scenario

Play = Callable[[Stage], None]

PID: Hints = {"pid": r"\b{pid}\b"}
KILLED: Hints = {**PID, "signal": r"SIGKILL|signal 9\b|-9\b"}
SEGFAULT: Hints = {**PID, "signal": r"SIGSEGV|signal 11\b|-11\b"}
STATUS: Hints = {**PID, "exit status": r"(status|code) 3\b|EXIT\(3\)"}
MESSAGE: Hints = {"the original message": "the original message"}
LOCK: Hints = {
    "its type": r"_thread\.lock",
    "which value": r"(?m)^\w+: (task \S+: )?(argument|result|Error sending result)",
}


@dataclass(frozen=True, slots=True)
class Fault:
    title: str
    play: Play


def _bad(deed: Callable[..., Any], hints: Hints, retries: int = 0, args: Callable[[], tuple[Any, ...]] = tuple) -> Play:
    """One bad call among others; then one call more."""

    def play(stage: Stage) -> None:
        stage.meet()
        stage.bad_among_others(hints, retries, deed, *args())
        stage.note(after=stage.one_more())

    return play


def _stop_busy(stage: Stage) -> None:
    stage.meet()
    handle = stage.bad_among_others({}, 0, deeds.stop_itself)
    for pid, _ in deeds.records(stage.records):
        os.kill(pid, signal.SIGCONT)
    stage.note(continued=stage.outcome_of(handle, monotonic() + PATIENCE))
    stage.note(after=stage.one_more())


def _signal_idle(number: signal.Signals) -> Play:
    def play(stage: Stage) -> None:
        victim = random.choice(stage.meet())  # where one holds a lock while it waits, it matters which
        os.kill(victim, number)
        time.sleep(SETTLE_SECONDS)
        _ten_naps(stage)
        if number == signal.SIGSTOP:
            os.kill(victim, signal.SIGCONT)
        stage.note(after=stage.one_more())

    return play


def _ten_naps(stage: Stage) -> None:
    stage.note_answers(stage.system.batch(naps(OTHERS + 1)), monotonic() + PATIENCE)


def _die_with_tasks(nap_seconds: float) -> Play:
    """Tasks are queued, and the client asks to be killed from outside."""

    def play(stage: Stage) -> None:
        stage.meet()
        stage.system.batch(naps(2 * (OTHERS + 1), nap_seconds))
        stage.note(signal=signal.SIGKILL, signal_group=False)
        time.sleep(LONG_SECONDS)

    return play


def _map_until_ctrl_c(stage: Stage) -> None:
    stage.meet()
    stage.note(signal=signal.SIGINT, signal_group=True)
    list(stage.system.map(deeds.nap_a_second, range(2 * (OTHERS + 1)), None))


def _kill_helpers(stage: Stage) -> None:
    """The children of the client that run no tasks: a supervisor, a resource tracker."""
    workers = stage.meet()
    helpers = [child for child in psutil.Process().children() if child.pid not in workers]
    stage.note(helpers=[helper.name() for helper in helpers])
    if not helpers:
        return
    handles = stage.system.batch(naps(OTHERS + 1))
    time.sleep(SETTLE_SECONDS)
    for helper in helpers:
        helper.kill()
    stage.note_answers(handles, monotonic() + PATIENCE)
    stage.note(after=stage.one_more())


def _fork_client(stage: Stage) -> None:
    """A forked child uses the pool of its parent, who then goes on using it."""
    stage.meet()
    pid = os.fork()
    if pid == 0:
        try:
            stage.note(child=stage.one_more())
        finally:
            os._exit(0)
    if not _ended(pid, PATIENCE):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        stage.note(child={"how": "silent"})
    _ten_naps(stage)
    stage.note(after=stage.one_more())


def _ended(pid: int, patience: float) -> bool:
    until = monotonic() + patience
    while monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(deeds.POLL_SECONDS)
    return False


def _nest(stage: Stage) -> None:
    """As many calls as there are workers, each of which sends one to the same pool and waits for it."""
    workers = stage.meet()
    calls: list[Call] = [(deeds.nested, (stage.system,))] * WORKERS
    until = monotonic() + PATIENCE
    outcomes = [stage.outcome_of(handle, until) for handle in stage.system.batch(calls)]
    pairs = [outcome["text"].strip("()").split(", ") for outcome in outcomes if outcome["how"] == "value"]
    stage.note(nested=outcomes, nested_ran_in=[_place(int(outer), int(inner), workers) for outer, inner in pairs])
    stage.note(after=stage.one_more())


def _place(outer: int, inner: int, workers: Sequence[int]) -> str:
    if inner == outer:
        return "the process of the task itself"
    return "the same pool" if inner in workers else "processes outside the pool"


FAULTS: Mapping[str, Fault] = {
    "exception-unsendable": Fault(
        "a task raises an exception that pickle refuses", _bad(deeds.raise_unsendable, MESSAGE)
    ),
    "exception-unloadable": Fault(
        "a task raises an exception that can't be rebuilt (`__init__` wants other arguments)",
        _bad(deeds.raise_unloadable, MESSAGE),
    ),
    "argument-unsendable": Fault(
        "an argument can't be pickled (a lock)", _bad(same, LOCK, args=lambda: (threading.Lock(),))
    ),
    "result-unsendable": Fault("a result can't be pickled (a lock)", _bad(deeds.return_lock, LOCK)),
    "result-unloadable": Fault(
        "a result can't be unpickled", _bad(deeds.return_unloadable, {"the reason": "this value can't be rebuilt"})
    ),
    "killed": Fault("SIGKILL while a task runs, 9 others queued", _bad(deeds.kill_itself, KILLED)),
    "segfault": Fault("a task reads address 0 (ctypes)", _bad(deeds.read_null, SEGFAULT)),
    "os-exit": Fault("`os._exit(3)` in a task", _bad(deeds.exit_hard, STATUS)),
    "sys-exit": Fault("`sys.exit(3)` in a task", _bad(deeds.exit_softly, {"SystemExit": "^SystemExit"})),
    "poison": Fault(
        f"a task kills every worker that runs it (max_retries={RETRIES} where there is such a thing)",
        _bad(deeds.kill_itself, KILLED, RETRIES),
    ),
    "killed-idle": Fault("SIGKILL to a worker between tasks, then 10 tasks", _signal_idle(signal.SIGKILL)),
    "stopped": Fault("SIGSTOP while a task runs, 9 others queued; SIGCONT later", _stop_busy),
    "stopped-idle": Fault("SIGSTOP to a worker between tasks, then 10 tasks", _signal_idle(signal.SIGSTOP)),
    "memory": Fault("a task allocates until RLIMIT_AS", _bad(deeds.exhaust_memory, {"MemoryError": "^MemoryError"})),
    "stack": Fault("a task recurses through C until the stack ends", _bad(deeds.overflow_stack, SEGFAULT)),
    "fork-in-task": Fault("a task forks and both processes return", _bad(deeds.fork_and_return, {})),
    "thread": Fault(
        f"a task leaves a thread running for {deeds.THREAD_SECONDS:g} s that is no daemon", _bad(deeds.start_thread, {})
    ),
    "closed-fds": Fault("a task closes descriptors 3 to 255", _bad(deeds.close_descriptors, {})),
    "nested": Fault("2 tasks each send a task to their own pool and wait for it", _nest),
    "client-forked": Fault("the client forks, and the child uses the pool", _fork_client),
    "helper-killed": Fault("SIGKILL to the client's helper processes (supervisor, resource tracker)", _kill_helpers),
    "client-killed": Fault("SIGKILL to the client, short tasks queued", _die_with_tasks(NAP_SECONDS)),
    "client-killed-busy": Fault(
        f"SIGKILL to the client, tasks of {LONG_SECONDS:g} s running",
        _die_with_tasks(LONG_SECONDS),
    ),
    "ctrl-c": Fault("Ctrl-C during a map of naps of 1 s", _map_until_ctrl_c),
}


def main(fault: str, system_name: str, folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # workers are meant to crash
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    with SYSTEMS[system_name].start() as system:
        stage = Stage(system, Path(folder))
        FAULTS[fault].play(stage)
        stage.note(leaving=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
