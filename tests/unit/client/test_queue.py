# SPDX-License-Identifier: MIT
"""What a call of the queue promises: its result, its order, its room, its place by id."""

from __future__ import annotations

import inspect
import queue as standard_queue
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from localq import (
    ConfigError,
    LocalQueue,
    Priority,
    QueueFull,
    SerializationError,
    TaskCancelled,
    TaskResult,
    TaskStatus,
    current_task,
)
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, id_of, is_kept, lines_of, read
from tests.support.waiting import Gate, eventually

# ---- one call


def test_a_call_returns_what_its_function_returns(q):
    assert q.delay(tasks.add, 2, 3).result(PATIENCE) == 5


def test_keyword_arguments_reach_the_function(q):
    assert q.delay(tasks.echo, 1, a=2, b=[3]).result(PATIENCE) == ((1,), {"a": 2, "b": [3]})


def test_keywords_named_like_the_options_of_a_queue_reach_the_function(q):
    named = {"fn": 1, "args": 2, "kwargs": 3, "self": 4, "timeout": 5, "priority": 6, "queue": 7}

    assert q.delay(tasks.echo, **named).result(PATIENCE) == ((), named)
    assert q.options(priority="high").delay(tasks.echo, **named).result(PATIENCE) == ((), named)


@pytest.mark.parametrize(
    "value",
    [
        (),
        (1, [2, (3,)], {"a": (4,), 5: None, None: b"\0"}),
        2**64,
        -(2**63) - 1,
        float("inf"),
        "\ud800",
        {1, 2},
        1 + 2j,
        Priority.HIGH,
        True,
        "x" * 100_000,
        b"y" * 3_000_000,
        list(range(50_000)),
    ],
    ids=lambda value: f"{type(value).__name__}-{len(value) if hasattr(value, '__len__') else value}",
)
def test_a_value_keeps_its_type_both_ways(q, value):
    found = q.delay(tasks.same, value).result(PATIENCE)

    assert (found, type(found)) == (value, type(value))


def test_two_arguments_that_are_one_object_arrive_as_one_object(q):
    shared = [1]

    def are_one(a: list[int], b: dict[str, list[int]]) -> bool:
        return a is b["a"]

    assert q.delay(are_one, shared, {"a": shared}).result(PATIENCE)


def test_what_a_call_raises_arrives_with_its_type_and_attributes(q):
    future = q.delay(tasks.fail, "so it is", code=9)

    with pytest.raises(tasks.Mishap, match="so it is") as raised:
        future.result(PATIENCE)

    assert raised.value.code == 9
    assert future.exception() is raised.value
    assert future.status is TaskStatus.FAILURE


def test_the_cause_of_an_exception_is_the_traceback_made_in_the_worker(q):
    error = q.delay(tasks.fail).exception(PATIENCE)

    assert "in fail" in str(error.__cause__)
    assert "tasks.py" in str(error.__cause__)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_that_ends_programs_ends_only_the_task(lone, kind):
    def leave() -> None:
        raise kind("bye")

    before = lone.delay(tasks.pid).result(PATIENCE)

    assert type(lone.delay(leave).exception(PATIENCE)) is kind
    assert lone.delay(tasks.pid).result(PATIENCE) == before


def test_an_exception_class_of_the_caller_s_own_script_arrives_as_that_class(q):
    class Local(Exception):
        pass

    def fail() -> None:
        raise Local("of a test")

    error = q.delay(fail).exception(PATIENCE)

    assert type(error).__name__ == "Local" or "Local" in str(error)
    assert "of a test" in str(error)


def test_a_successful_call_has_no_exception(q):
    future = q.delay(tasks.noop)

    assert future.exception(PATIENCE) is None
    assert future.status is TaskStatus.SUCCESS


def test_every_call_has_an_id_of_its_own(q):
    futures = [q.delay(tasks.noop) for _ in range(100)]

    assert len({future.task_id for future in futures}) == 100
    for future in futures:
        future.result(PATIENCE)


def test_a_future_knows_its_worker_and_its_times_once_it_is_done(lone):
    future = lone.delay(tasks.pid)

    assert future.result(PATIENCE) == future.worker_pid
    assert future.attempts == 1
    assert future.wait_seconds >= 0
    assert future.run_seconds >= 0


