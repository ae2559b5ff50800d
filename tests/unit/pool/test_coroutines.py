# SPDX-License-Identifier: MIT
"""Async tasks: one at a time, or many on one worker's event loop."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from localq import ConfigError, LocalQueue, TaskCancelled, TaskTimeout, WorkerCrashed
from tests.support import coroutines, stopping, tasks
from tests.support.queues import PATIENCE, audit, lines_of, wait_until_staffed
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def shared():
    with LocalQueue(workers=1, concurrency=8, grace_period=0.3) as made:
        yield made


@pytest.fixture
def queue(shared):
    wait_until_staffed(shared)
    yield shared
    audit(shared)


@pytest.fixture
def seen(tmp_path):
    return str(tmp_path / "seen")


def test_as_many_as_allowed_are_on_their_way_in_one_worker(queue, seen):
    futures = [queue.delay(coroutines.arrive, seen, 8, number) for number in range(8)]

    results = [future.result(PATIENCE) for future in futures]

    assert [number for number, _ in results] == list(range(8))
    assert len({pid for _, pid in results}) == 1


def test_never_more_than_that(tmp_path):
    with LocalQueue(workers=1, concurrency=3) as queue:
        seen = [queue.delay(coroutines.most_at_once, str(tmp_path)) for _ in range(30)]
        assert max(future.result(PATIENCE) for future in seen) == 3


def test_by_default_one_at_a_time(tmp_path):
    with LocalQueue(workers=1) as queue:
        seen = [queue.delay(coroutines.most_at_once, str(tmp_path)) for _ in range(5)]
        assert {future.result(PATIENCE) for future in seen} == {1}


def test_each_knows_which_it_is(queue):
    futures = [queue.delay(coroutines.own_id) for _ in range(20)]

    assert [future.result(PATIENCE) for future in futures] == [(future.task_id,) * 2 for future in futures]


def test_one_that_raises_fails_alone_and_runs_again_if_it_may(queue):
    futures = [queue.delay(coroutines.fail if number % 2 else tasks.add_later, number) for number in range(10)]

    errors = [future.exception(PATIENCE) for future in futures]

    assert [type(error) for error in errors] == [type(None), ValueError] * 5
    again = queue.options(max_retries=2).delay(coroutines.fail, "again")
    assert isinstance(again.exception(PATIENCE), ValueError)
    assert again.attempts == 3


def test_functions_run_in_between_and_may_run_loops_of_their_own(queue, seen):
    flying = [queue.delay(coroutines.arrive, seen, 4, number) for number in range(3)]
    eventually(lambda: len(lines_of(seen)) == 3)

    assert [queue.delay(coroutines.run_a_loop, number).result(PATIENCE) for number in range(5)] == list(range(5))
    assert queue.delay(tasks.same, 1).result(PATIENCE) == 1

    tasks.record(seen, "the fourth")
    assert [future.result(PATIENCE)[0] for future in flying] == [0, 1, 2]


def test_a_coroutine_may_wait_for_tasks_of_its_own_queue(queue):
    assert queue.delay(coroutines.call, queue, 5).result(PATIENCE) == 5
    assert queue.delay(coroutines.wait_as_a_function, queue, "text").result(PATIENCE) == ["text"]


def test_one_of_many_is_cancelled_as_asyncio_cancels(queue, tmp_path):
    files = [str(tmp_path / str(number)) for number in range(4)]
    futures = [queue.delay(stopping.sleep_in_a_coroutine, seen) for seen in files]
    eventually(lambda: all(map(lines_of, files)))

    assert futures[1].cancel()

    with pytest.raises(TaskCancelled):
        futures[1].result()
    eventually(lambda: lines_of(files[1]) == ["began", "CancelledError"])
    assert [lines_of(seen) for seen in files if seen != files[1]] == [["began"]] * 3
    assert [future.cancel() for future in futures] == [True] * 4
    eventually(lambda: not queue._space.slots()["running"])


def test_a_time_limit_ends_one_of_many(queue, tmp_path):
    long = queue.delay(stopping.sleep_in_a_coroutine, str(tmp_path / "long"))
    short = queue.options(timeout=0.2).delay(stopping.sleep_in_a_coroutine, str(tmp_path / "short"))

    with pytest.raises(TaskTimeout):
        short.result(PATIENCE)

    assert not long.done()
    assert long.cancel()
    eventually(lambda: not queue._space.slots()["running"])


def test_a_task_that_comes_while_all_sleep_is_taken_at_once(queue):
    sleeping = queue.delay(asyncio.sleep, 1.0, "slept")
    eventually(sleeping.running)
    began = time.monotonic()

    assert [queue.delay(tasks.same, number).result(PATIENCE) for number in range(20)] == list(range(20))

    assert not sleeping.done(), time.monotonic() - began
    assert sleeping.result(PATIENCE) == "slept"


def test_a_worker_that_dies_takes_those_on_their_way(seen):
    with LocalQueue(workers=1, concurrency=4) as queue:
        beside = queue.options(max_crashes=1).delay(coroutines.arrive, seen, 2, 0)
        eventually(lambda: lines_of(seen))

        assert isinstance(queue.delay(coroutines.die).exception(PATIENCE), WorkerCrashed)

        tasks.record(seen, "the second")
        assert beside.result(PATIENCE)[0] == 0
        assert beside.attempts == 2


def test_one_that_does_not_stop_ends_its_worker_and_those_beside_it_are_told_why(tmp_path):
    seen = str(tmp_path / "seen")
    with LocalQueue(workers=1, concurrency=4, grace_period=0.2) as queue:
        beside = queue.delay(coroutines.arrive, seen, 3, 0)
        again = queue.options(max_crashes=1).delay(coroutines.arrive, seen, 3, 1)
        eventually(lambda: len(lines_of(seen)) == 2)

        deaf = queue.options(timeout=0.1).delay(coroutines.refuse)

        assert isinstance(deaf.exception(PATIENCE), TaskTimeout)
        error = beside.exception(PATIENCE)
        assert isinstance(error, WorkerCrashed)
        assert error.for_another
        assert "another task in that worker" in str(error)
        assert again.result(PATIENCE)[0] == 1


def test_a_recycled_worker_lets_them_land(tmp_path):
    with LocalQueue(workers=1, concurrency=4, max_tasks_per_child=3) as queue:
        pids = [queue.delay(coroutines.arrive, str(tmp_path / "seen"), 3, number) for number in range(3)]
        first = {future.result(PATIENCE)[1] for future in pids}
        assert len(first) == 1
        assert queue.delay(os.getpid).result(PATIENCE) not in first


@pytest.mark.parametrize("how", ["stop", "exit", "interrupt", "exit beside"])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_coroutine_that_ends_the_loop_ends_nothing_but_itself(how, concurrency):
    with LocalQueue(workers=1, concurrency=concurrency) as queue:
        pid = queue.delay(os.getpid).result(PATIENCE)
        beside = queue.delay(asyncio.sleep, 0.1, "slept")

        error = queue.delay(coroutines.leave, how).exception(PATIENCE)

        assert type(error) is {"exit": SystemExit, "interrupt": KeyboardInterrupt}.get(how, type(None))
        assert beside.result(PATIENCE) == "slept"
        assert queue.delay(asyncio.sleep, 0.01, "later").result(PATIENCE) == "later"
        assert queue.delay(os.getpid).result(PATIENCE) == pid


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", None])
def test_a_concurrency_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="concurrency"):
        LocalQueue(concurrency=wrong)
