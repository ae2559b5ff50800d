# SPDX-License-Identifier: MIT
"""Clients that attached to another process's queue: killed, stopped, replaced by exec, forked; its owner likewise."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from localq import AttachError, LocalQueue, QueueClosed
from localq._native import ROLE_CLIENT
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, lines_of, supervisor_of, wait_until_staffed
from tests.support.scripts import run_script, start_script
from tests.support.waiting import Gate, eventually

ATTACHED = """
    import os, sys, signal, time
    from localq import LocalQueue
    from tests.support import tasks

    q = LocalQueue.attach(sys.argv[1])
"""


def clients_of(queue: LocalQueue) -> list[int]:
    """The process ids of all clients that the roster knows, the owner's among them."""
    return [row["pid"] for row in queue._space.rows() if row["role"] == ROLE_CLIENT]


def wait_until_alone(queue: LocalQueue) -> None:
    eventually(lambda: clients_of(queue) == [os.getpid()], what="no client is left but the owner")


def start_attached(folder: Path, queue: LocalQueue, text: str, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return start_script(folder, ATTACHED + text, queue.name, *arguments)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.stderr.read() if process.stderr else ""
    return line


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_several_killed_one_by_one_while_they_submit_leave_a_sound_queue(tmp_path):
    with LocalQueue(workers=2) as queue:
        busy = """
    print("up", flush=True)
    while True:
        futures = [q.delay(tasks.same, bytes(n)) for n in range(0, 3000, 100)]
        [future.result() for future in futures]
        """
        started = [start_attached(tmp_path / str(number), queue, busy) for number in range(3)]
        for process in started:
            assert line_of(process) == "up"
            assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
            kill(process)

        wait_until_alone(queue)
        assert list(queue.map(tasks.same, range(1000))) == list(range(1000))
        audit(queue)


def test_tasks_of_a_killed_client_still_run(tmp_path, gate):
    record = str(tmp_path / "record")
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        submit = """
    for number in range(20):
        q.delay(tasks.record, sys.argv[2], str(number))
    print("done", flush=True)
    time.sleep(1000)
        """
        process = start_attached(tmp_path / "client", queue, submit, record)
        assert line_of(process) == "done"
        kill(process)
        wait_until_alone(queue)

        gate.open()

        eventually(lambda: lines_of(record) == [str(number) for number in range(20)])
        audit(queue)


def test_one_killed_while_it_reads_results_costs_the_others_nothing(tmp_path):
    with LocalQueue(workers=2, memory="32MB") as queue:
        read = """
    ids = [q.delay(tasks.same, bytes(100_000)).task_id for _ in range(20)]
    print("up", flush=True)
    while True:
        for task_id in ids:
            q.get_task_result(task_id)
        """
        process = start_attached(tmp_path / "client", queue, read)
        assert line_of(process) == "up"
        results = [queue.delay(len, bytes(100_000)) for _ in range(50)]
        kill(process)

        assert {future.result(PATIENCE) for future in results} == {100_000}
        wait_until_alone(queue)
        audit(queue)


def test_a_stopped_client_keeps_nobody_from_going_on(tmp_path):
    with LocalQueue(workers=1, capacity=16) as queue:
        fill = """
    print("up", flush=True)
    while True:
        q.delay(tasks.noop).result()
        """
        process = start_attached(tmp_path / "client", queue, fill)
        assert line_of(process) == "up"
        os.kill(process.pid, signal.SIGSTOP)

        assert list(queue.map(tasks.same, range(500))) == list(range(500))
        kill(process)
        wait_until_alone(queue)
        audit(queue)


def test_a_client_that_became_another_program_by_exec_is_no_client_any_more(tmp_path):
    with LocalQueue(workers=1) as queue:
        replace = """
    futures = [q.delay(tasks.noop) for _ in range(10)]
    print("up", flush=True)
    os.execv("/bin/sleep", ["sleep", "1000"])
        """
        process = start_attached(tmp_path / "client", queue, replace)
        assert line_of(process) == "up"

        wait_until_alone(queue)

        assert process.poll() is None
        kill(process)
        audit(queue)


def test_a_client_that_lost_its_descriptors_is_still_one(tmp_path):
    with LocalQueue(workers=1) as queue:
        lose = """
    os.closerange(3, 256)
    print(q.delay(tasks.same, 5).result(), flush=True)
    sys.stdin.read()
    print(q.delay(tasks.same, 6).result(), flush=True)
    time.sleep(1000)
        """
        process = start_attached(tmp_path / "client", queue, lose)
        assert line_of(process) == "5"
        assert line_of(process) == "6"
        assert process.pid in clients_of(queue)
        kill(process)
        wait_until_alone(queue)


def test_a_client_that_lost_its_descriptors_waits_on_and_leaves_in_order(tmp_path):
    with LocalQueue(workers=1) as queue:
        out = run_script(
            tmp_path,
            ATTACHED
            + """
    os.closerange(3, 256)
    q._connection.check()  # as whoever waits does now and then: it asks whether the owner lives
    print(q.delay(tasks.same, 5).result(), flush=True)
    q.close()
    print("left")
            """,
            queue.name,
        )

        assert out.split() == ["5", "left"]
        wait_until_alone(queue)


def test_a_fork_of_a_client_is_refused_and_may_attach_by_itself(tmp_path):
    with LocalQueue(workers=1) as queue:
        out = run_script(
            tmp_path,
            ATTACHED
            + """
    from localq import QueueClosed
    if os.fork() == 0:
        try:
            q.delay(tasks.noop)
        except QueueClosed as error:
            print("attach" in str(error), flush=True)
        with LocalQueue.attach(sys.argv[1]) as mine:
            print(mine.delay(tasks.same, "child").result(), flush=True)
        os._exit(0)
    os.wait()
    print(q.delay(tasks.same, "parent").result())
    q.close()
            """,
            queue.name,
        )

        assert out.split() == ["True", "child", "parent"]
        wait_until_alone(queue)


def test_clients_stay_when_the_supervisor_is_replaced_and_are_buried_by_the_new_one(tmp_path):
    with LocalQueue(workers=1, max_retries=3) as queue:
        go_on = """
    print("up", flush=True)
    while True:
        assert q.delay(tasks.same, 1).result() == 1
        """
        process = start_attached(tmp_path / "client", queue, go_on)
        assert line_of(process) == "up"
        old = supervisor_of(queue)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: supervisor_of(queue) != old)
        wait_until_staffed(queue)
        assert process.poll() is None
        assert process.pid in clients_of(queue)

        kill(process)

        wait_until_alone(queue)
        audit(queue)


