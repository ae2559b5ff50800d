# SPDX-License-Identifier: MIT
"""The supervisor is killed or stopped: another one takes its place over the same memory, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import wait
from typing import Any

import pytest

from localq import AttachError, LocalQueue, QueueClosed, SupervisorLost, TaskFuture, WorkerCrashed
from tests.support import tasks
from tests.support.queues import (
    PATIENCE,
    audit,
    is_gone,
    lines_of,
    ready_workers,
    supervisor_of,
    wait_until_staffed,
)
from tests.support.waiting import Gate, eventually

both_methods = pytest.mark.parametrize("start_method", ["clean", "fork"])


def kill_supervisor(queue: LocalQueue) -> int:
    """Kill it, and wait until another one has taken its place; the new one's process id."""
    pid = supervisor_of(queue)
    os.kill(pid, signal.SIGKILL)
    return eventually(lambda: new if (new := supervisor_of(queue)) != pid else None, what="a new supervisor")


@both_methods
def test_queued_tasks_survive_their_supervisor_in_order_and_running_ones_are_as_of_a_killed_worker(
    gate, tmp_path, start_method
):
    record = str(tmp_path / "record")
    with LocalQueue(workers=1, start_method=start_method) as queue, gate:
        done = queue.delay(tasks.same, 1)
        done.result(PATIENCE)
        running = queue.delay(tasks.slow, gate.path)
        queued = [queue.delay(tasks.record, record, str(number)) for number in range(50)]
        (worker,) = gate.wait_for_arrivals(1)

        kill_supervisor(queue)

        error = running.exception(PATIENCE)
        assert isinstance(error, WorkerCrashed)
        assert (error.pid, error.exit_signal, error.exit_status) == (worker, None, None)
        assert "supervisor" in str(error)
        wait(queued, PATIENCE)
        assert lines_of(record) == [str(number) for number in range(50)]
        assert is_gone(worker)
        assert done.result() == 1
        audit(queue)


def test_a_running_task_with_retries_runs_again_under_the_next_supervisor(gate):
    with LocalQueue(workers=1, max_retries=1) as queue, gate:
        future = queue.delay(tasks.slow, gate.path, "through")
        gate.wait_for_arrivals(1)

        kill_supervisor(queue)
        gate.wait_for_arrivals(2)
        gate.open()

        assert (future.result(PATIENCE), future.attempts) == ("through", 2)


def test_a_supervisor_killed_again_and_again_under_load_costs_no_task(tmp_path):
    with LocalQueue(workers=2, max_retries=15) as queue:
        futures = []
        for _ in range(6):
            futures += [queue.delay(tasks.same, number) for number in range(300)]
            wait_until_staffed(queue)
            os.kill(supervisor_of(queue), signal.SIGKILL)
        futures += [queue.delay(tasks.same, number) for number in range(300)]

        assert [future.result(PATIENCE) for future in futures] == list(range(300)) * 7
        assert queue._space.tallies["supervisors_started"] >= 2
        wait_until_staffed(queue)
        audit(queue)


def test_nobody_has_to_look_for_it_to_be_replaced():
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        old = kill_supervisor(queue)

        wait_until_staffed(queue)

        assert supervisor_of(queue) == old


def fork_three_times():
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def test_after_its_owner_has_forked_and_used_it_it_is_watched_as_before():
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        fork_three_times()
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

        kill_supervisor(queue)  # and sees another one

        assert queue.delay(tasks.same, 2).result(PATIENCE) == 2


@pytest.mark.parametrize("use", ["submit", "wait"])
def test_killed_after_its_owner_has_forked_it_is_replaced_when_the_queue_is_used(use, gate):
    with LocalQueue(workers=1) as queue, gate:
        early = queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        fork_three_times()

        os.kill(supervisor_of(queue), signal.SIGKILL)

        if use == "submit":
            assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert isinstance(early.exception(PATIENCE), WorkerCrashed)


def test_callbacks_hear_what_became_of_a_running_task(gate):
    seen: list[object] = []
    with LocalQueue(workers=1) as queue, gate:
        future = queue.delay(tasks.slow, gate.path)
        future.add_done_callback(seen.append)
        gate.wait_for_arrivals(1)

        os.kill(supervisor_of(queue), signal.SIGKILL)

        assert wait([future], PATIENCE).done == {future}
        eventually(lambda: seen == [future])


def test_a_map_that_is_read_goes_on():
    with LocalQueue(workers=2, max_retries=3) as queue:
        results = queue.map(tasks.same, range(20_000), chunksize=10)
        first = [next(results) for _ in range(100)]

        os.kill(supervisor_of(queue), signal.SIGKILL)

        assert first + list(results) == list(range(20_000))


