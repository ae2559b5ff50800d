# SPDX-License-Identifier: MIT
"""Whoever steers a queue is killed, and whom they steer is killed or stopped: nobody hangs, and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from localq import AttachError, LocalQueue
from localq.pool.control import ask, lease
from localq.pool.processes import is_stopped
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, ready_workers, supervisor_of, wait_until_staffed
from tests.support.scripts import start_script
from tests.support.waiting import eventually

HOLDER = """
from localq.pool.control import lease

held = lease("steered", 3)
print(held.workers, flush=True)
held.wait()
"""

FORKING_HOLDER = """
import os, time
from localq.pool.control import lease

held = lease("steered", 3)
if os.fork() == 0:  # inherits the connection
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def kill_supervisor(queue: LocalQueue) -> None:
    old = supervisor_of(queue)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: supervisor_of(queue) != old, what="a new supervisor")


def test_workers_go_when_whoever_wanted_them_is_killed(tmp_path):
    with LocalQueue(workers=1, name="steered") as queue:
        with start_script(tmp_path, HOLDER) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "4\n"
            eventually(lambda: len(ready_workers(queue)) == 4)
            holder.kill()

        eventually(lambda: len(ready_workers(queue)) == 1)
        assert queue._space.workers == 1
        audit(queue)


def test_they_go_although_a_child_holds_the_connection(tmp_path):
    with LocalQueue(workers=1, name="steered") as queue:
        with start_script(tmp_path, FORKING_HOLDER) as holder:
            assert holder.stdout is not None
            child = int(holder.stdout.readline())
            holder.kill()

            eventually(lambda: queue._space.workers == 1)
            os.kill(child, signal.SIGKILL)
        eventually(lambda: len(ready_workers(queue)) == 1)


def test_they_come_back_under_the_next_supervisor():
    with LocalQueue(workers=1, name="steered") as queue, lease("steered", 2) as held:
        for _ in range(3):
            eventually(lambda: len(ready_workers(queue)) == 3)
            kill_supervisor(queue)
        eventually(lambda: queue._space.workers == 3)
        eventually(lambda: len(ready_workers(queue)) == 3)
        assert held.ended is None
        assert [queue.delay(tasks.same, number).result(PATIENCE) for number in range(9)] == list(range(9))
        audit(queue)


def test_a_killed_supervisor_leaves_no_workers_of_a_lease_that_has_ended_meanwhile():
    with LocalQueue(workers=1, name="steered") as queue:
        held = lease("steered", 2)
        os.kill(supervisor_of(queue), signal.SIGSTOP)
        held.close()
        os.kill(supervisor_of(queue), signal.SIGKILL)
        eventually(lambda: len(wait_until_staffed(queue)) == 1 and queue._space.workers == 1)


def test_a_stopped_worker_does_not_answer_and_nobody_waits_for_it(gate):
    with LocalQueue(workers=2, name="steered") as queue, gate:
        future = queue.delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(pid))
        began = time.monotonic()

        with pytest.raises(AttachError, match=f"kill -CONT {pid}"):
            ask("steered", {"do": "stack", "pid": pid})
        with pytest.raises(AttachError, match=f"kill -CONT {pid}"):
            ask("steered", {"do": "drain", "pid": pid})

        assert time.monotonic() - began < PATIENCE
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        os.kill(pid, signal.SIGCONT)
        gate.open()
        assert future.result(PATIENCE) is None


def test_a_stopped_workers_task_can_be_killed(gate):
    with LocalQueue(workers=1, name="steered", grace_period=60) as queue, gate:
        future = queue.delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)
        os.kill(pid, signal.SIGSTOP)

        assert ask("steered", {"do": "kill", "task_id": future.task_id}) == {"killed": True}

        eventually(future.cancelled)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        audit(queue)


def test_a_supervisor_that_is_killed_while_it_is_asked_is_asked_again(gate):
    with LocalQueue(workers=2, name="steered") as queue, gate:
        wait_until_staffed(queue)
        os.kill(supervisor_of(queue), signal.SIGSTOP)
        import threading

        answers: list[object] = []
        asker = threading.Thread(target=lambda: answers.append(ask("steered", {"do": "facts"}, PATIENCE)["workers"]))
        asker.start()
        kill_supervisor(queue)
        asker.join()

        assert answers == [2]


def write_module(folder: Path, text: str) -> None:
    (folder / "fragile.py").write_text(text)


def test_a_worker_that_dies_while_it_imports_ends_the_reload_and_nobody_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, "")
    with LocalQueue(workers=2, name="steered", task_modules=("fragile",)) as queue:
        before = wait_until_staffed(queue)
        write_module(tmp_path, "import os\nos.kill(os.getpid(), 9)")

        with pytest.raises(AttachError, match="SIGKILL"):
            ask("steered", {"do": "reload"})

        assert sorted(ready_workers(queue)) == sorted(before)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert any("reload failed" in event[5] for event in queue._space.journal())
        audit(queue)


def test_workers_killed_amid_reloads_cost_no_task():
    with LocalQueue(workers=3, name="steered", max_crashes=15) as queue:
        wait_until_staffed(queue)
        futures = []
        for round_ in range(5):
            futures += [queue.delay(tasks.same, number) for number in range(200)]
            for pid in ready_workers(queue)[: round_ % 3 + 1]:
                os.kill(pid, signal.SIGKILL)
            ask("steered", {"do": "reload"}, PATIENCE)
        assert [future.result(PATIENCE) for future in futures] == [*range(200)] * 5
        assert len(wait_until_staffed(queue)) == 3
        audit(queue)


def test_a_supervisor_killed_amid_a_reload_starts_workers_of_the_new_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_module(tmp_path, "from localq import task\n@task\ndef which() -> str: return 'old'\n")
    with LocalQueue(workers=2, name="steered", task_modules=("fragile",)) as queue:
        before = wait_until_staffed(queue)
        write_module(tmp_path, "from localq import task\n@task\ndef which() -> str: return 'the new'\n")
        kill_supervisor(queue)

        assert queue.delay("fragile.which").result(PATIENCE) == "the new"
        assert all(map(is_gone, before))
        texts = [event[5] for event in queue._space.journal() if event[1] == "restart"]
        assert any("takes the place of one that was lost" in text for text in texts)


@pytest.mark.parametrize(("how", "said"), [("kill_self", "SIGKILL"), ("exit_hard", "exit status 3")])
def test_the_journal_says_why_a_worker_was_replaced(how, said):
    with LocalQueue(workers=1) as queue:
        queue.delay(getattr(tasks, how)).exception(PATIENCE)
        wait_until_staffed(queue)

        (event,) = [event for event in queue._space.journal() if event[1] == "restart"]
        assert said in event[5]
