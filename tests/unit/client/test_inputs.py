# SPDX-License-Identifier: MIT
"""Futures among the arguments of a call: their results take their places, and no worker waits for them."""

from __future__ import annotations

import functools
import gc
import threading
from concurrent import futures as standard
from typing import Any

import numpy as np
import pytest

from localq import (
    InitializerFailed,
    LocalQueue,
    SerializationError,
    TaskCancelled,
    TaskFuture,
    TaskStatus,
    current_task,
)
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, lines_of
from tests.support.scripts import run_script
from tests.support.waiting import eventually

DEEP = 5_000  # more than Python's limit of recursion


class Holder:
    """An object of the user's own, with something in it that can change."""

    def __init__(self, value: object) -> None:
        self.value = value


def value_of(holder: Holder, other: object = None) -> object:
    return holder.value


def listed(*args: object, **kwargs: object) -> list[object]:
    return [list(args), kwargs]


def are_one(one: object, other: object) -> bool:
    return one is other


def metadata(value: object) -> object:
    task = current_task()
    assert task is not None
    return task.metadata


def fail_at_start() -> None:
    raise RuntimeError("no start")


# ---- what arrives


@pytest.mark.parametrize("serialization", ["msgpack", "pickle", "json"])
def test_the_result_of_a_future_takes_its_place_wherever_it_stands(serialization):
    with LocalQueue(workers=1, serialization=serialization) as queue:
        one, two = queue.delay(tasks.same, 1), queue.delay(tasks.same, "two")

        future = queue.delay(listed, one, [two, [one, {"a": [two]}]], 3, key=one, other={"b": two})

        assert future.result(PATIENCE) == [[1, ["two", [1, {"a": ["two"]}]], 3], {"key": 1, "other": {"b": "two"}}]
        audit(queue)


def test_tuples_stay_tuples_and_any_result_can_be_an_argument(q):
    array, text = q.delay(np.arange, 5), q.delay(tasks.same, {"x", "y"})

    found: Any = q.delay(tasks.echo, (array, [(text,)])).result(PATIENCE)

    ((given,), _) = found
    assert type(given) is tuple
    assert type(given[1][0]) is tuple
    assert given[0].tolist() == [0, 1, 2, 3, 4]
    assert given[1][0][0] == {"x", "y"}


def test_one_future_in_two_places_is_one_object_there(q):
    future = q.delay(tasks.same, [1])

    assert q.delay(are_one, future, future).result(PATIENCE)


def test_what_contains_itself_can_stand_beside_a_future(q):
    knot: list[object] = [q.delay(tasks.same, 1)]
    knot.append(knot)

    found: Any = q.delay(tasks.same, knot).result(PATIENCE)

    assert found[0] == 1
    assert found[1] is found


def test_functions_classes_and_objects_can_stand_beside_a_future(q):
    lone = q.delay(tasks.same, 20)
    factor = 2

    assert q.delay(lambda fn, value: fn(value), lambda value: value * factor, lone).result(PATIENCE) == 40
    assert q.delay(isinstance, lone, int).result(PATIENCE)
    assert q.delay(value_of, Holder("held"), lone).result(PATIENCE) == "held"
    cached = functools.cache(lambda value: value + factor)  # only cloudpickle can send it
    assert q.delay(lambda fns, value: fns[0](value), [cached], lone).result(PATIENCE) == 22


def test_a_future_elsewhere_than_in_lists_tuples_and_dicts_fails_that_task_and_says_where_they_may_be(q):
    one = q.delay(tasks.same, 1)

    error = q.delay(tasks.echo, one, Holder(one)).exception(PATIENCE)
    assert error is None, "the same future stands alone as well, so its result is known"
    error = q.delay(tasks.echo, Holder(one)).exception(PATIENCE)

    assert isinstance(error, SerializationError)
    assert "argument 1 at .value" in str(error)
    assert "in a list, a tuple or the values of a dict" in str(error)


def test_what_can_not_be_sent_beside_a_future_fails_that_task_at_once_and_is_named(lone, gate):
    held = lone.delay(tasks.slow, gate.path)

    future = lone.delay(tasks.echo, held, key=[threading.Lock()])

    error = future.exception(0)
    assert isinstance(error, SerializationError)
    assert "argument 'key' at [0] (_thread.lock)" in str(error)
    assert future.task_id == ""
    gate.open()


