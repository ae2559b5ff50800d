# SPDX-License-Identifier: MIT
"""Ctrl-C at every place where a client can wait, SIGTERM, and a terminal that hangs up."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.queues import is_gone, lines_of
from tests.support.scripts import ROOT, WATCHDOG, start_script
from tests.support.waiting import Gate, eventually

#: From the signal to the except clause, or to the end of the process. Idle it takes some ten milliseconds; the bound of
#: the design is 0.2 s, which a shared machine cannot promise to a test.
PROMPTLY = 2.0

PROLOGUE = """
    import os, signal, sys, time
    from localq import LocalQueue
    from tests.support import tasks
    from tests.support.queues import supervisor_of, wait_until_staffed

    gate = sys.argv[1]
    q = LocalQueue(workers=2, capacity=8)
    print(supervisor_of(q), *wait_until_staffed(q), flush=True)
"""

PLACES = {
    "result": "q.delay(tasks.slow, gate).result()",
    "exception": "q.delay(tasks.slow, gate).exception()",
    "map": "list(q.map(tasks.slow, [gate] * 50, chunksize=1))",
    "unordered": "list(q.map(tasks.slow, [gate] * 50, chunksize=1, ordered=False))",
    "progress": "list(q.map(tasks.slow, [gate] * 50, chunksize=1, progress=lambda *_: None))",
    "delay": "[q.delay(tasks.slow, gate) for _ in range(100)]",
    "submit_task": "q.submit_task(tasks.slow, [gate])",
    "close": "q.delay(tasks.slow, gate); q.close()",
    "with": "q.__enter__().delay(tasks.slow, gate); q.__exit__(None, None, None)",
    "wait": "__import__('concurrent.futures').futures.wait([q.delay(tasks.slow, gate)])",
}


def pids_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    """As a terminal does: the whole foreground group gets it."""
    os.killpg(process.pid, number)


@pytest.mark.parametrize("place", PLACES)
def test_one_ctrl_c_raises_promptly_and_leaves_the_queue_as_the_user_wrote_it(tmp_path, place):
    program = (
        PROLOGUE
        + f"""
    try:
        {PLACES[place]}
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
    open(gate + ".open", "w").close()
    if q.closed:
        print("closed")
    else:
        q.close(cancel_pending=True, timeout=0)
        print("usable")
    """
    )
    with Gate(tmp_path) as gate, start_script(tmp_path, program, gate.path) as process:
        pids = pids_of(process)
        gate.wait_for_arrivals(1)

        began = time.monotonic()
        interrupt(process)

        assert process.stdout is not None
        assert float(process.stdout.readline()) - began < PROMPTLY
        assert process.stdout.read() == ("closed\n" if place in ("close", "with") else "usable\n")
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(WATCHDOG) == 0
    eventually(lambda: all(map(is_gone, pids)))


@pytest.mark.parametrize("place", ["result", "map", "delay", "close"])
def test_a_script_that_catches_nothing_ends_promptly_with_one_traceback_and_no_orphan(tmp_path, place):
    with Gate(tmp_path) as gate, start_script(tmp_path, PROLOGUE + "\n    " + PLACES[place], gate.path) as process:
        pids = pids_of(process)
        gate.wait_for_arrivals(1)

        began = time.monotonic()
        interrupt(process)

        _, err = process.communicate(timeout=WATCHDOG)
        assert time.monotonic() - began < PROMPTLY
        assert process.returncode == -signal.SIGINT
        assert err.count("Traceback") == 1, err
        assert err.rstrip().endswith("KeyboardInterrupt")
    eventually(lambda: all(map(is_gone, pids)))


def test_after_ctrl_c_in_a_map_the_next_map_is_right(tmp_path):
    program = (
        PROLOGUE
        + """
    try:
        list(q.map(tasks.slow, [gate] * 50, chunksize=1))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.read()
    print(list(q.map(tasks.same, range(1000))) == list(range(1000)))
    q.close()
    """
    )
    with Gate(tmp_path) as gate, start_script(tmp_path, program, gate.path) as process:
        pids_of(process)
        gate.wait_for_arrivals(1)
        interrupt(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "interrupted\n"
        gate.open()
        assert process.stdout.read() == "True\n"
        assert process.wait(WATCHDOG) == 0


# ---- SIGTERM


DRAIN = (
    PROLOGUE.replace("capacity=8", "capacity=64")
    + """
    for number in range(6):
        q.delay(tasks.slow, gate)
        q.delay(tasks.record, sys.argv[2], str(number))
    {wait}
