# SPDX-License-Identifier: MIT
"""`localq status`: one task by its id, from another process, while it runs and afterwards; one queue by its name."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from localq import LocalQueue, current_task
from localq.monitor.snapshot import Snapshot
from tests.support import tasks
from tests.support.commands import execute, start
from tests.support.queues import PATIENCE, id_of
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import Gate, eventually


@pytest.fixture
def queue() -> Iterator[LocalQueue]:
    with LocalQueue(workers=1, name="service") as made:
        yield made


def status(folder: Path, *arguments: str, expect: int) -> tuple[str, str]:
    done = execute(folder, "status", *arguments)
    assert done.returncode == expect, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def facts_of(out: str) -> dict[str, str]:
    """The lines that have a label."""
    return {line.split()[0]: line.partition(" ")[2].strip() for line in out.splitlines() if not line.startswith(" ")}


def advance(gate: str, steps: int) -> int:
    """Tells how far it is; rests in the middle."""
    here = current_task()
    assert here is not None
    for step in range(steps):
        here.update(progress=step / steps, message=f"step {step}")
        if step == steps // 2:
            tasks.slow(gate)
    return steps


# --- a task ---------------------------------------------------------------------------------------------------------


def test_a_task_that_succeeded(queue, tmp_path):
    future = queue.delay(tasks.add, 3, right=4)
    assert future.result(PATIENCE) == 7

    out, err = status(tmp_path, id_of(future), expect=0)

    facts = facts_of(out)
    assert err == ""
    assert (facts["task"], facts["queue"], facts["state"]) == (future.task_id, "service", "success")
    assert (facts["value"], facts["worker"]) == ("7", str(future.worker_pid))
    assert "after waiting" in facts["started"]
    assert "after running" in facts["finished"]
    told = json.loads(status(tmp_path, id_of(future), "--json", expect=0)[0])
    assert (told["status"], told["value"], told["attempts"]) == ("success", 7, 1)


def test_a_task_that_failed_says_where(queue, tmp_path):
    future = queue.delay(tasks.fail, "no way")
    assert future.exception(PATIENCE) is not None

    facts = facts_of(out := status(tmp_path, id_of(future), "--queue", "service", expect=1)[0])

    assert facts["error"] == "Mishap: ('no way', 7)"
    assert "in fail\n" in out
    told = json.loads(status(tmp_path, id_of(future), "--json", expect=1)[0])
    assert told["error"]["type"] == "Mishap"


def test_tasks_that_wait_run_and_were_cancelled(queue, tmp_path):
    with Gate(tmp_path) as gate:
        running = queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        waiting = queue.delay(tasks.noop)
        cancelled = queue.delay(tasks.noop)
        assert cancelled.cancel()

        assert facts_of(status(tmp_path, id_of(running), expect=3)[0])["state"] == "started"
        assert facts_of(status(tmp_path, id_of(waiting), expect=3)[0])["state"] == "pending"
        assert facts_of(status(tmp_path, id_of(cancelled), expect=1)[0])["state"] == "cancelled"


def test_values_that_json_cannot_carry_are_shown_by_their_repr(queue, tmp_path):
    future = queue.delay(complex, 1, 2)
    assert future.result(PATIENCE) == 1 + 2j

    assert facts_of(status(tmp_path, id_of(future), expect=0)[0])["value"] == "(1+2j)"
    assert json.loads(status(tmp_path, id_of(future), "--json", expect=0)[0])["value_repr"] == "(1+2j)"
    assert json.loads(status(tmp_path, id_of(future), "--json", "--repr", expect=0)[0])["value"] == "(1+2j)"


@pytest.mark.parametrize(
    ("options", "word"), [({"result_cache_size": 1}, "pushed out"), ({"result_ttl": 0.05}, "longer")]
)
def test_what_is_not_kept_any_more_says_why(tmp_path, options: dict[str, Any], word):
    with LocalQueue(workers=1, name="service", **options) as queue:
        first = queue.delay(tasks.same, 1)
        assert first.result(PATIENCE) == 1
        assert queue.delay(tasks.same, 2).result(PATIENCE) == 2  # one more, and the first's slot is not used again
        eventually(lambda: str(queue.get_status(id_of(first))) in ("evicted", "expired"))

        out, err = status(tmp_path, id_of(first), expect=4)

    assert out == ""
    assert word in err


def test_ids_that_are_none_and_that_nobody_knows(queue, tmp_path):
    future = queue.delay(tasks.noop)

    out, err = status(tmp_path, f"{id_of(future)}7", expect=4)
    assert out == ""
    assert "knows nothing of task" in err
    assert "service did not" in status(tmp_path, "deadbeef-0-1", expect=2)[1]
    assert "no queue named 'nosuch' is running" in status(tmp_path, id_of(future), "--queue", "nosuch", expect=2)[1]
    assert "is no task id" in status(tmp_path, "service", "--follow", expect=2)[1]


# --- following it ---------------------------------------------------------------------------------------------------


def test_progress_is_shown_as_it_comes_until_the_end(queue, tmp_path):
    with Gate(tmp_path) as gate:
        future = queue.delay(advance, gate.path, 4)
        gate.wait_for_arrivals(1)
        process = start(tmp_path, "status", id_of(future), "--follow")
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.rstrip().endswith("started 50 % step 2")

        gate.open()
        out, err = process.communicate(timeout=WATCHDOG)

    assert (process.returncode, err) == (0, "")
    assert facts_of(out)["value"] == "4"


def test_progress_as_lines_of_json(queue, tmp_path):
    with Gate(tmp_path) as gate:
        future = queue.delay(advance, gate.path, 4)
        gate.wait_for_arrivals(1)
        process = start(tmp_path, "status", id_of(future), "--follow", "--json")
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        gate.open()
        out, _ = process.communicate(timeout=WATCHDOG)

    assert (first["status"], first["progress"], first["message"]) == ("started", 0.5, "step 2")
    *_, end, document = map(json.loads, out.splitlines())
    assert end["status"] == "success"
    assert (document["value"], document["task_id"]) == (4, future.task_id)


def test_one_who_comes_late_gets_the_end(queue, tmp_path):
    future = queue.delay(tasks.fail)
    assert future.exception(PATIENCE) is not None

    out, _ = status(tmp_path, id_of(future), "--follow", expect=1)

    assert "failure" in out.splitlines()[0]


def test_ctrl_c_ends_the_following_and_not_the_task(queue, tmp_path):
    with Gate(tmp_path) as gate:
        future = queue.delay(advance, gate.path, 4)
        gate.wait_for_arrivals(1)
        process = start(tmp_path, "status", id_of(future), "--follow")
        assert process.stdout is not None
        process.stdout.readline()

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WATCHDOG)

        assert (process.returncode, err) == (130, "")
        gate.open()
        assert future.result(PATIENCE) == 4


def test_a_bar_on_a_terminal(queue, tmp_path):
    terminal, theirs = pty.openpty()
    try:
        with Gate(tmp_path) as gate:
            future = queue.delay(advance, gate.path, 4)
            gate.wait_for_arrivals(1)
            environment = {"PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"}
            process = subprocess.Popen(
                [sys.executable, "-m", "localq", "status", id_of(future), "--follow"],
                stdout=subprocess.PIPE,
                stderr=theirs,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
            os.close(theirs)
            shown = ""
            while "step 2" not in shown:
                shown += os.read(terminal, 65536).decode()
            assert "50%" in shown
            gate.open()
            out, _ = process.communicate(timeout=WATCHDOG)
    finally:
        os.close(terminal)

    assert process.returncode == 0
    assert facts_of(out.decode())["value"] == "4"


# --- a queue --------------------------------------------------------------------------------------------------------


def test_a_queue_is_summed_up(tmp_path):
    with LocalQueue(workers=1, name="service", queues=("default", "mail")) as queue, Gate(tmp_path) as gate:
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        queue.options(queue="mail", priority="low").delay(tasks.noop)

        out, err = status(tmp_path, "service", expect=0)
        told = msgspec.json.decode(status(tmp_path, "service", "--json", expect=0)[0], type=Snapshot)

    facts = facts_of(out)
    assert err == ""
    assert facts["queue"] == "service (open)"
    assert facts["owner"].startswith(str(os.getpid()))
    assert facts["workers"] == "1, of which 1 live and 1 run tasks"
    assert facts["tasks"] == "1 wait, 0 for a time, 1 run"
    assert "mail: 1 low" in out
    assert facts["done"].startswith("1; 0 failed")
    assert told.queue.name == "service"
    assert (told.queued, told.running) == (1, 1)


def test_a_queue_tells_what_went_wrong_last(queue, tmp_path):
    assert queue.delay(tasks.fail, "no way").exception(PATIENCE) is not None
    assert queue.delay(tasks.kill_self).exception(PATIENCE) is not None
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

    facts = facts_of(status(tmp_path, "service", expect=0)[0])

    assert facts["lost"] == "1 worker, 0 supervisors"
    assert "restart" in facts
    assert "failure" in facts


def test_a_queue_that_does_not_run(queue, tmp_path):
    out, err = status(tmp_path, "nosuch", expect=2)

    assert (out, err) == ("", "localq: no queue named 'nosuch' is running; there are service\n")