def test_a_task_sees_its_arguments_as_they_were_at_the_call(lone, gate):
    held = lone.delay(tasks.slow, gate.path, "held")
    numbers, names, array, holder = [1], {"a": 1}, np.zeros(3), Holder("before")

    future = lone.delay(tasks.echo, held, numbers, [names], array=array)
    other = lone.delay(value_of, holder, held)
    numbers.append(2)
    names["b"] = 2
    array[0] = 9
    holder.value = "after"
    gate.open()

    found: Any = future.result(PATIENCE)
    assert found[0] == ("held", [1], [{"a": 1}])
    assert found[1]["array"].tolist() == [0, 0, 0]
    assert other.result(PATIENCE) == "before"


def test_the_options_of_such_a_call_hold(q):
    value = q.delay(tasks.same, 1)

    assert q.options(metadata={"for": "me"}).delay(metadata, value).result(PATIENCE) == {"for": "me"}
    future = q.options(max_retries=2).delay(tasks.fail, q.delay(tasks.same, "again"))
    assert isinstance(future.exception(PATIENCE), tasks.Mishap)
    assert future.attempts == 3


def test_a_map_over_futures_runs_over_their_results_and_each_fails_alone(q):
    inputs: list[Any] = [q.delay(tasks.fail_if_odd, number) if number % 3 == 0 else number for number in range(10)]

    found = list(q.map(tasks.same, inputs, return_exceptions=True))

    assert [value if isinstance(value, int) else value.code for value in found] == list(range(10))
    assert [number for number, value in enumerate(found) if not isinstance(value, int)] == [3, 9]
    assert list(q.starmap(tasks.add, [(q.delay(tasks.same, 1), 2), (3, 4)])) == [3, 7]


# ---- when it is sent


def test_the_call_returns_at_once_and_no_worker_waits(lone, gate):
    held = lone.delay(tasks.slow, gate.path, 5)
    gate.wait_for_arrivals(1)

    future = lone.delay(tasks.add, held, 1)

    assert (future.task_id, future.status, future.done(), future.running()) == ("", TaskStatus.PENDING, False, False)
    assert "not sent" in repr(future)
    with pytest.raises(TimeoutError, match="not sent yet"):
        future.result(0.01)
    gate.open()
    assert future.result(PATIENCE) == 6
    assert future.task_id
    assert lone.get_task_result(future.task_id).value == 6
    audit(lone)


def test_inputs_may_be_done_already(q):
    done = q.delay(tasks.same, 1)
    done.result(PATIENCE)

    assert q.delay(tasks.add, done, done).result(PATIENCE) == 2


def test_inputs_of_another_queue_count_as_well(lone, gate):
    with LocalQueue(workers=1) as other:
        held = lone.delay(tasks.slow, gate.path, 1)
        future = other.delay(tasks.add, held, other.delay(tasks.same, 2))
        back = lone.delay(tasks.add, future, 10)
        gate.open()

        assert future.result(PATIENCE) == 3
        assert back.result(PATIENCE) == 13


@pytest.mark.parametrize("width", [2, 500])
def test_a_fan_in_waits_for_all(q, width):
    inputs = [q.delay(tasks.same, number) for number in range(width)]

    assert q.delay(sum, inputs).result(PATIENCE) == sum(range(width))
    audit(q)


def test_a_diamond_runs_each_task_once(q, tmp_path):
    def step(name: str, *inputs: str) -> str:
        tasks.record(str(tmp_path / "runs"), name)
        return name + "".join(inputs)

    top = q.delay(step, "a")
    left, right = q.delay(step, "b", top), q.delay(step, "c", top)

    assert q.delay(step, "d", left, right).result(PATIENCE) == "dbaca"
    assert sorted(lines_of(tmp_path / "runs")) == ["a", "b", "c", "d"]


def test_a_chain_may_be_thousands_deep(lone, gate):
    future: TaskFuture[Any] = lone.delay(tasks.slow, gate.path, 0)
    for _ in range(DEEP):
        future = lone.delay(tasks.add, future, 1)
    gate.open()

    assert future.result(3 * PATIENCE) == DEEP
    audit(lone)


def test_a_future_that_waits_for_inputs_works_with_wait_as_completed_and_callbacks(lone, gate):
    held = lone.delay(tasks.slow, gate.path, 1)
    every: list[standard.Future[Any]] = [lone.delay(tasks.add, held, number) for number in range(10)]
    seen: list[object] = []
    every[0].add_done_callback(seen.append)

    assert standard.wait(every, 0.01).not_done == set(every)
    gate.open()

    assert {future.result() for future in standard.as_completed(every, PATIENCE)} == set(range(1, 11))
    eventually(lambda: seen == every[:1])