def test_the_status_follows_the_task(lone, gate):
    first = lone.delay(tasks.slow, gate.path)
    second = lone.delay(tasks.noop)
    gate.wait_for_arrivals(1)

    assert (first.status, second.status) == (TaskStatus.STARTED, TaskStatus.PENDING)
    assert (first.running(), second.running()) == (True, False)
    assert (first.done(), second.done()) == (False, False)

    gate.open()
    eventually(second.done)
    assert (first.status, second.status) == (TaskStatus.SUCCESS, TaskStatus.SUCCESS)


def test_result_stops_waiting_after_its_timeout_and_the_task_goes_on(lone, gate):
    future = lone.delay(tasks.slow, gate.path, "done")
    start = time.monotonic()

    with pytest.raises(TimeoutError):
        future.result(0.05)

    assert time.monotonic() - start >= 0.05
    with pytest.raises(TimeoutError):
        future.exception(0)
    gate.open()
    assert future.result(PATIENCE) == "done"


def test_a_result_can_be_read_again_and_is_the_same_object(q):
    future = q.delay(tasks.same, {"a": {1}})

    assert future.result(PATIENCE) is future.result()


def test_changing_a_result_changes_nobody_else_s(q):
    first, second = q.delay(tasks.same, [1]), q.delay(tasks.same, [1])
    first.result(PATIENCE).append(2)

    assert second.result(PATIENCE) == [1]


def test_changing_an_argument_after_the_call_changes_nothing(lone, gate):
    lone.delay(tasks.slow, gate.path)
    value = [1]
    future = lone.delay(tasks.same, value)
    value.append(2)
    gate.open()

    assert future.result(PATIENCE) == [1]


def test_a_coroutine_function_is_run_to_its_end(q):
    assert q.delay(tasks.add_later, 2, right=5).result(PATIENCE) == 7


def test_coroutines_of_one_worker_share_an_event_loop(lone):
    async def loop() -> int:
        from asyncio import get_running_loop

        return id(get_running_loop())

    assert lone.delay(loop).result(PATIENCE) == lone.delay(loop).result(PATIENCE)


def test_what_a_coroutine_raises_is_the_task_s_exception(q):
    async def fail() -> None:
        raise LookupError("later")

    assert repr(q.delay(fail).exception(PATIENCE)) == "LookupError('later')"


def test_many_calls_each_get_their_own_result(q):
    futures = [q.delay(tasks.same, number) for number in range(5000)]

    assert [future.result(PATIENCE) for future in futures] == list(range(5000))


# ---- inside a task


def test_a_task_knows_its_id_its_attempt_and_its_metadata(q):
    def context() -> tuple[str, int, object]:
        task = current_task()
        assert task is not None
        return task.task_id, task.attempt, task.metadata

    future = q.options(metadata={"user": ("a", 1)}).delay(context)
    plain = q.delay(context)

    assert future.result(PATIENCE) == (future.task_id, 1, {"user": ("a", 1)})
    assert plain.result(PATIENCE) == (plain.task_id, 1, None)


def test_there_is_no_current_task_outside_of_a_worker():
    assert current_task() is None


def test_metadata_changes_nothing_about_the_call(q):
    asked = q.options(metadata=object).delay(tasks.echo, 1, [2], a={3})

    assert asked.result(PATIENCE) == ((1, [2]), {"a": {3}})


# ---- arguments that nobody can use


def test_what_is_not_callable_is_refused_at_once(q):
    with pytest.raises(ConfigError, match=r"function.*int"):
        q.delay(42)
    with pytest.raises(ConfigError, match=r"function.*int"):
        q.map(42, [1])
    with pytest.raises(TypeError):
        q.delay()


@pytest.mark.parametrize(
    "options",
    [
        {"priority": "urgent"},
        {"priority": 4},
        {"priority": -1},
        {"priority": True},
        {"queue": "nowhere"},
        {"queue": 0},
        {"timeout": -1},
        {"timeout": "1"},
        {"timeout": float("nan")},
        {"max_retries": -1},
        {"max_retries": 16},
        {"max_retries": 1.5},
        {"max_retries": True},
    ],
    ids=str,
)
def test_an_option_that_nobody_can_use_is_refused_by_name(q, options):
    (name,) = options

    with pytest.raises(ConfigError, match=name):
        q.options(**options)


