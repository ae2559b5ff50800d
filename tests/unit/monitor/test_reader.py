# SPDX-License-Identifier: MIT
"""Snapshots of real queues: what was run is what is counted, who reads is not noticed, and what ends is said to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import psutil
import pytest

from localq import AttachError, LocalQueue, QueueClosed, Snapshot, TaskFuture
from localq.monitor.reader import open_reader
from localq.monitor.snapshot import FunctionReading
from tests.support import tasks
from tests.support.queues import (
    PATIENCE,
    gate,
    id_of,
    is_gone,
    ready_workers,
    supervisor_of,
    wait_until_staffed,
)
from tests.support.scripts import ROOT, WATCHDOG
from tests.support.waiting import Gate, eventually

__all__ = ["gate"]


def settled(queue: LocalQueue) -> Snapshot:
    """A reading after all is done, of everything so far: workers count a task just after they have sent its result, and
    rates and spreads are those since the reader's last look."""

    def is_idle() -> bool:
        found = queue.snapshot()
        return not found.running and all(worker.state == "idle" for worker in found.workers)

    eventually(is_idle, what="the queue is idle")
    with open_reader(queue.name) as reader:
        return reader.read()


def by_name(snapshot: Snapshot) -> dict[str, FunctionReading]:
    return {function.name: function for function in snapshot.functions}


# --- what is counted ------------------------------------------------------------------------------------------------


def test_what_was_run_is_what_is_counted(tmp_path):
    with LocalQueue(workers=2, name="counted") as q:
        wait_until_staffed(q)
        assert [q.delay(tasks.same, n).result(PATIENCE) for n in range(30)] == list(range(30))
        failed: list[TaskFuture[object]] = [q.delay(tasks.fail, "no") for _ in range(5)]
        assert all(future.exception(PATIENCE) for future in failed)
        again: TaskFuture[object] = q.options(max_retries=2).delay(tasks.fail, "again")
        assert again.exception(PATIENCE)
        assert list(q.map(tasks.same, range(500), chunksize=100)) == list(range(500))
        found = settled(q)

    assert (found.totals.done, found.totals.failed, found.totals.retried) == (35, 6, 2)
    assert found.totals.items == 500
    functions = by_name(found)
    same, fail = functions["tests.support.tasks.same"], functions["tests.support.tasks.fail"]
    assert (same.done, same.failed, same.items) == (35, 0, 500)
    assert (fail.done, fail.failed, fail.retried) == (0, 6, 2)
    assert found.run.count == 35 + 6 + 2
    assert found.wait.count == 35 + 6
    assert sum(worker.done for worker in found.workers) == 35
    assert sum(worker.failed for worker in found.workers) == 6
    assert found.totals.bytes_in > 0
    assert found.totals.run_seconds > 0
    assert [event.kind for event in found.failures].count("failure") == 6
    assert [event.kind for event in found.failures].count("retry") == 2
    assert any("no" in event.text for event in found.failures)


def test_what_a_worker_has_counted_is_kept_when_it_is_killed():
    with LocalQueue(workers=1, name="killed") as q:
        for _ in range(10):
            q.delay(tasks.same, 1).result(PATIENCE)
        before = settled(q)
        (pid,) = ready_workers(q)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: ready_workers(q) not in ([], [pid]), what="it was replaced")
        q.delay(tasks.same, 1).result(PATIENCE)
        found = settled(q)

    assert before.totals.done == 10
    assert found.totals.done == 11
    assert by_name(found)["tests.support.tasks.same"].done == 11
    (worker,) = found.workers
    assert worker.done == 1
    assert found.restarts.workers_crashed == 1
    assert found.restarts.workers_started == 2


def test_a_task_that_kills_its_worker_has_failed():
    with LocalQueue(workers=1, name="crash") as q:
        assert q.delay(tasks.kill_self).exception(PATIENCE)
        found = eventually(lambda: s if (s := q.snapshot()).totals.failed else None)

    assert (found.totals.done, found.totals.failed) == (0, 1)
    assert found.restarts.tasks_crashed == 1
    assert [event.kind for event in found.failures] == ["crash"]