"""
)


@pytest.mark.parametrize("wait", ["q.close()", "time.sleep(1000)", "while True: pass"])
def test_a_client_that_is_terminated_has_its_work_done_first(tmp_path, wait):
    record = tmp_path / "record"
    with Gate(tmp_path) as gate:
        process = start_script(tmp_path, DRAIN.format(wait=wait), gate.path, str(record))
        with process:
            pids = pids_of(process)
            gate.wait_for_arrivals(2)

            interrupt(process, signal.SIGTERM)
            gate.open()

            _, err = process.communicate(timeout=WATCHDOG)
            assert (process.returncode, err) == (-signal.SIGTERM, "")
    assert sorted(lines_of(record)) == [str(number) for number in range(6)]
    eventually(lambda: all(map(is_gone, pids)))


def test_everybody_terminated_at_once_as_init_systems_do_drains_as_well(tmp_path):
    record = tmp_path / "record"
    with Gate(tmp_path) as gate:
        process = start_script(tmp_path, DRAIN.format(wait="time.sleep(1000)"), gate.path, str(record))
        with process:
            pids = pids_of(process)
            gate.wait_for_arrivals(2)

            for pid in [process.pid, *pids]:
                os.kill(pid, signal.SIGTERM)
            gate.open()

            _, err = process.communicate(timeout=WATCHDOG)
            assert (process.returncode, err) == (-signal.SIGTERM, "")
    assert sorted(lines_of(record)) == [str(number) for number in range(6)]
    eventually(lambda: all(map(is_gone, pids)))


def test_what_does_not_end_within_the_drain_timeout_is_ended(tmp_path):
    program = DRAIN.replace("capacity=64", "capacity=64, drain_timeout=0.2").format(wait="time.sleep(1000)")
    with Gate(tmp_path) as gate:
        process = start_script(tmp_path, program, gate.path, str(tmp_path / "record"))
        with process:
            pids = pids_of(process)
            gate.wait_for_arrivals(2)

            process.send_signal(signal.SIGTERM)

            process.communicate(timeout=WATCHDOG)
            assert process.returncode == -signal.SIGTERM
            eventually(lambda: all(map(is_gone, pids)), within=5)


def test_a_second_sigterm_ends_at_once(tmp_path):
    program = DRAIN.replace("capacity=64", "capacity=64, drain_timeout=1000").format(wait="time.sleep(1000)")
    with Gate(tmp_path) as gate:
        process = start_script(tmp_path, program, gate.path, str(tmp_path / "record"))
        with process:
            pids = pids_of(process)
            gate.wait_for_arrivals(2)
            process.send_signal(signal.SIGTERM)
            eventually(
                lambda: (
                    b"SigCgt" in (status := Path(f"/proc/{process.pid}/status").read_bytes()) and not handles(status)
                )
            )

            process.send_signal(signal.SIGTERM)

            process.communicate(timeout=WATCHDOG)
            assert process.returncode == -signal.SIGTERM
    eventually(lambda: all(map(is_gone, pids)))


def handles(status: bytes) -> bool:
    """Whether a process, by its /proc status, has a handler for SIGTERM."""
    caught = next(line for line in status.splitlines() if line.startswith(b"SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def test_a_program_that_handles_sigterm_itself_is_left_alone(tmp_path):
    program = """
    import os, signal
    signal.signal(signal.SIGTERM, lambda *_: print("mine", flush=True))
    from localq import LocalQueue
    with LocalQueue(workers=1) as q:
        handler = signal.getsignal(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        print(q.delay(pow, 2, 3).result())
    print(signal.getsignal(signal.SIGTERM) is handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with LocalQueue(workers=1) as q:
        print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """
    with start_script(tmp_path, program) as process:
        out, err = process.communicate(timeout=WATCHDOG)
    assert (out.split(), err) == (["mine", "8", "True", "False", "True"], "")


# ---- the terminal


def test_a_terminal_that_hangs_up_takes_everybody_along(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PROLOGUE) + "q.delay(tasks.slow, gate).result()\n")
    with Gate(tmp_path) as gate:
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["PYTHONPATH"] = str(ROOT)
            os.execv(sys.executable, [sys.executable, str(script), gate.path])
        with open(terminal, "rb", buffering=0) as screen:
            pids = [int(word) for word in screen.readline().split()]
            assert len(pids) == 3
            gate.wait_for_arrivals(1)
        # closed: the kernel sends SIGHUP to the foreground group

        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
        eventually(lambda: all(map(is_gone, pids)), within=5)