@pytest.mark.parametrize(
    "arguments",
    [{"workers": 0}, {"capacity": 1.5}, {"queues": ()}, {"memory": "1 parsec"}, {"start_method": "spawn"}],
    ids=str,
)
def test_a_queue_that_cannot_be_is_refused_by_the_argument_s_name_and_starts_nothing(arguments):
    (name,) = arguments

    with pytest.raises(ConfigError, match=name):
        LocalQueue(**arguments)


def test_the_documented_arguments_are_those_that_a_queue_takes():
    taken = list(inspect.signature(LocalQueue.__init__).parameters)[1:]

    assert all(name in (LocalQueue.__doc__ or "") for name in taken)


class Locked:
    def __init__(self) -> None:
        self.name = "x"
        self.lock = threading.Lock()


def test_an_argument_that_cannot_be_sent_fails_that_task_and_names_the_part(q):
    bad = q.delay(tasks.echo, 1, settings={"a": [0, 1, Locked()]})
    good = q.delay(tasks.same, 1)

    error = bad.exception(PATIENCE)

    assert isinstance(error, SerializationError)
    assert "settings" in error.where
    assert error.path == "['a'][2].lock"
    assert error.type_name.endswith("lock")
    assert bad.done()
    assert bad.status is TaskStatus.FAILURE
    assert not bad.task_id, "it was never sent"
    assert not bad.cancel()
    assert good.result(PATIENCE) == 1


def test_a_result_that_cannot_be_sent_fails_that_task_and_names_the_part(lone):
    def locked() -> dict[str, list[Any]]:
        return {"a": [0, threading.Lock()]}

    before = lone.delay(tasks.pid).result(PATIENCE)
    error = lone.delay(locked).exception(PATIENCE)

    assert isinstance(error, SerializationError)
    assert (error.where, error.path) == ("result", "['a'][1]")
    assert lone.delay(tasks.pid).result(PATIENCE) == before