def test_functions_of_failures_are_told_when_the_client_that_sent_them_is_gone():
    with LocalQueue(workers=1, name="leavers") as q:
        with LocalQueue.attach("leavers") as client:
            failed: TaskFuture[object] = client.delay(tasks.fail, "no")
            assert failed.exception(PATIENCE)
            crashed = client.delay(tasks.kill_self)
            assert crashed.exception(PATIENCE)
        sent = [(future.slot, future.generation) for future in (failed, crashed)]
        eventually(lambda: all(q._space.name_of(*place) is None for place in sent))
        found = q.snapshot()

    assert [(event.kind, event.function) for event in found.failures] == [
        ("crash", "tests.support.tasks.kill_self"),
        ("failure", "tests.support.tasks.fail"),
    ]


def test_rates_are_those_since_the_last_reading():
    with LocalQueue(workers=1, name="rates") as q:
        for _ in range(10):
            q.delay(tasks.same, 1).result(PATIENCE)
        settled(q)
        quiet = q.snapshot()
        for _ in range(5):
            q.delay(tasks.same, 1).result(PATIENCE)
        found = eventually(lambda: s if (s := q.snapshot()).totals.done == 15 else None)

    assert (quiet.rates.done, quiet.run.count) == (0.0, 0)
    assert found.taken_at > quiet.taken_at
    assert quiet.totals.done == 10


# --- what is going on -----------------------------------------------------------------------------------------------


def test_a_running_task_and_its_worker_are_shown(gate: Gate):
    with LocalQueue(workers=2, name="busy", queues=("default", "mail")) as q:
        wait_until_staffed(q)
        future = q.options(queue="mail", priority="high", timeout=1000).delay(tasks.slow, gate.path)
        (pid,) = gate.wait_for_arrivals(1)
        found = eventually(lambda: s if (s := q.snapshot()).slowest else None)
        gate.open()
        future.result(PATIENCE)

    (task,) = found.slowest
    assert task.task_id == id_of(future)
    assert (task.function, task.worker_pid, task.attempt) == ("tests.support.tasks.slow", int(pid), 1)
    assert (task.queue, task.priority, task.limit) == ("mail", "high", 1000.0)
    assert task.seconds > 0
    states = {worker.pid: worker.state for worker in found.workers}
    assert sorted(states.values()) == ["idle", "running"]
    worker = next(worker for worker in found.workers if worker.pid == int(pid))
    assert (worker.state, worker.task_id, worker.function) == ("running", task.task_id, task.function)
    assert worker.memory
    assert found.running == 1


def test_what_waits_is_told_by_queue_and_priority(gate: Gate):
    with LocalQueue(workers=1, name="depths", queues=("default", "mail")) as q:
        first = q.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        more = [q.delay(tasks.same, n) for n in range(3)]
        more += [q.options(queue="mail", priority="low").delay(tasks.same, n) for n in range(2)]
        later = q.options(countdown=1000).delay(tasks.same, 1)
        found = q.snapshot()
        later.cancel()
        gate.open()
        for future in (first, *more):
            future.result(PATIENCE)

    default, mail = found.depths
    assert (default.queue, default.normal, default.total) == ("default", 3, 3)
    assert (mail.queue, mail.low, mail.total) == ("mail", 2, 2)
    assert (found.queued, found.delayed, found.running) == (5, 1, 1)


def test_results_clients_and_memory_are_told():
    with LocalQueue(workers=1, name="things", result_cache_size=7, memory="32MB") as q:
        kept = q.put(bytes(2_000_000), keep=True)
        q.delay(tasks.same, 1).result(PATIENCE)
        with LocalQueue.attach("things") as other:
            assert other.delay(tasks.same, 2).result(PATIENCE) == 2
            found = q.snapshot()
        kept.delete()

    assert (found.results.kept, found.results.room, found.results.ttl) == (2, 7, 3600.0)
    assert [client.is_owner for client in found.clients] == [True, False]
    assert found.clients[0].pid == os.getpid()
    assert found.arena.kept >= 2_000_000
    assert found.arena.size == 32_000_000
    assert found.queue.supervisor_pid is not None
    assert found.queue.owner_pid == os.getpid()
    assert found.queue.command
    assert 0 < found.queue.uptime < 60