def test_a_call_that_waits_for_room_goes_on(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        lost = queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        os.kill(supervisor_of(queue), signal.SIGKILL)

        assert queue.delay(tasks.same, 5).result(PATIENCE) == 5
        assert isinstance(lost.exception(), WorkerCrashed)


def test_a_queue_whose_supervisor_was_killed_while_idle_closes():
    queue = LocalQueue(workers=1)
    (worker,) = wait_until_staffed(queue)
    os.kill(supervisor_of(queue), signal.SIGKILL)

    queue.close()

    eventually(lambda: is_gone(worker))


def test_a_supervisor_killed_before_it_was_up_is_replaced():
    with LocalQueue(workers=1) as queue:
        os.kill(supervisor_of(queue), signal.SIGKILL)

        assert queue.delay(tasks.same, 3).result(PATIENCE) == 3


def test_a_supervisor_killed_while_the_queue_drains_is_replaced(gate):
    with gate:
        queue = LocalQueue(workers=1, max_retries=1)
        futures = [queue.delay(tasks.slow, gate.path, number) for number in range(5)]
        gate.wait_for_arrivals(1)
        queue.close(wait=False)

        kill_supervisor(queue)
        gate.open()

        assert [future.result(PATIENCE) for future in futures] == list(range(5))
    queue.close()


def test_where_no_supervisor_can_be_started_whoever_waits_hears_of_it(monkeypatch, capfd):
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        monkeypatch.setattr("sys.executable", "/bin/false")

        os.kill(supervisor_of(queue), signal.SIGKILL)

        future: TaskFuture[Any] = queue.delay(tasks.noop)
        assert isinstance(future.exception(PATIENCE), SupervisorLost)
        for _ in range(2):
            with pytest.raises(SupervisorLost):
                queue.delay(tasks.noop).result(PATIENCE)


def test_a_supervisor_lost_while_the_roster_is_full_of_clients_is_replaced():
    clients: list[LocalQueue] = []
    with LocalQueue(workers=2, max_retries=3) as queue:
        try:
            while len(clients) < 300:
                clients.append(LocalQueue.attach(queue.name))
        except AttachError:
            pass
        assert 200 < len(clients) < 300

        kill_supervisor(queue)

        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert clients[-1].delay(tasks.same, 2).result(PATIENCE) == 2
        for client in clients:
            client.close()


# ---- stopped


def test_with_a_stopped_supervisor_clients_and_workers_go_on(gate):
    with LocalQueue(workers=2) as queue:
        wait_until_staffed(queue)
        os.kill(supervisor_of(queue), signal.SIGSTOP)

        assert list(queue.map(tasks.same, range(1000))) == list(range(1000))
        os.kill(supervisor_of(queue), signal.SIGCONT)


def test_a_worker_that_dies_under_a_stopped_supervisor_costs_only_its_task(gate):
    with LocalQueue(workers=2, max_retries=1) as queue, gate:
        futures = [queue.delay(tasks.slow, gate.path, number) for number in range(4)]
        first, _ = gate.wait_for_arrivals(2)
        supervisor = supervisor_of(queue)
        os.kill(supervisor, signal.SIGSTOP)

        os.kill(first, signal.SIGKILL)
        gate.open()

        assert [future.result(PATIENCE) for future in futures] == list(range(4))
        os.kill(supervisor, signal.SIGCONT)
        wait_until_staffed(queue)
        assert supervisor_of(queue) == supervisor
        audit(queue)


def test_a_stopped_supervisor_all_of_whose_workers_died_is_replaced():
    with LocalQueue(workers=2) as queue:
        workers = wait_until_staffed(queue)
        os.kill(supervisor_of(queue), signal.SIGSTOP)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)

        assert queue.delay(tasks.same, 7).result(PATIENCE) == 7


def test_a_queue_with_a_stopped_supervisor_closes_at_once():
    queue = LocalQueue(workers=1)
    (worker,) = wait_until_staffed(queue)
    os.kill(supervisor_of(queue), signal.SIGSTOP)
    began = time.monotonic()

    queue.close()

    assert time.monotonic() - began < 2 * 2.0  # it is not waited for as for one that is only slow
    eventually(lambda: is_gone(worker))


# ---- told to end


def test_a_supervisor_that_is_told_to_end_lets_running_and_queued_tasks_finish(gate):
    with LocalQueue(workers=1) as queue, gate:
        futures = [queue.delay(tasks.slow, gate.path, number) for number in range(5)]
        (worker,) = gate.wait_for_arrivals(1)
        supervisor = supervisor_of(queue)

        os.kill(supervisor, signal.SIGTERM)

        eventually(lambda: queue._space.phase != 0)
        with pytest.raises(QueueClosed):
            queue.delay(tasks.noop)
        gate.open()
        assert [future.result(PATIENCE) for future in futures] == list(range(5))
        eventually(lambda: is_gone(worker) and is_gone(supervisor))


def test_what_is_not_done_within_the_drain_timeout_fails_and_everybody_ends(gate):
    with LocalQueue(workers=1, drain_timeout=0.2) as queue, gate:
        futures: list[TaskFuture[Any]] = [queue.delay(tasks.slow, gate.path) for _ in range(3)]
        (worker,) = gate.wait_for_arrivals(1)
        supervisor = supervisor_of(queue)

        os.kill(supervisor, signal.SIGTERM)

        for future in futures:
            error = future.exception(PATIENCE)
            assert isinstance(error, QueueClosed)
            assert "SIGTERM" in str(error)
        eventually(lambda: is_gone(worker) and is_gone(supervisor))


def test_a_worker_that_is_told_to_end_finishes_its_task_first(gate: Gate):
    with LocalQueue(workers=1) as queue, gate:
        future = queue.delay(tasks.slow, gate.path, "done")
        (worker,) = gate.wait_for_arrivals(1)

        os.kill(worker, signal.SIGTERM)
        later = queue.delay(tasks.same, "later")
        gate.open()

        assert (future.result(PATIENCE), future.worker_pid) == ("done", worker)
        assert (later.result(PATIENCE), later.worker_pid == worker) == ("later", False)
        assert is_gone(worker)
        eventually(lambda: ready_workers(queue) == [later.worker_pid])


def test_an_idle_worker_that_is_told_to_end_is_replaced():
    with LocalQueue(workers=1) as queue:
        (worker,) = wait_until_staffed(queue)

        os.kill(worker, signal.SIGTERM)

        eventually(lambda: is_gone(worker))
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        assert queue._space.tallies["workers_crashed"] == 0