def test_many_threads_wait_for_futures_that_wait_for_inputs(lone, gate):
    held = lone.delay(tasks.slow, gate.path, 1)
    waiting = [lone.delay(tasks.add, held, number) for number in range(16)]
    found: list[int] = []
    threads = [threading.Thread(target=lambda of=future: found.append(of.result(PATIENCE))) for future in waiting]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(found) == list(range(1, 17))


def test_a_dropped_future_s_inputs_and_task_run_all_the_same(tmp_path):
    path = str(tmp_path / "runs")
    with LocalQueue(workers=1) as queue:
        queue.delay(tasks.record, path, queue.delay(tasks.same, "seen"))

    assert lines_of(path) == ["seen"]


# ---- when an input has no result


def test_a_failed_input_fails_what_needs_it_with_that_very_exception_and_nothing_runs(q, tmp_path):
    path = str(tmp_path / "runs")
    failed = q.delay(tasks.fail, "on the way")

    future = q.delay(tasks.record, path, failed)

    with pytest.raises(tasks.Mishap, match="on the way") as caught:
        future.result(PATIENCE)
    assert caught.value is failed.exception()
    assert caught.value.__cause__ is not None, "the worker's traceback"
    assert (future.status, future.attempts, future.task_id) == (TaskStatus.FAILURE, 0, "")
    assert q.delay(tasks.same, failed).exception(PATIENCE) is failed.exception(), "known to have failed at the call"
    assert not lines_of(path)


def test_one_failed_input_is_enough(lone, gate):
    failed = lone.delay(tasks.fail)
    held = lone.delay(tasks.slow, gate.path)

    future = lone.delay(tasks.echo, held, failed)

    assert isinstance(future.exception(PATIENCE), tasks.Mishap)
    assert not held.done()
    gate.open()
    held.result(PATIENCE)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_the_end_of_an_input_goes_down_a_chain_of_thousands(lone, gate, end):
    held = lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    first: TaskFuture[Any] = lone.delay(tasks.fail)
    future: TaskFuture[Any] = first
    for _ in range(DEEP):
        future = lone.delay(tasks.same, future)
    if end == "cancelled":
        assert first.cancel()
    gate.open()

    if end == "failed":
        assert future.exception(PATIENCE) is first.exception()
    else:
        assert future.cancelled()
        with pytest.raises(TaskCancelled):
            future.result()
    held.result(PATIENCE)
    audit(lone)


def test_cancelling_what_waits_for_inputs_leaves_the_inputs_alone(lone, gate, tmp_path):
    held = lone.delay(tasks.slow, gate.path, "value")
    future = lone.delay(tasks.record, str(tmp_path / "runs"), held)

    assert future.cancel()
    assert future.cancel()

    gate.open()
    assert held.result(PATIENCE) == "value"
    with pytest.raises(TaskCancelled) as caught:
        future.result()
    assert caught.value.task_id is None
    assert lone.delay(tasks.same, 1).result(PATIENCE) == 1
    assert not lines_of(tmp_path / "runs")


def test_a_callback_of_what_failed_may_wait_for_others_that_failed_with_it(lone, gate):
    seen: list[object] = []
    held = lone.delay(tasks.slow, gate.path)
    failed = lone.delay(tasks.fail)
    first, second = lone.delay(tasks.same, failed), lone.delay(tasks.same, failed)
    first.add_done_callback(lambda _: seen.append(second.exception(PATIENCE)))
    gate.open()

    assert isinstance(first.exception(PATIENCE), tasks.Mishap)
    eventually(lambda: seen)
    assert seen == [failed.exception()]
    held.result(PATIENCE)


def test_a_callback_of_an_input_may_wait_for_what_needs_it(lone, gate):
    seen: list[object] = []
    held = lone.delay(tasks.slow, gate.path, 1)
    future = lone.delay(tasks.add, held, 1)
    held.add_done_callback(lambda _: seen.append(future.result(PATIENCE)))
    gate.open()

    eventually(lambda: seen == [2])


def test_a_worker_killed_by_an_input_fails_what_needs_it(q):
    failed = q.delay(tasks.exit_hard)

    future = q.delay(tasks.same, failed)

    assert future.exception(PATIENCE) is failed.exception()


# ---- the end of the queue


@pytest.mark.parametrize("wait", [True, False])
def test_closing_finishes_what_waits_for_inputs(tmp_path, gate, wait):
    path = str(tmp_path / "runs")
    queue = LocalQueue(workers=1)
    future: TaskFuture[Any] = queue.delay(tasks.slow, gate.path, "end")
    for _ in range(50):
        future = queue.delay(tasks.same, future)
    last = queue.delay(tasks.record, path, future)
    if wait:
        threading.Timer(0.05, gate.open).start()
        queue.close()
        assert last.done()
    else:
        queue.close(wait=False)
        gate.open()

    assert last.result(PATIENCE) == 4
    assert lines_of(path) == ["end"]
    queue.close(timeout=PATIENCE)