def test_a_stopped_worker_is_a_problem(gate: Gate):
    with LocalQueue(workers=1, name="stopped") as q:
        (pid,) = wait_until_staffed(q)
        os.kill(pid, signal.SIGSTOP)
        try:
            found = eventually(lambda: s if (s := q.snapshot()).workers[0].state == "stopped" else None)
        finally:
            os.kill(pid, signal.SIGCONT)

    assert any(f"pid {pid}" in sentence for sentence in found.problems)


def say(*lines: str) -> None:
    for line in lines:
        print(line)


def test_the_lines_that_tasks_wrote_last_are_told():
    with LocalQueue(workers=1, name="lines", output="off") as q:
        future = q.delay(say, "one", "\x1b[31mtwo é 本", "", "   ")
        future.result(PATIENCE)
        found = q.snapshot()

    assert [event.text for event in found.log] == ["\x1b[31mtwo é 本", "one"]
    assert {event.task_id for event in found.log} == {id_of(future)}
    assert {event.function for event in found.log} == {f"{__name__}.say"}


def test_a_task_that_writes_much_does_not_push_out_failures():
    with LocalQueue(workers=1, name="chatty", output="off") as q:
        assert q.delay(tasks.fail, "this one").exception(PATIENCE)
        q.delay(say, *map(str, range(1000))).result(PATIENCE)
        found = q.snapshot()

    assert 0 < len(found.log) <= 16
    assert any("this one" in event.text for event in found.failures)


def test_events_that_a_reader_has_seen_are_kept():
    with LocalQueue(workers=1, name="kept") as q:
        assert q.delay(tasks.fail, "the first").exception(PATIENCE)
        q.snapshot()
        for number in range(40):
            assert q.delay(tasks.fail, f"number {number}").exception(PATIENCE)
        found = q.snapshot()

    texts = [event.text for event in found.failures]
    assert any("the first" in text for text in texts)
    assert "number 39" in texts[0]
    assert len(set(texts)) == len(texts)


# --- from elsewhere -------------------------------------------------------------------------------------------------


def test_a_reader_in_another_place_says_the_same():
    with LocalQueue(workers=2, name="elsewhere", queues=("default", "mail")) as q:
        wait_until_staffed(q)
        for _ in range(20):
            q.delay(tasks.same, 1).result(PATIENCE)
        here = settled(q)
        with open_reader("elsewhere") as reader:
            there = reader.read()
        with LocalQueue.attach("elsewhere") as client:
            attached = client.snapshot()

    for other in (there, attached):
        assert other.totals == here.totals
        assert other.functions[0].done == here.functions[0].done == 20
        assert other.queue.name == "elsewhere"
        assert other.queue.queues == ("default", "mail")
        assert other.queue.owner_pid == os.getpid()
        assert other.queue.supervisor_pid == here.queue.supervisor_pid
        assert [worker.pid for worker in other.workers] == [worker.pid for worker in here.workers]
        assert abs(other.queue.uptime - here.queue.uptime) < 5
    assert len(attached.clients) == 2


def test_a_task_may_look_at_its_own_queue():
    with LocalQueue(workers=1, name="inside") as q:
        running, owner = q.delay(look_from_inside).result(PATIENCE)

    assert (running, owner) == (1, os.getpid())


def look_from_inside() -> tuple[int, int]:
    found = LocalQueue.current().snapshot()
    return found.running, found.queue.owner_pid


