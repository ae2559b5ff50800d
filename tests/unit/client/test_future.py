# SPDX-License-Identifier: MIT
"""A task's future is a `concurrent.futures.Future` for everybody who waits for one, in threads and in event loops."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import sys
import threading
import weakref
from concurrent import futures as standard
from typing import Any

import pytest

from localq import LocalQueue, TaskCancelled, TaskFuture
from localq.client import future as watching
from tests.support import tasks
from tests.support.queues import PATIENCE, audit
from tests.support.waiting import eventually


def test_a_future_is_one_of_the_standard_library(q):
    future = q.delay(tasks.same, 1)

    assert isinstance(future, standard.Future)
    assert isinstance(future, TaskFuture)
    assert future.result(PATIENCE) == 1


def test_wait_returns_what_is_done_and_what_is_not(lone, gate):
    done = lone.delay(tasks.same, 1)
    done.result(PATIENCE)
    held = lone.delay(tasks.slow, gate.path)

    assert standard.wait([done, held], timeout=0.01) == ({done}, {held})
    assert standard.wait([done, held], PATIENCE, standard.FIRST_COMPLETED) == ({done}, {held})
    gate.open()
    assert standard.wait([done, held], PATIENCE) == ({done, held}, set())


def test_wait_ends_with_the_first_exception(lone, gate):
    first = lone.delay(tasks.fail)
    held = lone.delay(tasks.slow, gate.path)

    done, not_done = standard.wait([held, first], PATIENCE, standard.FIRST_EXCEPTION)

    assert (done, not_done) == ({first}, {held})
    gate.open()


def test_wait_counts_a_cancelled_future_as_done(lone, gate):
    lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    future = lone.delay(tasks.noop)
    waiting = threading.Thread(target=lambda: found.append(standard.wait([future], PATIENCE).done))
    found: list[set[Any]] = []
    waiting.start()
    eventually(lambda: future._waiters)

    assert future.cancel()

    waiting.join(PATIENCE)
    assert found == [{future}]


def test_as_completed_yields_every_future_once_as_it_is_done(lone, gate):
    held = lone.delay(tasks.slow, gate.path, "last")
    with LocalQueue(workers=2) as quick:
        every: list[standard.Future[Any]] = [held]
        every += [quick.delay(tasks.fail_if_odd, number) for number in range(20)]
        seen: list[standard.Future[Any]] = []
        for future in standard.as_completed(every, timeout=PATIENCE):
            seen.append(future)
            if len(seen) == 20:
                gate.open()

    assert len(set(seen)) == 21
    assert seen[-1] is held


def test_as_completed_stops_after_its_timeout(lone, gate):
    held = lone.delay(tasks.slow, gate.path)

    with pytest.raises(TimeoutError):
        list(standard.as_completed([held], timeout=0.01))

    gate.open()


def test_callbacks_are_called_once_in_their_order_with_the_future(lone, gate):
    seen: list[object] = []
    future = lone.delay(tasks.slow, gate.path)
    future.add_done_callback(lambda found: seen.append(("first", found)))
    future.add_done_callback(lambda found: seen.append(("second", found)))
    gate.wait_for_arrivals(1)
    assert seen == []

    gate.open()

    eventually(lambda: len(seen) == 2)
    assert seen == [("first", future), ("second", future)]
    assert future.done()


def test_a_callback_added_when_it_is_done_is_called_at_once(q):
    seen: list[object] = []
    future = q.delay(tasks.noop)
    future.result(PATIENCE)

    future.add_done_callback(seen.append)

    assert seen == [future]


def test_a_callback_is_called_when_the_future_is_cancelled(lone, gate):
    seen: list[bool] = []
    lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    future = lone.delay(tasks.noop)
    future.add_done_callback(lambda found: seen.append(found.cancelled()))

    future.cancel()

    assert seen == [True]


def test_a_callback_that_raises_is_logged_and_stops_no_other(q, caplog):
    seen: list[object] = []

    def fail(future: object) -> None:
        raise RuntimeError("of a callback")

    future = q.delay(tasks.noop)
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        future.add_done_callback(fail)
        future.add_done_callback(seen.append)
        eventually(lambda: seen)

    assert "of a callback" in caplog.text
    assert q.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_callback_may_submit_and_wait(q):
    found: list[object] = []

    def follow(future: TaskFuture[int]) -> None:
        found.append(q.delay(tasks.add, future.result(), 10).result(PATIENCE))

    q.delay(tasks.same, 5).add_done_callback(follow)

    eventually(lambda: found)
    assert found == [15]


def test_callbacks_are_called_while_somebody_else_waits_for_another_future(lone, gate):
    seen: list[object] = []
    first = lone.delay(tasks.noop)
    first.add_done_callback(seen.append)
    held = lone.delay(tasks.slow, gate.path, 3)
    waiting = threading.Thread(target=lambda: seen.append(held.result(PATIENCE)))
    waiting.start()

    eventually(lambda: seen == [first])

    gate.open()
    waiting.join(PATIENCE)
    assert seen == [first, 3]


def test_a_future_cannot_be_set_by_hand(q):
    future = q.delay(tasks.same, 1)

    for attempt in (lambda: future.set_result(2), lambda: future.set_exception(ValueError())):
        with pytest.raises(RuntimeError):
            attempt()
    with pytest.raises(RuntimeError):
        future.set_running_or_notify_cancel()

    assert future.result(PATIENCE) == 1


def test_a_future_cannot_be_copied_into_another_process(q):
    future = q.delay(tasks.noop)

    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(future)
    future.result(PATIENCE)


def test_a_future_that_was_dropped_does_not_keep_its_result_alive(q):
    future = q.delay(tasks.same, {1, 2})
    future.result(PATIENCE)
    dropped = weakref.ref(future)

    del future
    gc.collect()

    assert dropped() is None


def test_python_s_collector_does_not_look_at_futures_that_can_be_in_no_cycle(q):
    futures = [q.delay(tasks.same, value) for value in (None, 1, "text", b"bytes")]
    before = [gc.is_tracked(future) for future in futures]
    for future in futures:
        future.result(PATIENCE)

    assert before == [False] * 4
    assert [gc.is_tracked(future) for future in futures] == [False] * 4


def _same(value: Any) -> Any:
    return value


def _in_its_result(q: LocalQueue) -> TaskFuture[Any]:
    future: TaskFuture[Any] = q.delay(_same, [])
    future.result(PATIENCE).append(future)
    return future


def _in_an_attribute(q: LocalQueue) -> TaskFuture[Any]:
    future = q.delay(tasks.same, 1)
    future.me = future  # type: ignore[attr-defined]
    return future


def _in_what_waits_for_it_or_others(q: LocalQueue) -> TaskFuture[Any]:
    future = q.delay(tasks.same, 1)
    standard.wait([future], PATIENCE)
    future._watch.waiters.append(future)
    return future


def _in_its_error(q: LocalQueue) -> TaskFuture[Any]:
    future: TaskFuture[Any] = q.delay(tasks.fail)
    error = future.exception(PATIENCE)
    assert error is not None
    error.args = (future,)
    return future


def _in_what_needs_it(q: LocalQueue) -> TaskFuture[Any]:
    future = q.delay(tasks.same, [])
    later: TaskFuture[Any] = q.delay(_same, future)
    later.result(PATIENCE).append(later)
    return later


@pytest.mark.parametrize(
    "closed", [_in_its_result, _in_an_attribute, _in_what_waits_for_it_or_others, _in_its_error, _in_what_needs_it]
)
def test_a_future_in_a_reference_cycle_is_collected(q, closed):
    future = closed(q)
    future.exception(PATIENCE)
    gone = weakref.ref(future)

    del future
    gc.collect()

    assert gone() is None


def test_a_dropped_future_s_task_runs_and_its_slot_comes_back(tmp_path):
    with LocalQueue(workers=1, capacity=4) as queue:
        for number in range(50):
            queue.delay(tasks.record, str(tmp_path / "seen"), str(number))

        assert queue.delay(tasks.same, 1).result(PATIENCE) == 1
        audit(queue)

    assert len((tmp_path / "seen").read_text().split()) == 50


def test_the_exception_of_a_future_can_be_raised_again_and_again_without_growing(q):
    future = q.delay(tasks.fail)
    depths = []
    for _ in range(3):
        try:
            future.result(PATIENCE)
        except tasks.Mishap as error:
            depth, trace = 0, error.__traceback__
            while trace is not None:
                depth, trace = depth + 1, trace.tb_next
            depths.append(depth)

    assert depths[-1] - depths[0] <= 2 * (depths[1] - depths[0]), "no faster than with a plain Future"
    assert future.exception() is future.exception()


# ---- threads


def test_many_threads_submit_and_wait_at_once(q):
    def run(number: int) -> None:
        for turn in range(100):
            value = number * 1000 + turn
            found.append(q.delay(tasks.same, value).result(PATIENCE) == value)

    found: list[bool] = []
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert found == [True] * 800
    audit(q)


def test_many_threads_wait_for_one_future(lone, gate):
    future = lone.delay(tasks.slow, gate.path, "value")
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(future.result(PATIENCE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.wait_for_arrivals(1)
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)

    assert found == ["value"] * 8


def test_threads_that_wait_for_different_futures_each_wake_for_their_own(gate, tmp_path):
    with LocalQueue(workers=2) as queue, gate:
        held = queue.delay(tasks.slow, gate.path, "held")
        gate.wait_for_arrivals(1)
        seen: list[object] = []
        leader = threading.Thread(target=lambda: seen.append(held.result(PATIENCE)))
        leader.start()
        for number in range(50):
            future = queue.delay(tasks.same, number)
            follower = threading.Thread(target=lambda of=future: seen.append(of.result(PATIENCE)))
            follower.start()
            follower.join(PATIENCE)
            assert seen[-1] == number
        gate.open()
        leader.join(PATIENCE)
        assert seen[-1] == "held"


def test_a_thread_s_timeout_holds_while_another_thread_leads(lone, gate):
    held = lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    leader = threading.Thread(target=held.result)
    leader.start()

    with pytest.raises(TimeoutError):
        held.result(0.02)

    gate.open()
    leader.join(PATIENCE)
    assert not leader.is_alive()


def test_a_large_result_is_read_by_many_threads_at_once(q):
    value = {"a": {1, 2, 3}, "b": ["x" * 1000] * 100}
    future = q.delay(tasks.same, value)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(future.result(PATIENCE))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(found) == 6
    assert all(one is found[0] for one in found)
    assert found[0] == value


def test_many_threads_wait_at_once_each_for_its_own_and_for_all(q, gate):
    held = q.delay(tasks.slow, gate.path, -1)
    every = [q.delay(tasks.add, held, number) for number in range(40)]
    found: list[int] = []

    def wait_for(future: TaskFuture[Any]) -> None:
        found.append(future.result(PATIENCE))

    def wait_for_all() -> None:
        found.append(len(standard.wait(every, PATIENCE).done))

    threads = [threading.Thread(target=wait_for, args=(future,)) for future in every]
    threads += [threading.Thread(target=wait_for_all) for _ in range(10)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(found) == sorted([*range(-1, 39), *[40] * 10])
    audit(q)


def test_tens_of_thousands_of_futures_are_alive_at_once(gate):
    with LocalQueue(workers=2, capacity=60_000) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        queue.delay(tasks.slow, gate.path)
        every = [queue.delay(tasks.same, number) for number in range(50_000)]
        needing = [queue.delay(tasks.same, future) for future in every[:10_000]]
        gate.open()

        assert [future.result(2 * PATIENCE) for future in every] == list(range(50_000))
        assert [future.result(2 * PATIENCE) for future in needing] == list(range(10_000))
        audit(queue)


def test_futures_dropped_without_reading_leave_nothing_in_this_process():
    with LocalQueue(workers=2) as queue:
        futures = [queue.delay(tasks.same, {number}) for number in range(3000)]
        dropped = [weakref.ref(future) for future in futures]
        last = futures.pop()
        del futures
        last.result(PATIENCE)
        eventually(lambda: queue._client.reap() == queue._client.waiting == 0)
        del last

        assert [future for future in dropped if future() is not None] == []
        audit(queue)


# ---- event loops


def test_a_future_can_be_awaited(q):
    async def main() -> list[object]:
        return [await q.delay(tasks.same, 1), await asyncio.wrap_future(q.delay(tasks.same, 2))]

    assert asyncio.run(main()) == [1, 2]


def test_awaiting_raises_what_the_task_raised(q):
    async def main() -> None:
        await q.delay(tasks.fail, "awaited")

    with pytest.raises(tasks.Mishap, match="awaited"):
        asyncio.run(main())


def test_the_event_loop_goes_on_while_a_task_is_awaited(lone, gate):
    async def main() -> object:
        waiting = asyncio.ensure_future(asyncio.wrap_future(lone.delay(tasks.slow, gate.path, "value")))
        while not gate.arrivals():
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
            assert not waiting.done()
        gate.open()
        return await waiting

    assert asyncio.run(main()) == "value"


def test_many_futures_can_be_gathered(q):
    async def main() -> object:
        return await asyncio.gather(*(asyncio.wrap_future(q.delay(tasks.same, number)) for number in range(100)))

    assert asyncio.run(main()) == list(range(100))


def test_cancelling_what_awaits_cancels_the_task_that_has_not_started(lone, gate):
    lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    future = lone.delay(tasks.noop)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.01)

    asyncio.run(main())

    assert future.cancelled()
    with pytest.raises(TaskCancelled):
        future.result()


def test_a_queue_is_an_async_context_manager():
    async def main() -> int:
        async with LocalQueue(workers=1) as queue:
            return await queue.delay(tasks.add, 1)

    assert asyncio.run(main()) == 2


def test_an_interrupt_at_any_moment_of_its_end_loses_neither_the_future_nor_who_watches_it(lone, gate):
    watch = watching._Watch
    lone.delay(tasks.slow, gate.path)
    gate.wait_for_arrivals(1)
    for step in (watch.settle, watch._with_lock, watch._settle, watch._tell_waiters):
        is_interrupted = True
        moment = 0
        while is_interrupted:
            called: list[TaskFuture[Any]] = []
            future = lone.delay(tasks.noop)
            future.add_done_callback(called.append)
            future.add_done_callback(called.append)
            waiters = [standard._base._FirstCompletedWaiter() for _ in range(2)]
            future._waiters.extend(waiters)

            is_interrupted = _interrupted_at(moment, step.__code__, future.cancel)

            assert future.cancelled()
            assert called == [future, future]
            assert [waiter.finished_futures for waiter in waiters] == [[future], [future]]
            moment += 1
        assert moment > 2, "it was not interrupted once"
    gate.open()


def _interrupted_at(moment: int, code: Any, call: Any) -> bool:
    """Call, with Ctrl-C before that line, counted as they are executed, of the code. False: it ended before."""
    lines = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal lines
        if frame.f_code is code and event == "line":
            if lines == moment:
                raise KeyboardInterrupt  # which also ends the tracing
            lines += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_callback_that_ends_the_program_keeps_no_other_from_being_called(lone, gate):
    called: list[TaskFuture[Any]] = []
    future = lone.delay(tasks.slow, gate.path)
    future.add_done_callback(lambda future: sys.exit())
    future.add_done_callback(called.append)

    with pytest.raises(SystemExit):
        future.cancel()
    gate.open()

    assert called == [future]


def test_a_lock_that_an_interrupted_wait_has_kept_holds_up_nobody_for_long(q, monkeypatch):
    monkeypatch.setattr(watching, "LOCK_SECONDS", 0.05)
    called: list[TaskFuture[Any]] = []
    future = q.delay(tasks.same, 1)
    assert future._condition.acquire()  # as `with` does, and Ctrl-C comes before its block
    future.add_done_callback(called.append)

    eventually(lambda: called)

    assert future.result(PATIENCE) == 1