def test_closing_with_cancel_pending_cancels_what_waits_for_inputs(gate):
    queue = LocalQueue(workers=1)
    held = queue.delay(tasks.slow, gate.path, 1)
    gate.wait_for_arrivals(1)
    future = queue.delay(tasks.add, held, 1)
    later = queue.delay(tasks.add, future, 1)
    queue.close(wait=False, cancel_pending=True)

    assert future.cancelled()
    assert later.cancelled()
    gate.open()
    queue.close()


def test_a_time_limit_for_closing_cancels_what_is_left(gate):
    queue = LocalQueue(workers=1)
    future = queue.delay(tasks.same, queue.delay(tasks.slow, gate.path))
    gate.wait_for_arrivals(1)

    queue.close(timeout=0.0)

    assert future.cancelled()


def test_what_waits_for_inputs_fails_with_a_queue_that_breaks():
    with LocalQueue(workers=1, initializer=fail_at_start) as queue:
        first = queue.delay(tasks.same, 1)
        future = queue.delay(tasks.same, queue.delay(tasks.same, first))

        assert isinstance(future.exception(PATIENCE), InitializerFailed)


def test_a_queue_dropped_while_tasks_wait_for_inputs_finishes_them(tmp_path, gate):
    path = str(tmp_path / "runs")
    queue = LocalQueue(workers=1)
    last = queue.delay(tasks.record, path, queue.delay(tasks.same, queue.delay(tasks.slow, gate.path, "end")))
    del queue
    gc.collect()
    gate.open()

    assert last.result(PATIENCE) == 4
    assert lines_of(path) == ["end"]


def test_the_end_of_the_interpreter_waits_for_what_waits_for_inputs(tmp_path):
    told = run_script(
        tmp_path,
        """
        from localq import LocalQueue

        def show(value):
            with open("seen", "a") as file:
                file.write(f"{value}\\n")
            return value + 1

        q = LocalQueue(workers=1)
        future = q.delay(show, 0)
        for _ in range(20):
            future = q.delay(show, future)
        """,
    )

    assert told == ""
    assert (tmp_path / "seen").read_text().split() == [str(number) for number in range(21)]


def test_a_forked_child_is_told_that_what_waits_for_inputs_is_not_its_own(tmp_path):
    told = run_script(
        tmp_path,
        """
        import os, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from localq import LocalQueue, QueueClosed

        with LocalQueue(workers=1) as q:
            held = q.delay(time.sleep, 0.3)
            future = q.delay(str, held)
            pid = os.fork()
            if pid == 0:
                try:
                    future.result(5)
                except QueueClosed:
                    os._exit(0 if not future.cancel() else 2)
                os._exit(1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), future.result(5))
        """,
    )

    assert told == "0 None\n"


def test_a_forked_child_can_not_pass_its_parent_s_futures_to_a_queue_of_its_own(tmp_path):
    told = run_script(
        tmp_path,
        """
        import os, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from localq import LocalQueue, QueueClosed

        with LocalQueue(workers=1) as q:
            held = q.delay(time.sleep, 0.3)
            pid = os.fork()
            if pid == 0:
                with LocalQueue(workers=1) as own:
                    try:
                        own.delay(str, held)
                    except QueueClosed:
                        os._exit(0 if own.delay(str, own.delay(str, 1)).result(5) == "1" else 2)
                os._exit(1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), held.result(5))
        """,
    )

    assert told == "0 None\n"


def test_ctrl_c_while_arguments_are_filled_in_is_the_waiting_call_s_and_costs_no_task(tmp_path):
    told = run_script(
        tmp_path,
        """
        import os, signal, time
        from localq import LocalQueue

        class Interrupting:
            def __init__(self, times):
                self.times = times
            def __reduce__(self):
                return rebuild, (self.times,)

        def rebuild(times):
            if os.getpid() == parent and times and not interrupted:
                interrupted.append(1)
                os.kill(parent, signal.SIGINT)
                time.sleep(1)
            return Interrupting(times)

        def times_of(value, other):
            return value.times

        parent, interrupted = os.getpid(), []
        with LocalQueue(workers=1) as q:
            future = q.delay(times_of, Interrupting(3), q.delay(time.sleep, 0.5))
            try:
                print(future.result(10))
            except KeyboardInterrupt:
                print("interrupted")
            print(future.result(10))
        """,
    )

    assert told == "interrupted\n3\n"
