# SPDX-License-Identifier: MIT
"""Tasks that are cancelled while they run, or run too long: they end, by themselves or with their worker, and nobody
else notices."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise

import pytest

from localq import LocalQueue, TaskCancelled, TaskExpired, TaskStatus, TaskTimeout
from tests.support import stopping, tasks
from tests.support.queues import PATIENCE, audit, lines_of, read, ready_workers, supervisor_of, wait_until_staffed
from tests.support.waiting import eventually

GRACE = 0.3

gentle = [stopping.sleep, stopping.spin, stopping.wait, stopping.sleep_in_a_coroutine]
stubborn = [stopping.refuse, stopping.ignore_all, stopping.hold_the_gil]


@pytest.fixture(scope="module")
def shared():
    with LocalQueue(workers=2, grace_period=GRACE) as made:
        yield made


@pytest.fixture
def queue(shared):
    wait_until_staffed(shared)
    yield shared
    audit(shared)


@pytest.fixture
def seen(tmp_path):
    return str(tmp_path / "seen")


def begin(queue, function, seen, *args, **options):
    """Submit it, and see it run."""
    future = queue.options(**options).delay(function, seen, *args)
    eventually(lambda: lines_of(seen), what="the task has begun")
    return future


def stopped(queue):
    """Wait until no worker has a task in hand."""
    eventually(lambda: not queue._space.slots()["running"], what="the task has ended")


@pytest.mark.parametrize("function", gentle, ids=lambda each: each.__name__)
def test_a_running_task_that_is_cancelled_hears_of_it_and_its_worker_lives(queue, seen, function):
    workers = ready_workers(queue)
    future = begin(queue, function, seen)

    assert future.cancel()

    assert future.status is TaskStatus.CANCELLED
    with pytest.raises(TaskCancelled):
        future.result()
    stopped(queue)
    heard = "CancelledError" if function is stopping.sleep_in_a_coroutine else "TaskCancelled"
    assert lines_of(seen) == ["began", heard]
    assert wait_until_staffed(queue) == workers
    assert read(queue, future.task_id).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("function", stubborn, ids=lambda each: each.__name__)
def test_one_that_does_not_end_is_killed_after_the_grace_period_and_costs_one_worker(queue, seen, function):
    workers = set(ready_workers(queue))
    future = begin(queue, function, seen)
    asked = time.monotonic()

    assert future.cancel()
    stopped(queue)

    assert time.monotonic() - asked >= GRACE
    assert len(workers & set(wait_until_staffed(queue))) == 1
    assert queue._space.tallies["workers_crashed"] == 0
    assert read(queue, future.task_id).status is TaskStatus.CANCELLED
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


@pytest.mark.parametrize("function", gentle, ids=lambda each: each.__name__)
def test_a_task_that_runs_too_long_ends_with_a_timeout(queue, seen, function):
    workers = ready_workers(queue)
    future = queue.options(timeout=0.2).delay(function, seen)

    with pytest.raises(TaskTimeout, match=r"time limit of 0\.2 s") as caught:
        future.result(PATIENCE)

    assert (caught.value.timeout, caught.value.task_id, caught.value.attempts) == (0.2, future.task_id, 1)
    heard = "CancelledError" if function is stopping.sleep_in_a_coroutine else "TaskTimeout"
    assert lines_of(seen) == ["began", heard]
    assert wait_until_staffed(queue) == workers


@pytest.mark.parametrize("function", stubborn, ids=lambda each: each.__name__)
def test_one_that_ends_by_no_means_is_killed_and_ends_with_a_timeout_all_the_same(queue, seen, function):
    future = queue.options(timeout=0.2).delay(function, seen)

    with pytest.raises(TaskTimeout, match=r"time limit of 0\.2 s"):
        future.result(PATIENCE)

    found = read(queue, future.task_id)
    assert (found.status, type(found.error)) == (TaskStatus.FAILURE, TaskTimeout)
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


def test_the_limit_of_the_queue_holds_for_all_and_that_of_a_call_wins(tmp_path):
    with LocalQueue(workers=2, task_timeout=0.2, grace_period=GRACE) as queue:
        assert queue.options(timeout=60).delay(time.sleep, 0.4).result(PATIENCE) is None
        with pytest.raises(TaskTimeout):
            queue.delay(time.sleep, 60).result(PATIENCE)


def test_in_a_map_each_item_has_the_limit_for_itself(queue):
    results = queue.options(timeout=0.3).map(time.sleep, [0, 60, 0, 0.2, 0.2], return_exceptions=True)

    assert [type(each) for each in results] == [type(None), TaskTimeout, type(None), type(None), type(None)]


def test_what_a_task_returns_after_a_timeout_within_the_grace_period_counts(queue, seen):
    future = queue.options(timeout=0.1).delay(stopping.clean_up, seen, 0.05)

    assert future.result(PATIENCE) == "cleaned up"
    assert lines_of(seen) == ["began", "TaskTimeout", "cancelled: True"]


def test_what_a_task_does_after_it_was_cancelled_changes_nothing_for_its_future(queue, seen):
    for function, *args in ((stopping.clean_up, 0.05), (stopping.swallow,)):
        future = begin(queue, function, seen, *args)
        assert future.cancel()
        stopped(queue)
        queue._client.reap()
        assert future.cancelled()
        os.remove(seen)


def test_a_task_that_was_too_long_runs_again_while_it_has_retries(queue, seen):
    assert queue.options(timeout=0.2, max_retries=1).delay(stopping.once_long, seen).result(PATIENCE) == "attempt 2"


def test_a_task_that_had_to_be_killed_runs_again_while_it_may_crash(queue, seen):
    future = queue.options(timeout=0.1, max_crashes=1).delay(stopping.hold_the_gil, seen)

    with pytest.raises(TaskTimeout):
        future.result(PATIENCE)

    assert future.attempts == 2


def test_a_task_that_is_cancelled_does_not_run_again(queue, seen):
    future = begin(queue, stopping.sleep, seen, max_retries=5)

    assert future.cancel()
    stopped(queue)

    audit(queue)
    assert lines_of(seen) == ["began", "TaskCancelled"]


def test_another_client_may_cancel_by_id(queue, seen):
    future = begin(queue, stopping.sleep, seen)
    other = LocalQueue.attach(queue.name)

    assert other.cancel(future.task_id)

    other.close()
    with pytest.raises(TaskCancelled, match="while it ran"):
        future.result(PATIENCE)
    assert lines_of(seen) == ["began", "TaskCancelled"]


def test_others_go_on_while_many_are_cancelled(queue):
    steady = [queue.delay(tasks.same, number) for number in range(200)]
    doomed = [queue.delay(time.sleep, 60) for _ in range(30)]
    late = [queue.delay(tasks.same, number) for number in range(200)]

    cancelled = [future.cancel() for future in doomed]

    assert all(cancelled)
    assert [future.result(PATIENCE) for future in steady + late] == [*range(200), *range(200)]


def test_cancelling_from_many_threads_while_tasks_end_gives_each_one_outcome(queue):
    futures = [queue.delay(time.sleep, 0.001) for _ in range(300)]
    results: list[bool] = [False] * len(futures)

    def cancel(start: int) -> None:
        for at in range(start, len(futures), 3):
            results[at] = futures[at].cancel()

    threads = [threading.Thread(target=cancel, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for future, was_cancelled in zip(futures, results, strict=True):
        assert future.cancelled() == was_cancelled
        if not was_cancelled:
            assert future.result(PATIENCE) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_task_is_stopped_although_the_supervisor_was_lost_meanwhile(seen, number):
    with LocalQueue(workers=1, grace_period=GRACE) as queue:
        future = begin(queue, stopping.sleep, seen, timeout=0.5)
        supervisor = supervisor_of(queue)

        os.kill(supervisor, number)
        if number == signal.SIGSTOP:
            time.sleep(0.6)  # the limit passes, and nobody is there to see it
            os.kill(supervisor, signal.SIGCONT)

        assert type(future.exception(PATIENCE)).__name__ in ("TaskTimeout", "WorkerCrashed")
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_stopped_worker_is_killed_when_its_task_is_cancelled(queue, seen):
    future = begin(queue, stopping.sleep, seen)
    (worker,) = [row["pid"] for row in queue._space.rows() if row["task"] is not None and row["role"] == 3]
    os.kill(worker, signal.SIGSTOP)

    assert future.cancel()

    stopped(queue)
    assert worker not in wait_until_staffed(queue)


# later, again, in time


def test_a_task_with_a_countdown_starts_after_it(queue):
    began = time.monotonic()

    future = queue.options(countdown=0.3).delay(time.monotonic)

    assert future.status is TaskStatus.PENDING
    assert future.result(PATIENCE) - began >= 0.3


def test_an_eta_is_a_time_of_day_and_the_past_is_now(queue):
    from datetime import UTC, datetime, timedelta

    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    assert queue.options(eta=soon).delay(time.time).result(PATIENCE) >= soon.timestamp() - 0.01
    assert queue.options(eta=time.time() + 0.2).delay(tasks.same, 1).result(PATIENCE) == 1
    assert queue.options(eta=0.0).delay(tasks.same, 2).result(PATIENCE) == 2


def test_delayed_tasks_start_in_the_order_of_their_times(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1) as queue:
        for number in (3, 1, 2):
            queue.options(countdown=0.2 * number).delay(tasks.record, seen, str(number))
    assert lines_of(seen) == ["1", "2", "3"]


def test_a_delayed_task_can_be_cancelled(queue, seen):
    future = queue.options(countdown=60).delay(tasks.record, seen, "ran")

    assert future.cancel()

    assert queue._space.slots()["delayed"] == 0
    assert lines_of(seen) == []


def test_delayed_tasks_survive_their_supervisor(seen):
    with LocalQueue(workers=1) as queue:
        wait_until_staffed(queue)
        future = queue.options(countdown=0.5).delay(tasks.same, 1)

        os.kill(supervisor_of(queue), signal.SIGKILL)

        assert future.result(PATIENCE) == 1


def test_a_supervisor_that_drains_waits_for_delayed_tasks_as_for_others():
    with LocalQueue(workers=1, drain_timeout=PATIENCE) as queue:
        wait_until_staffed(queue)
        future = queue.options(countdown=0.4).delay(tasks.same, 1)

        os.kill(supervisor_of(queue), signal.SIGTERM)

        assert future.result(PATIENCE) == 1


def test_retries_wait_longer_each_time(queue, seen):
    future = queue.options(max_retries=3, retry_delay=0.1).delay(stopping.fail_until, seen, 3, ValueError)

    assert future.result(PATIENCE) == 4

    times = [float(line) for line in lines_of(seen)]
    pauses = [after - before for before, after in pairwise(times)]
    assert [pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True)] == [True] * 3


def test_only_the_exceptions_that_were_named_are_worth_a_retry(queue, seen):
    again = queue.options(max_retries=3, retry_on=(KeyError, ValueError)).delay(
        stopping.fail_until, seen, 2, ValueError
    )
    assert again.result(PATIENCE) == 3
    os.remove(seen)

    once = queue.options(max_retries=3, retry_on=KeyError).delay(stopping.fail_until, seen, 2, ValueError)
    assert isinstance(once.exception(PATIENCE), ValueError)
    assert once.attempts == 1


def test_exceptions_and_crashes_have_budgets_of_their_own(queue, seen):
    both = queue.options(max_retries=2, max_crashes=2).delay(stopping.die_then_fail, seen, 2, 2)
    assert both.result(PATIENCE) == 5
    os.remove(seen)

    too_often = queue.options(max_retries=1, max_crashes=2).delay(stopping.die_then_fail, seen, 2, 2)
    assert isinstance(too_often.exception(PATIENCE), ValueError)
    assert too_often.attempts == 4


def test_a_task_that_was_not_started_in_time_is_dropped_and_says_so(tmp_path, gate):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        late = queue.options(ttl=0.05).delay(tasks.record, seen, "late")
        in_time = queue.options(ttl=60).delay(tasks.record, seen, "in time")
        time.sleep(0.06)
        gate.open()

        with pytest.raises(TaskExpired, match="not started within its ttl"):
            late.result(PATIENCE)
        in_time.result(PATIENCE)
        assert type(read(queue, late.task_id).error) is TaskExpired
    assert lines_of(seen) == ["in time"]
