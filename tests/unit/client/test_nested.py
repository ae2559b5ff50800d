# SPDX-License-Identifier: MIT
"""Tasks that submit tasks to their own queue, and wait for them."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from localq import LocalQueue, QueueClosed, TaskCancelled, TaskTimeout, WorkerCrashed
from localq._native import ROLE_CLIENT
from tests.support import nesting, tasks
from tests.support.queues import PATIENCE, audit, lines_of, wait_until_staffed
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def shared():
    with LocalQueue(workers=2, grace_period=0.3, name=f"nested-{os.getpid()}") as made:
        yield made


@pytest.fixture
def queue(shared):
    wait_until_staffed(shared)
    yield shared
    audit(shared)


def clients(queue):
    return [row["pid"] for row in queue._space.rows() if row["role"] == ROLE_CLIENT and row["live"]]


def test_tasks_wait_for_tasks_far_deeper_than_there_are_workers(queue):
    assert queue.delay(nesting.fibonacci, 12).result(PATIENCE) == 144
    assert queue.delay(nesting.depth, 60).result(PATIENCE) == 60


def test_one_worker_is_enough():
    with LocalQueue(workers=1) as queue:
        assert queue.delay(nesting.fibonacci, 8).result(PATIENCE) == 21
        assert queue.delay(nesting.total, queue, 5000).result(PATIENCE) == 5000 * 5001 // 2
        assert queue.delay(nesting.hold_and_sleep, queue, 50).result(PATIENCE) == 50


def test_a_map_within_a_task_gives_its_results_in_order_and_out_of_it(queue):
    assert queue.delay(nesting.total, queue, 1000).result(PATIENCE) == 500500
    assert queue.delay(nesting.sort_by_result, queue, [3, -1, 2]).result(PATIENCE) == [1, 2, 3]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_however_a_task_waits_there_are_workers_enough(workers, concurrency):
    with LocalQueue(workers=workers, concurrency=concurrency) as queue:
        assert queue.delay(nesting.wait_for_all, queue, 30).result(PATIENCE) == (30, sum(range(30)))
        assert queue.delay(nesting.gather, queue, 5).result(PATIENCE) == 32
        assert [queue.delay(nesting.await_function, queue, n).result(PATIENCE) for n in range(5)] == list(range(5))
        assert queue.delay(nesting.wait_in_a_thread, queue, 7).result(PATIENCE) == 7


def test_the_queue_can_be_an_argument_a_captured_name_or_asked_for(queue):
    assert queue.delay(nesting.name_of, queue).result(PATIENCE) == (queue.name, True)
    assert queue.delay(lambda: queue.delay(tasks.same, 5).result()).result(PATIENCE) == 5


def test_in_a_worker_of_another_queue_it_is_attached_to(queue):
    with LocalQueue(workers=1) as other:
        assert other.delay(nesting.submit_to, queue, "there").result(PATIENCE) == "there"


def test_outside_of_a_worker_there_is_no_current_queue():
    with pytest.raises(QueueClosed, match="no worker"):
        LocalQueue.current()


def test_a_task_within_a_task_that_raises_fails_alone(queue):
    assert "no number" in queue.delay(nesting.survive, queue).result(PATIENCE)


def test_what_a_task_left_behind_runs_all_the_same(queue, tmp_path):
    path = tmp_path / "seen"
    task_id = queue.delay(nesting.leave_behind, queue, str(path)).result(PATIENCE)

    eventually(lambda: lines_of(path) == ["done"])
    assert task_id.split("-")[0] == queue.delay(tasks.noop).task_id.split("-")[0]


def test_a_task_that_dies_takes_those_that_wait_for_it_in_the_same_worker(queue):
    error = queue.delay(nesting.die, queue).exception(PATIENCE)

    assert isinstance(error, WorkerCrashed)
    eventually(lambda: set(clients(queue)) <= {os.getpid(), *wait_until_staffed(queue)}, what="dead clients are buried")
    assert queue.delay(nesting.total, queue, 10).result(PATIENCE) == 55


@pytest.mark.parametrize("inner", ["sleep", "refuse"])
def test_one_that_waits_can_be_cancelled_and_the_one_within_it_runs_again(tmp_path, inner):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1, grace_period=0.3, max_crashes=1) as queue:
        future = queue.delay(nesting.wait_for, queue, seen, inner)
        eventually(lambda: lines_of(seen), what="the one within it has begun")

        assert future.cancel()

        with pytest.raises(TaskCancelled):
            future.result()
        eventually(lambda: lines_of(seen).count("began") == 2, what="the one within it runs again")
        (left,) = [index for index in range(4) if queue._space.read(index, 1) is not None and index != future.slot]
        assert queue.cancel(queue._space.task_id(left, 1))
        eventually(lambda: not queue._space.slots()["running"])


def test_a_limit_on_the_one_that_waits_counts_what_runs_within_it(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1, grace_period=0.3) as queue:
        with pytest.raises(TaskTimeout, match=r"limit of 0\.3 s"):
            queue.options(timeout=0.3).delay(nesting.wait_for, queue, seen, "sleep").result(PATIENCE)
        queue.close(timeout=0.0)


def test_everything_comes_true_while_workers_are_killed():
    with LocalQueue(workers=2, max_crashes=15) as queue:
        futures = [queue.delay(nesting.fibonacci, 7) for _ in range(20)]
        for _ in range(5):
            with contextlib.suppress(ProcessLookupError):  # one that was killed before may still be in its row
                os.kill(wait_until_staffed(queue)[0], signal.SIGKILL)
        assert [future.result(PATIENCE) for future in futures] == [13] * 20


def test_what_is_stopped_is_the_one_within_and_not_the_coroutine_that_waits_for_it():
    with LocalQueue(workers=1, max_crashes=0, grace_period=60.0) as queue:
        assert queue.delay(nesting.wait_for_coroutine, queue, 30.0).result(PATIENCE) == "it was stopped"


def test_a_child_that_a_task_forked_takes_nothing_of_its_queue():
    with LocalQueue(workers=1) as queue:
        assert queue.delay(nesting.fork_and_wait, queue, 3).result(PATIENCE) == ([0, 1, 2], "QueueClosed")


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_of_a_task_may_submit_and_wait(workers):
    with LocalQueue(workers=workers, max_crashes=0) as queue:
        for _ in range(3):
            futures = [queue.delay(nesting.wait_in_threads, queue, 16) for _ in range(2)]
            assert [future.result(PATIENCE) for future in futures] == [(0, True)] * 2
            assert queue.delay(nesting.total, queue, 5).result(PATIENCE) == 15


def test_what_is_stopped_in_another_thread_stops_nothing_in_the_first_one():
    with LocalQueue(workers=1, max_crashes=0, grace_period=60.0) as queue:
        assert queue.delay(nesting.see_one_time_out_in_a_thread, queue).result(PATIENCE) == "NoneType"
