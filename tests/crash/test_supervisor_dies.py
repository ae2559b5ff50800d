# SPDX-License-Identifier: MIT
"""The supervisor is killed: whoever waits hears of it, and no worker stays."""

from __future__ import annotations

import os
import signal
from concurrent.futures import wait
from typing import Any

import pytest

from localq import LocalQueue, SupervisorLost, TaskFuture
from tests.support import tasks
from tests.support.queues import PATIENCE, is_gone, supervisor_of, wait_until_staffed
from tests.support.waiting import eventually


@pytest.mark.parametrize("start_method", ["clean", "fork"])
def test_who_waits_hears_that_the_supervisor_was_killed_and_its_workers_end(gate, start_method):
    with LocalQueue(workers=2, start_method=start_method) as queue, gate:
        done = queue.delay(tasks.same, 1)
        done.result(PATIENCE)
        lost: list[TaskFuture[Any]] = [queue.delay(tasks.slow, gate.path) for _ in range(2)]
        lost.append(queue.delay(tasks.noop))
        workers = gate.wait_for_arrivals(2)
        supervisor = supervisor_of(queue)

        os.kill(supervisor, signal.SIGKILL)

        for future in lost:
            error = future.exception(PATIENCE)
            assert isinstance(error, SupervisorLost)
            assert (error.pid, error.exit_status) == (supervisor, -signal.SIGKILL)
        eventually(lambda: all(map(is_gone, workers)))
        assert done.result() == 1


def test_callbacks_and_wait_hear_of_it_too(gate):
    seen: list[object] = []
    with LocalQueue(workers=1) as queue, gate:
        future = queue.delay(tasks.slow, gate.path)
        future.add_done_callback(seen.append)
        gate.wait_for_arrivals(1)

        os.kill(supervisor_of(queue), signal.SIGKILL)

        assert wait([future], PATIENCE).done == {future}
        eventually(lambda: seen == [future])


def test_a_map_that_is_read_hears_of_it(gate):
    with LocalQueue(workers=1) as queue, gate:
        results = queue.map(tasks.slow, [gate.path] * 5, chunksize=1)
        gate.wait_for_arrivals(1)

        os.kill(supervisor_of(queue), signal.SIGKILL)

        with pytest.raises(SupervisorLost):
            next(results)


def test_later_calls_hear_of_it():
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        os.kill(supervisor_of(queue), signal.SIGKILL)
        eventually(lambda: is_gone(supervisor_of(queue)))

        for _ in range(2):
            with pytest.raises(SupervisorLost):
                queue.delay(tasks.noop).result(PATIENCE)


def test_a_call_that_waits_for_room_hears_of_it(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        os.kill(supervisor_of(queue), signal.SIGKILL)

        with pytest.raises(SupervisorLost):
            queue.delay(tasks.noop).result(PATIENCE)


def test_a_queue_whose_supervisor_was_killed_while_idle_closes():
    queue = LocalQueue(workers=1)
    (worker,) = wait_until_staffed(queue)
    os.kill(supervisor_of(queue), signal.SIGKILL)

    queue.close()

    eventually(lambda: is_gone(worker))


def test_a_supervisor_killed_before_it_was_up_is_noticed():
    with LocalQueue(workers=1) as queue:
        os.kill(supervisor_of(queue), signal.SIGKILL)

        with pytest.raises(SupervisorLost):
            queue.delay(tasks.noop).result(PATIENCE)
