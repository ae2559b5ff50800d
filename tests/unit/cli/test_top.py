# SPDX-License-Identifier: MIT
"""`localq top` as a command, over queues that really run: in a terminal, in a pipe, as JSON and as a picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from localq import LocalQueue, TaskCancelled
from localq.errors import WorkerCrashed
from tests.support import tasks
from tests.support.queues import PATIENCE, id_of, supervisor_of, wait_until_staffed
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.terminals import Terminal
from tests.support.waiting import Gate

COMMAND = (sys.executable, "-m", "localq", "top")


@pytest.fixture
def busy(gate: Gate, runtime: Path) -> Iterator[LocalQueue]:
    """Three workers, of which one is held in a task; one task of another function has failed."""
    with LocalQueue(workers=3, name="busy", output="off") as queue:
        wait_until_staffed(queue)
        assert queue.delay(tasks.fail, "no such picture").exception(PATIENCE) is not None
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        yield queue
        gate.open()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a process of its own, without a terminal."""
    known = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=WATCHDOG, env=known)


def read_one(*arguments: str) -> Any:
    answer = run("--once", "--json", *arguments)
    assert (answer.returncode, answer.stderr) == (0, "")
    return json.loads(answer.stdout)


def test_once_prints_the_queue_in_100_columns_where_there_is_no_terminal(busy: LocalQueue) -> None:
    answer = run("--once")

    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 100
    assert "\x1b" not in answer.stdout
    for words in ("busy", "1 of 3 busy", "tasks.slow", "no such picture", "nothing is wrong"):
        assert words in answer.stdout
    assert "q quit" not in answer.stdout


def test_once_is_as_wide_as_the_terminal(busy: LocalQueue) -> None:
    with Terminal([*COMMAND, "--once"], size=(60, 60)) as terminal:
        assert terminal.end() == 0

        assert "1 of 3 busy" in terminal.screen.text
        assert b"?1049h" not in terminal.screen.raw
        assert terminal.is_restored


def test_json_is_a_list_with_a_snapshot_of_each_queue(busy: LocalQueue) -> None:
    with LocalQueue(workers=1, name="another"):
        both = read_one()
        (one,) = read_one("busy")

    assert [found["queue"]["name"] for found in both] == ["another", "busy"]
    assert one["running"] == 1
    assert one["totals"]["failed"] == 1
    assert one["slowest"][0]["function"].endswith("slow")
    assert 0.3 < one["rates"]["seconds"] < 30


def test_svg_writes_a_picture(busy: LocalQueue, tmp_path: Path) -> None:
    answer = run("busy", "--svg", str(tmp_path / "top.svg"))

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    drawn = xml.etree.ElementTree.parse(tmp_path / "top.svg").getroot()
    words = "".join(drawn.itertext()).replace("\xa0", " ")
    assert "1 of 3 busy" in words


def test_a_queue_that_is_not_there_is_refused_with_the_names_of_others(busy: LocalQueue) -> None:
    for arguments in (("nosuch",), ("nosuch", "--once"), ("nosuch", "--json"), ("busy", "nosuch", "--once")):
        answer = run(*arguments)

        assert answer.returncode == 2
        assert answer.stdout == ""
        assert "no queue named 'nosuch' is running; there are busy" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_where_no_queue_runs_it_says_how_to_start_one() -> None:
    for arguments in ((), ("--once",), ("--json",)):
        answer = run(*arguments)

        assert answer.returncode == 2
        assert "no queue of yours is running" in answer.stderr
        assert "localq serve" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_without_a_terminal_it_names_what_works_there(busy: LocalQueue) -> None:
    answer = run()

    assert answer.returncode == 2
    assert "--once" in answer.stderr


@pytest.mark.parametrize(
    "arguments", [("--svg", "x.svg", "--once"), ("--interval", "0"), ("--interval", "61"), ("--what",)]
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


def test_help_has_examples_and_exit_statuses() -> None:
    text = run("--help").stdout

    for words in ("localq top thumbnails", "--interval", "--once", "--json", "--svg", "Exit status"):
        assert words in text


def test_somebody_who_has_seen_enough_of_the_output_is_no_error(busy: LocalQueue) -> None:
    line = f"{' '.join(COMMAND)} --once --json | head -c 1"
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=WATCHDOG, cwd=ROOT)

    assert (answer.stdout, answer.stderr) == ("[", "")