class Rebuilt:
    """Can be rebuilt in the worker, and not in the process of the test."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_elsewhere, (self.home,)


def rebuild_elsewhere(home: int) -> Rebuilt:
    import os

    if os.getpid() == home:
        raise RuntimeError("not here")
    return Rebuilt(home)


def test_a_result_that_cannot_be_rebuilt_here_fails_that_future_alone(q):
    import os

    bad = q.delay(Rebuilt, os.getpid())
    good = q.delay(tasks.same, 1)

    error = bad.exception(PATIENCE)

    assert isinstance(error, SerializationError)
    assert "RuntimeError: not here" in str(error)
    assert error.task_id == bad.task_id
    assert good.result(PATIENCE) == 1
    assert bad.status is TaskStatus.FAILURE


def test_an_argument_that_cannot_be_rebuilt_in_the_worker_fails_that_task_alone(lone):
    class Fragile:
        def __reduce__(self) -> tuple[Any, ...]:
            return int, ("no number",)

    before = lone.delay(tasks.pid).result(PATIENCE)

    assert "no number" in str(lone.delay(tasks.same, Fragile()).exception(PATIENCE))
    assert lone.delay(tasks.pid).result(PATIENCE) == before


# ---- priorities and named queues


def test_the_most_urgent_task_runs_first_and_equals_keep_their_order(tmp_path, gate):
    seen = tmp_path / "seen"
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        for number in range(3):
            for priority in ("low", Priority.NORMAL, 1, "critical"):
                asked = f"{int(Priority.parse(priority))}{number}"
                queue.options(priority=priority).delay(tasks.record, str(seen), asked)
        gate.open()

    assert lines_of(seen) == [f"{priority}{number}" for priority in range(4) for number in range(3)]


def test_a_plain_call_is_of_normal_priority(tmp_path, gate):
    seen = tmp_path / "seen"
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        queue.options(priority="low").delay(tasks.record, str(seen), "low")
        queue.delay(tasks.record, str(seen), "plain")
        queue.options(priority="high").delay(tasks.record, str(seen), "high")
        gate.open()

    assert lines_of(seen) == ["high", "plain", "low"]


def test_a_low_task_runs_within_64_takes_of_critical_ones(tmp_path, gate):
    seen = tmp_path / "seen"
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        for _ in range(3):
            queue.options(priority="low").delay(tasks.record, str(seen), "low")
        for _ in range(200):
            queue.options(priority="critical").delay(tasks.record, str(seen), "critical")
        gate.open()

    order = lines_of(seen)
    assert len(order) == 203
    assert 0 < order.index("low") <= 64
    assert order.count("low") == 3
    assert order[:100].count("low") == 1


def test_every_level_below_the_most_urgent_gets_its_turn(tmp_path, gate):
    seen = tmp_path / "seen"
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        for name in ("low", "normal", "high"):
            for _ in range(10):
                queue.options(priority=name).delay(tasks.record, str(seen), name)
        for _ in range(300):
            queue.options(priority="critical").delay(tasks.record, str(seen), "critical")
        gate.open()

    assert set(lines_of(seen)[:200]) == {"critical", "high", "normal", "low"}


def test_workers_serve_all_named_queues_in_turn(tmp_path, gate):
    seen = tmp_path / "seen"
    with LocalQueue(workers=1, queues=("a", "b", "c")) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        for name in ("a", "b", "c"):
            for _ in range(5):
                queue.options(queue=name).delay(tasks.record, str(seen), name)
        gate.open()

    order = lines_of(seen)
    assert sorted(order) == sorted("aaaaabbbbbccccc")
    assert set(order[:3]) == {"a", "b", "c"}


def test_an_urgent_task_of_one_named_queue_runs_before_calm_ones_of_another(tmp_path, gate):
    seen = tmp_path / "seen"
    with LocalQueue(workers=1, queues=("a", "b")) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        for _ in range(3):
            queue.options(queue="a").delay(tasks.record, str(seen), "calm")
        queue.options(queue="b", priority="high").delay(tasks.record, str(seen), "urgent")
        gate.open()

    assert lines_of(seen) == ["urgent", "calm", "calm", "calm"]


def test_the_first_named_queue_is_the_default(gate):
    with LocalQueue(workers=1, queues=("a", "b")) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        queue.delay(tasks.noop)

        assert [sum(levels) for levels in queue._space.depths()] == [1, 0]


# ---- room


def test_a_full_queue_refuses_after_the_timeout_and_loses_nothing(gate):
    with LocalQueue(workers=1, capacity=4) as queue, gate:
        impatient = queue.options(full_timeout=0)
        futures = [queue.delay(tasks.slow, gate.path, -1)]
        gate.wait_for_arrivals(1)

        futures += [impatient.delay(tasks.same, number) for number in range(3)]
        with pytest.raises(QueueFull) as raised:
            impatient.delay(tasks.same, 3)

        assert raised.value.capacity == 4
        assert raised.value.timeout == 0
        assert isinstance(raised.value, standard_queue.Full)
        gate.open()
        assert [future.result(PATIENCE) for future in futures] == [-1, 0, 1, 2]
        assert impatient.delay(tasks.same, "again").result(PATIENCE) == "again"
        audit(queue)


def test_a_call_waits_for_room_at_least_as_long_as_it_was_told(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        start = time.monotonic()

        with pytest.raises(QueueFull):
            queue.options(full_timeout=0.08).delay(tasks.noop)

        assert time.monotonic() - start >= 0.08
        gate.open()


@pytest.mark.parametrize("timeout", [60, 1e12, float("inf")])
def test_a_call_that_waits_for_room_goes_on_when_there_is_some(gate, timeout):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        futures = [queue.delay(tasks.slow, gate.path)]
        gate.wait_for_arrivals(1)
        waiting = threading.Thread(
            target=lambda: futures.append(queue.options(full_timeout=timeout).delay(tasks.same, 2))
        )
        waiting.start()
        gate.open()
        waiting.join(PATIENCE)

        assert not waiting.is_alive()
        assert futures[1].result(PATIENCE) == 2


def test_more_tasks_than_room_all_run():
    with LocalQueue(workers=2, capacity=8) as queue:
        futures = []
        for number in range(200):
            futures.append(queue.delay(tasks.same, number))
            assert queue._client.pending <= 8

        assert [future.result(PATIENCE) for future in futures] == list(range(200))
        audit(queue)


def test_capacity_one_is_enough_for_any_number_of_tasks():
    with LocalQueue(workers=2, capacity=1, result_cache_size=0) as queue:
        futures = [queue.delay(tasks.same, number) for number in range(50)]

        assert [future.result(PATIENCE) for future in futures] == list(range(50))


def test_arguments_wait_for_room_in_memory():
    with LocalQueue(workers=1, memory="4MiB", result_cache_size=0) as queue:
        payload = b"x" * 1_000_000
        futures = [queue.delay(len, payload) for _ in range(20)]

        assert [future.result(PATIENCE) for future in futures] == [1_000_000] * 20
        assert queue._space.arena()[0] == 0
        audit(queue)


def test_arguments_find_the_room_of_tasks_that_are_done_and_not_yet_looked_at():
    with LocalQueue(workers=1, memory="4MiB", result_cache_size=0) as queue:
        payload = b"x" * 1_000_000
        futures = [queue.delay(len, payload)]
        for _ in range(20):
            eventually(lambda: queue._space.slots()["done"] or queue._client.pending == 0)
            futures.append(queue.delay(len, payload))

        assert [future.result(PATIENCE) for future in futures] == [1_000_000] * 21
        audit(queue)


def test_cached_results_give_way_to_new_ones_when_memory_is_short():
    with LocalQueue(workers=1, memory="4MiB") as queue:
        for number in range(20):
            assert len(queue.delay(bytes, 1_000_000 + number).result(PATIENCE)) == 1_000_000 + number
        audit(queue)


def test_arguments_larger_than_the_memory_are_refused_at_once():
    with LocalQueue(workers=1, memory="1MiB") as queue:
        with pytest.raises(MemoryError, match="memory="):
            queue.delay(len, b"x" * 3_000_000)

        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        audit(queue)


def test_a_result_larger_than_the_memory_fails_that_task_alone():
    with LocalQueue(workers=1, memory="1MiB") as queue:
        error = queue.delay(bytes, 3_000_000).exception(PATIENCE)

        assert isinstance(error, SerializationError)
        assert "memory=" in str(error)
        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        audit(queue)


# ---- submit_task


def test_submit_task_returns_the_value_as_data(q):
    result: Any = q.submit_task(tasks.add, [1], {"right": 2})

    assert isinstance(result, TaskResult)
    assert (result.status, result.value, result.error, result.attempts) == (TaskStatus.SUCCESS, 3, None, 1)
    assert result.unwrap() == 3
    times: list[Any] = [result.submitted_at, result.started_at, result.finished_at, time.time()]
    assert times == sorted(times)
    assert q.get_task_result(result.task_id).value == 3


def test_submit_task_returns_the_error_as_data(q):
    result = q.submit_task(tasks.fail, priority="high")

    assert (result.status, type(result.error)) == (TaskStatus.FAILURE, tasks.Mishap)
    with pytest.raises(tasks.Mishap):
        result.unwrap()


def test_submit_task_returns_an_argument_s_refusal_as_data(q):
    result = q.submit_task(tasks.same, (Locked(),))

    assert result.status is TaskStatus.FAILURE
    assert isinstance(result.error, SerializationError)


def test_submit_task_stops_waiting_after_its_timeout(lone, gate):
    with pytest.raises(TimeoutError):
        lone.submit_task(tasks.slow, (gate.path,), timeout=0.01)
    with pytest.raises(ConfigError):
        lone.submit_task(tasks.noop, timeout=-1)


def test_submit_task_of_a_task_cancelled_meanwhile_says_so(lone, gate):
    results: list[TaskResult[Any]] = []
    lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    waiting = threading.Thread(target=lambda: results.append(lone.submit_task(tasks.noop)))
    waiting.start()
    (future,) = eventually(lambda: [f for f in lone._client.pending_futures() if f.status is TaskStatus.PENDING])

    assert future.cancel()

    waiting.join(PATIENCE)
    assert [result.status for result in results] == [TaskStatus.CANCELLED]
    assert isinstance(results[0].error, TaskCancelled)


# ---- by id


def test_a_task_can_be_read_by_its_id_at_every_stage(lone, gate):
    running = lone.delay(tasks.slow, gate.path, "value")
    (pid,) = gate.wait_for_arrivals(1)
    pending = lone.delay(tasks.noop)
    cancelled = lone.delay(tasks.noop)
    cancelled.cancel()

    found = lone.get_task_result(running.task_id)
    assert (found.status, found.value, found.error, found.worker_pid) == (TaskStatus.STARTED, None, None, pid)
    assert found.started_at is not None
    assert found.finished_at is None
    found = lone.get_task_result(pending.task_id)
    assert (found.status, found.value, found.error) == (TaskStatus.PENDING, None, None)
    assert (found.worker_pid, found.started_at, found.finished_at) == (None, None, None)
    found = lone.get_task_result(cancelled.task_id)
    assert (found.status, found.value, type(found.error)) == (TaskStatus.CANCELLED, None, TaskCancelled)
    statuses = [lone.get_status(future.task_id) for future in (running, pending, cancelled)]
    assert statuses == [TaskStatus.STARTED, TaskStatus.PENDING, TaskStatus.CANCELLED]

    gate.open()
    assert running.result(PATIENCE) == "value"
    found = lone.get_task_result(running.task_id)
    assert (found.task_id, found.status, found.value) == (running.task_id, TaskStatus.SUCCESS, "value")
    assert (found.worker_pid, found.attempts) == (pid, 1)
    assert found.submitted_at <= found.started_at <= found.finished_at


def test_reading_by_id_neither_waits_nor_takes_the_result_from_its_future(q):
    future = q.delay(tasks.same, {"a": {1}})

    found = eventually(lambda: r if (r := q.get_task_result(future.task_id)).status is TaskStatus.SUCCESS else None)

    assert found.value == {"a": {1}}
    assert q.get_task_result(future.task_id).value == {"a": {1}}
    assert future.result(PATIENCE) == {"a": {1}}


def test_an_error_can_be_read_by_id(q):
    future = q.delay(tasks.fail, "so it is")
    future.exception(PATIENCE)

    found = q.get_task_result(future.task_id)

    assert (found.status, type(found.error)) == (TaskStatus.FAILURE, tasks.Mishap)
    assert found.value is None
    assert found.finished_at is not None


def test_a_large_result_can_be_read_by_id(q):
    future = q.delay(tasks.same, "x" * 200_000)
    future.result(PATIENCE)

    assert q.get_task_result(future.task_id).value == "x" * 200_000


def test_the_least_recently_used_result_is_forgotten_first():
    with LocalQueue(workers=2, result_cache_size=3) as queue:

        def run(value: object) -> str:
            future = queue.delay(tasks.same, value)
            future.result(PATIENCE)
            return id_of(future)

        def kept(*ids: str) -> list[bool]:
            return [is_kept(queue, task_id) for task_id in ids]

        a, b, c = run("a"), run("b"), run("c")
        assert kept(a, b, c) == [True, True, True]
        assert read(queue, a).value == "a"
        d = run("d")
        assert kept(a, b, c, d) == [True, False, True, True]
        assert read(queue, c).value == "c"
        e = run("e")
        assert kept(a, b, c, d, e) == [False, False, True, True, True]
        f = run("f")
        assert kept(c, d, e, f) == [True, False, True, True]
        assert not is_kept(queue, b)
        audit(queue)


def test_results_that_nobody_has_taken_are_not_forgotten(gate):
    with LocalQueue(workers=2, result_cache_size=2) as queue:
        futures = [queue.delay(tasks.same, number) for number in range(50)]

        assert [future.result(PATIENCE) for future in futures] == list(range(50))
        assert sum(is_kept(queue, id_of(future)) for future in futures) == 2


def test_a_result_is_forgotten_when_its_time_is_over():
    with LocalQueue(workers=1, result_ttl=0.05) as queue:
        future = queue.delay(tasks.same, "x" * 100_000)
        future.result(PATIENCE)

        eventually(lambda: not is_kept(queue, id_of(future)))

        assert future.result() == "x" * 100_000
        eventually(lambda: queue._space.slots()["cached"] == 0, what="the slot is given back")
        eventually(lambda: queue._space.arena()[0] == 0, what="its memory is given back")
        audit(queue)


def test_without_a_cache_nothing_is_kept_and_futures_have_their_results():
    with LocalQueue(workers=1, result_cache_size=0) as queue:
        futures = [queue.delay(tasks.same, "y" * 50_000) for _ in range(20)]

        assert [future.result(PATIENCE) for future in futures] == ["y" * 50_000] * 20
        assert not any(is_kept(queue, id_of(future)) for future in futures)
        assert queue._space.arena()[0] == 0
        audit(queue)


def test_an_id_of_another_queue_is_unknown(q, lone):
    future = lone.delay(tasks.noop)
    future.result(PATIENCE)

    assert lone.get_task_result(future.task_id) is not None
    assert q.get_task_result(future.task_id) is None
    assert q.get_status(future.task_id) is None
    assert not q.cancel(future.task_id)


def test_only_the_exact_id_names_a_task(q):
    future = q.delay(tasks.noop)
    future.result(PATIENCE)
    prefix, slot, generation = future.task_id.split("-")

    for twisted in (
        "",
        "nonsense",
        "--",
        prefix,
        future.task_id + "-0",
        f"{prefix}-{slot}-{int(generation, 16) + 1:x}",
        f"{prefix}-{slot}-0",
        f"{prefix}-fffffff-{generation}",
        f"{prefix}-{'f' * 40}-{generation}",
        f"{prefix}-{slot}-{'f' * 40}",
        f"{prefix}-0x{slot}-{generation}",
        f"{prefix}- {slot}-{generation}",
        f"{prefix}-+{slot}-{generation}",
        f"{prefix}-0{slot}-{generation}",
        "\ud800-1-1",
    ):
        assert q.get_task_result(twisted) is None, twisted
        assert q.get_status(twisted) is None, twisted
        assert not q.cancel(twisted), twisted


@pytest.mark.parametrize("task_id", [None, 7, b"x-1-1"])
def test_an_id_that_is_not_a_text_is_refused(q, task_id):
    for call in (q.get_task_result, q.get_status, q.cancel):
        with pytest.raises(ConfigError, match="task_id"):
            call(task_id)


# ---- cancel


def test_a_task_cancelled_before_it_starts_never_runs(tmp_path, lone, gate):
    seen = tmp_path / "seen"
    running = lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    first, second, third = (lone.delay(tasks.record, str(seen), text) for text in ("first", "second", "third"))

    assert second.cancel()
    assert lone.cancel(first.task_id)

    assert (first.status, second.status) == (TaskStatus.CANCELLED, TaskStatus.CANCELLED)
    assert first.cancelled()
    assert first.done()
    assert second.cancel(), "cancelling again changes nothing"
    with pytest.raises(TaskCancelled) as raised:
        second.result(PATIENCE)
    assert isinstance(raised.value, CancelledError)
    assert raised.value.task_id == second.task_id
    with pytest.raises(CancelledError):
        second.exception()
    gate.open()
    third.result(PATIENCE)
    assert running.result(PATIENCE) is None
    assert lines_of(seen) == ["third"]
    audit(lone)


def test_a_task_that_is_done_cannot_be_cancelled(lone):
    done = lone.delay(tasks.same, 1)
    done.result(PATIENCE)

    assert not done.cancel()
    assert not lone.cancel(done.task_id)
    assert done.result() == 1


def test_cancelled_tasks_make_room_again(gate):
    with LocalQueue(workers=1, capacity=4) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        cancelled = [queue.delay(tasks.noop) for _ in range(3)]
        assert all(future.cancel() for future in cancelled)
        gate.open()

        assert [queue.delay(tasks.same, number).result(PATIENCE) for number in range(20)] == list(range(20))
        audit(queue)


def test_of_many_threads_that_cancel_and_workers_that_take_one_wins(tmp_path):
    seen = tmp_path / "seen"
    with LocalQueue(workers=2) as queue:
        futures = [queue.delay(tasks.record, str(seen), str(number)) for number in range(300)]
        cancelled = [future.cancel() for future in reversed(futures)][::-1]
        for future, was_cancelled in zip(futures, cancelled, strict=True):
            if was_cancelled:
                assert future.cancelled()
            else:
                future.result(PATIENCE)
        audit(queue)

    ran = sorted(map(int, lines_of(seen)))
    assert ran == [number for number, was_cancelled in enumerate(cancelled) if not was_cancelled]


# ---- options of the queue


def test_a_queue_says_what_it_is_and_whether_it_is_closed():
    with LocalQueue(workers=1, name="my-queue") as queue:
        assert queue.name == "my-queue"
        assert "my-queue" in repr(queue)
        assert not queue.closed

    assert queue.closed
    assert "closed" in repr(queue)


@pytest.mark.parametrize("serialization", ["msgpack", "json", "pickle"])
def test_every_serialization_carries_calls_maps_errors_and_functions_by_value(serialization):
    factor = 3
    with LocalQueue(workers=1, serialization=serialization) as queue:
        assert queue.delay(tasks.add, 1, right=4).result(PATIENCE) == 5
        assert queue.delay(lambda value: value * factor, 5).result(PATIENCE) == 15
        assert list(queue.map(tasks.add, range(10), chunksize=3)) == list(range(1, 11))
        assert isinstance(queue.delay(tasks.fail).exception(PATIENCE), tasks.Mishap)
        assert queue.delay(tasks.same, {"a": ["x" * 5000]}).result(PATIENCE) == {"a": ["x" * 5000]}


def test_json_refuses_what_json_would_change():
    with LocalQueue(workers=1, serialization="json") as queue:
        for value in ((1, 2), {1: 2}, b"x", {1}, float("nan")):
            error = queue.delay(tasks.same, value).exception(PATIENCE)
            assert isinstance(error, SerializationError), value
        assert isinstance(queue.delay(tasks.echo, 1).exception(PATIENCE), SerializationError), "a tuple as a result"
        assert queue.delay(tasks.same, [1, {"a": None}]).result(PATIENCE) == [1, {"a": None}]


def test_pickle_carries_the_identity_of_shared_parts():
    with LocalQueue(workers=1, serialization="pickle") as queue:
        shared = [1]
        found: Any = queue.delay(tasks.same, [shared, shared]).result(PATIENCE)

        assert found[0] is found[1]


def test_a_raising_task_is_run_as_often_as_its_retries_allow(tmp_path):
    def fail_until(path: str, runs: int) -> int:
        context = current_task()
        assert context is not None
        tasks.record(path, str(context.attempt))
        if context.attempt < runs:
            raise tasks.Mishap("not yet")
        return context.attempt

    with LocalQueue(workers=1, max_retries=2) as queue:
        future = queue.delay(fail_until, str(tmp_path / "a"), 3)
        assert (future.result(PATIENCE), future.attempts) == (3, 3)

        future = queue.delay(fail_until, str(tmp_path / "b"), 9)
        assert isinstance(future.exception(PATIENCE), tasks.Mishap)
        assert future.attempts == 3
        assert lines_of(tmp_path / "b") == ["1", "2", "3"]
        assert read(queue, id_of(future)).attempts == 3

        future = queue.options(max_retries=0).delay(fail_until, str(tmp_path / "c"), 2)
        assert isinstance(future.exception(PATIENCE), tasks.Mishap)
        assert lines_of(tmp_path / "c") == ["1"]

        future = queue.options(max_retries=15).delay(fail_until, str(tmp_path / "d"), 16)
        assert (future.result(PATIENCE), future.attempts) == (16, 16)
        audit(queue)


def test_a_retried_task_keeps_its_large_arguments_and_its_metadata():
    def second_time(payload: bytes) -> tuple[int, object]:
        context = current_task()
        assert context is not None
        if context.attempt == 1:
            raise tasks.Mishap("again")
        return len(payload), context.metadata

    with LocalQueue(workers=2, result_cache_size=0) as queue:
        view = queue.options(max_retries=1, metadata="kept")
        futures = [view.delay(second_time, b"x" * 100_000) for _ in range(20)]

        assert [future.result(PATIENCE) for future in futures] == [(100_000, "kept")] * 20
        audit(queue)


@pytest.mark.parametrize("gate_is_opened_first", [True, False])
def test_a_gate_of_the_tests_holds_and_lets_go(tmp_path: Path, lone: LocalQueue, gate_is_opened_first: bool):
    with Gate(tmp_path) as gate:
        if gate_is_opened_first:
            gate.open()
        future = lone.delay(tasks.slow, gate.path, 1)
        gate.wait_for_arrivals(1)
        assert gate_is_opened_first or not future.done()
    assert future.result(PATIENCE) == 1