OWNER = """
    import sys, time
    from localq import LocalQueue
    from tests.support import tasks
    from tests.support.queues import supervisor_of, wait_until_staffed

    queue = LocalQueue(workers=1)
    workers = wait_until_staffed(queue)
    print(queue.name, supervisor_of(queue), *workers, flush=True)
    time.sleep(1000)
"""


def test_a_client_whose_owner_is_killed_is_told(tmp_path):
    with start_script(tmp_path, OWNER) as owner, Gate(tmp_path) as gate:
        name, *pids = line_of(owner).split()
        with LocalQueue.attach(name) as queue:
            future = queue.delay(tasks.slow, gate.path)
            gate.wait_for_arrivals(1)

            owner.kill()
            owner.communicate()

            error = future.exception(PATIENCE)
            assert isinstance(error, QueueClosed)
            assert str(owner.pid) in str(error)
            with pytest.raises(QueueClosed):
                queue.delay(tasks.noop)
        eventually(lambda: all(is_gone(int(pid)) for pid in pids))
        assert not os.path.exists(address(name))


def address(name: str) -> str:
    from localq.addresses import address_of

    return address_of(name)


def test_an_owner_and_its_supervisor_killed_at_once_leave_a_stale_socket_that_the_next_queue_replaces(tmp_path):
    named = OWNER.replace("LocalQueue(workers=1)", "LocalQueue(workers=1, name=sys.argv[1])")
    name = f"stale-{os.getpid()}"
    with start_script(tmp_path, named, name) as owner:
        _, supervisor, worker = line_of(owner).split()
        os.kill(owner.pid, signal.SIGSTOP)  # so that it starts no other one
        os.kill(int(supervisor), signal.SIGKILL)
        owner.kill()
        owner.communicate()
    eventually(lambda: is_gone(int(worker)))
    assert os.path.exists(address(name))

    with pytest.raises(AttachError, match="doctor"):
        LocalQueue.attach(name)
    with LocalQueue(workers=1, name=name) as queue, LocalQueue.attach(name) as client:
        assert client.delay(tasks.same, 1).result(PATIENCE) == 1
        assert queue.name == name
    assert not os.path.exists(address(name))


def test_an_owner_that_closes_waits_for_queued_work_of_its_clients(tmp_path, gate):
    record = str(tmp_path / "record")
    queue = LocalQueue(workers=1)
    with gate:
        client = LocalQueue.attach(queue.name)
        client.delay(tasks.slow, gate.path)
        futures = [client.delay(tasks.record, record, str(number)) for number in range(10)]
        gate.wait_for_arrivals(1)
        gate.open()

    queue.close()

    assert [future.result(PATIENCE) for future in futures] == [2] * 10
    assert len(lines_of(record)) == 10
    client.close()


def test_what_a_client_waits_for_when_the_owner_closes_without_patience_fails_clearly(gate):
    queue = LocalQueue(workers=1)
    with gate, LocalQueue.attach(queue.name) as client:
        futures = [client.delay(tasks.slow, gate.path) for _ in range(3)]
        gate.wait_for_arrivals(1)

        queue.close(timeout=0.0)

        for future in futures:
            error = future.exception(PATIENCE)
            assert type(error).__name__ in ("QueueClosed", "WorkerCrashed"), error