# --- in a terminal --------------------------------------------------------------------------------------------------


@pytest.fixture
def top(busy: LocalQueue) -> Iterator[Terminal]:
    with Terminal([*COMMAND, "busy", "--interval", "0.1"], size=(100, 30)) as terminal:
        terminal.see("1 of 3 busy", "q quit")
        yield terminal
        assert terminal.screen.faults == []


def choose(top: Terminal, task_id: str) -> None:
    """Among the running tasks, once it is one."""
    top.press(f"4/{task_id}\r")
    top.wait_for(
        lambda text: "only /" in text and "slow" in text.partition("4 tasks")[2].partition("5 failures")[0],
        "only that task is listed",
    )
    top.press("\x1b[B")
    top.see("▸")


def test_it_shows_a_running_queue_and_q_ends_it(top: Terminal) -> None:
    top.see("slow", "no such picture")

    top.press("q")

    assert top.end() == 0
    assert top.is_restored


def test_a_task_is_cancelled_from_the_screen(top: Terminal, busy: LocalQueue, gate: Gate) -> None:
    held = busy.delay(tasks.slow, gate.path, 2)
    choose(top, id_of(held))
    top.press("c")
    top.see("Cancel task")

    top.press("y")

    top.see("cancelled task")
    with pytest.raises(TaskCancelled):
        held.result(PATIENCE)


def test_a_task_is_killed_from_the_screen_with_its_worker(top: Terminal, busy: LocalQueue, gate: Gate) -> None:
    held = busy.delay(tasks.slow, gate.path, 2)
    choose(top, id_of(held))
    top.press("K")
    top.see("Kill the worker of task")

    top.press("y")

    top.see("killed task")
    with pytest.raises((TaskCancelled, WorkerCrashed)):
        held.result(PATIENCE)


def test_the_stack_of_a_running_task_is_shown(top: Terminal) -> None:
    top.press("4")
    top.wait_for(lambda text: "slow" in text.partition("4 tasks")[2].partition("5 failures")[0], "it is listed")

    top.press("\x1b[Bt")

    top.see("tasks.py", "in slow")


def test_a_worker_that_is_drained_is_replaced(top: Terminal, busy: LocalQueue) -> None:
    before = set(wait_until_staffed(busy))
    top.press("2\x1b[Fd")  # the last one, which is idle
    top.see("after its task, and replace it?")

    top.press("y")

    top.wait_for(lambda _: len(before - set(wait_until_staffed(busy))) == 1, "another worker")
    top.see("1 of 3 busy")


def test_workers_and_the_supervisor_may_die_while_they_are_watched(top: Terminal, busy: LocalQueue) -> None:
    for pid in wait_until_staffed(busy):
        os.kill(pid, signal.SIGKILL)
    top.see("3 workers crashed")

    os.kill(supervisor_of(busy), signal.SIGKILL)
    wait_until_staffed(busy)

    top.see("of 3 busy")
    top.press("q")
    assert top.end() == 0


def test_a_queue_that_ends_and_returns_is_watched_again(gate: Gate) -> None:
    with LocalQueue(workers=1, name="passing"):
        terminal = Terminal([*COMMAND, "passing", "--interval", "0.1"])
        terminal.see("healthy, idle", "0 of 1 busy")
    with terminal:
        terminal.see("ended", "waiting for its return")
        with LocalQueue(workers=2, name="passing"):
            terminal.see("healthy, idle", "0 of 2 busy")
            terminal.press("q")
            assert terminal.end() == 0
        assert terminal.screen.faults == []


def test_a_monitor_that_is_killed_leaves_nothing_in_the_queue(top: Terminal, busy: LocalQueue) -> None:
    rows = len(busy._space.rows())

    top.process.kill()
    top.end()

    assert len(busy._space.rows()) == rows
    assert busy._space.check() is None


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, 0)]
)
def test_a_signal_restores_the_terminal_and_is_told_in_the_exit_status(
    top: Terminal, number: signal.Signals, status: int
) -> None:
    top.process.send_signal(number)

    assert top.end() == status
    assert top.is_restored