def test_a_reader_of_a_queue_that_ended_says_so():
    with LocalQueue(workers=1, name="over"):
        reader = open_reader("over")
        assert not reader.has_ended
        reader.read()
    with reader:
        assert reader.has_ended
        with pytest.raises(AttachError, match=r"queue 'over' has ended"):
            reader.read()
    with pytest.raises(AttachError, match="was closed"):
        reader.read()


def test_a_reader_of_a_queue_whose_owner_was_killed_says_so(tmp_path):
    script = "import sys\nfrom localq import LocalQueue\nq = LocalQueue(1, name='lost')\nprint(1, flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with open_reader("lost") as reader:
            reader.read()
            owner.kill()
            owner.wait(WATCHDOG)
            eventually(lambda: reader.has_ended)
            with pytest.raises(AttachError, match="has ended"):
                reader.read()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_there_is_no_reader_of_a_queue_that_is_not_there():
    with pytest.raises(AttachError, match="no queue named 'nowhere'"):
        open_reader("nowhere")


def test_a_reader_that_is_killed_leaves_nothing():
    script = (
        "from localq.monitor.reader import open_reader\n"
        "import sys, time\n"
        "reader = open_reader(sys.argv[1])\n"
        "while True:\n"
        "    reader.read()\n"
        "    print('read', flush=True)\n"
    )
    with LocalQueue(workers=1, name="watched") as q:
        q.delay(tasks.same, 1).result(PATIENCE)
        supervisor = psutil.Process(supervisor_of(q))
        rows, descriptors = len(q._space.rows()), supervisor.num_fds()
        with subprocess.Popen(
            [sys.executable, "-c", script, "watched"], stdout=subprocess.PIPE, env=environment()
        ) as watcher:
            assert watcher.stdout is not None
            assert watcher.stdout.readline() == b"read\n"
            assert len(q._space.rows()) == rows
            watcher.kill()
            watcher.wait(WATCHDOG)
        assert q.delay(tasks.same, 2).result(PATIENCE) == 2
        eventually(lambda: supervisor.num_fds() == descriptors, what="the supervisor has nothing of it")
        assert len(q._space.rows()) == rows
        assert q._space.check() is None


def test_a_reader_reads_on_when_the_supervisor_is_replaced():
    with LocalQueue(workers=1, name="replaced") as q, open_reader("replaced") as reader:
        q.delay(tasks.same, 1).result(PATIENCE)
        first = supervisor_of(q)
        eventually(lambda: reader.read().totals.done == 1)  # workers die with their supervisor, and count at last
        assert reader.read().queue.supervisor_pid == first
        os.kill(first, signal.SIGKILL)
        eventually(lambda: is_gone(first))
        assert q.delay(tasks.same, 1).result(PATIENCE) == 1
        found = eventually(lambda: s if (s := reader.read()).totals.done == 2 else None)

    assert found.queue.supervisor_pid not in (None, first)
    assert found.restarts.supervisors_started == 2


def test_the_memory_is_read_through_a_mapping_that_cannot_be_written():
    with LocalQueue(workers=1, name="readonly"), open_reader("readonly") as reader:
        assert reader._space is not None
        assert not reader._space.writable
        reader.read()


# --- as data --------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_json_and_back():
    with LocalQueue(workers=1, name="json") as q:
        q.delay(tasks.same, 1).result(PATIENCE)
        found = q.snapshot()

    assert msgspec.json.decode(msgspec.json.encode(found), type=Snapshot) == found


def test_a_snapshot_is_frozen():
    with LocalQueue(workers=1, name="frozen") as q:
        found = q.snapshot()

    with pytest.raises(AttributeError):
        found.queued = 3  # type: ignore[misc]


def test_a_notebook_shows_a_table():
    with LocalQueue(workers=1, name="notebook") as q:
        q.delay(tasks.same, 1).result(PATIENCE)
        html = settled(q)._repr_html_()

    assert "<b>Queue notebook</b>" in html
    assert "1 done, 0 failed" in html


def test_a_closed_queue_has_no_snapshot():
    q = LocalQueue(workers=1, name="closed")
    q.close()

    with pytest.raises(QueueClosed):
        q.snapshot()
