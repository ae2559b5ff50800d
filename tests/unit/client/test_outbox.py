# SPDX-License-Identifier: MIT
"""Calls that must not wait for room: they are kept in the client, in order, and sent as room comes."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from concurrent import futures as standard
from typing import Any

import numpy as np
import pytest

from localq import (
    InitializerFailed,
    LocalQueue,
    Priority,
    QueueClosed,
    QueueFull,
    SerializationError,
    TaskFuture,
    _native,
)
from localq.client.queue import QueueView
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, lines_of
from tests.support.waiting import Gate, eventually

CAPACITY = 4


def overflowing(queue: LocalQueue, priority: int = -1) -> QueueView:
    """The calls of a queue that never wait for room."""
    return QueueView(queue, _native.Options(priority=priority, overflow=True))


def held_up(queue: LocalQueue, gate: Gate) -> TaskFuture[Any]:
    """The one worker is at the gate."""
    future = queue.delay(tasks.slow, gate.path, "held")
    gate.wait_for_arrivals(1)
    return future


def settle(queue: LocalQueue) -> None:
    """Nothing is left in the client."""
    assert (queue._client.parked, queue._client.waiting) == (0, 0)
    eventually(lambda: queue._client.watched == 0)
    assert [entry.pending for entry in queue._client.functions.values()] == [0] * len(queue._client.functions)
    audit(queue)


def test_calls_beyond_the_capacity_return_at_once_and_run_in_their_order(tmp_path, gate):
    path = str(tmp_path / "runs")
    with LocalQueue(workers=1, capacity=CAPACITY) as queue, gate:
        held_up(queue, gate)
        futures = [overflowing(queue).delay(tasks.record, path, str(number)) for number in range(200)]

        assert queue._client.parked == 200 - CAPACITY + 1
        assert [future.done() for future in futures] == [False] * 200
        assert futures[-1].task_id == ""
        gate.open()

        assert [future.result(PATIENCE) for future in futures[:10]] == [2] * 10
        assert lines_of(path)[:10] == [str(number) for number in range(10)]
        assert futures[-1].result(PATIENCE) == 4
        assert lines_of(path) == [str(number) for number in range(200)]
        assert futures[-1].task_id
        settle(queue)


def test_the_more_urgent_ones_are_sent_first(tmp_path, gate):
    path = str(tmp_path / "runs")
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        held_up(queue, gate)
        for priority in (3, 2, 1, 0):
            overflowing(queue, priority).delay(tasks.record, path, str(Priority(priority)))
        gate.open()

    assert lines_of(path) == ["0", "1", "2", "3"]


def test_nobody_has_to_wait_for_them_to_be_sent(tmp_path, gate):
    path = str(tmp_path / "runs")
    with LocalQueue(workers=1, capacity=2) as queue, gate:
        held_up(queue, gate)
        for number in range(20):
            overflowing(queue).delay(tasks.record, path, str(number))
        gate.open()

        eventually(lambda: len(lines_of(path)) == 20)
        eventually(lambda: queue._client.parked == 0)


def test_arguments_are_sent_as_they_were_at_the_call(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        held_up(queue, gate)
        numbers, array = [1], np.zeros(2)
        one, two = overflowing(queue).delay(tasks.same, numbers), overflowing(queue).delay(tasks.same, array)
        numbers.append(2)
        array[0] = 5
        gate.open()

        assert one.result(PATIENCE) == [1]
        found: Any = two.result(PATIENCE)
        assert found.tolist() == [0, 0]


def test_what_can_not_be_sent_is_refused_at_the_call(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        held_up(queue, gate)
        future = overflowing(queue).delay(tasks.same, threading.Lock())

        assert isinstance(future.exception(0), SerializationError)
        gate.open()
        queue.delay(tasks.noop).result(PATIENCE)
        settle(queue)


def test_a_cancelled_one_never_runs_and_lets_the_others_pass(tmp_path, gate):
    path = str(tmp_path / "runs")
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        held_up(queue, gate)
        futures = [overflowing(queue).delay(tasks.record, path, str(number)) for number in range(10)]

        assert all(future.cancel() for future in futures[::2])
        assert [future.cancelled() for future in futures] == [True, False] * 5
        gate.open()

        assert standard.wait(futures, PATIENCE).not_done == set()
        assert lines_of(path) == ["1", "3", "5", "7", "9"]
        settle(queue)


def test_futures_among_their_arguments_are_waited_for_first(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        held = held_up(queue, gate)
        view = overflowing(queue)
        futures = [view.delay(tasks.echo, held, view.delay(tasks.same, number)) for number in range(20)]
        gate.open()

        assert [future.result(PATIENCE) for future in futures] == [(("held", number), {}) for number in range(20)]
        settle(queue)


def test_when_the_memory_is_full_they_wait_as_well(gate):
    with LocalQueue(workers=1, memory="8MiB") as queue, gate:
        held_up(queue, gate)
        futures = [overflowing(queue).delay(len, bytes(1 << 20)) for _ in range(30)]
        assert queue._client.parked
        gate.open()

        assert [future.result(PATIENCE) for future in futures] == [1 << 20] * 30
        settle(queue)


def test_what_is_larger_than_the_memory_is_refused_at_the_call(gate):
    with LocalQueue(workers=1, memory="8MiB", capacity=1) as queue, gate:
        held_up(queue, gate)
        for size in (9 << 20, 100 << 20):
            with pytest.raises(MemoryError, match="larger memory="):
                overflowing(queue).delay(len, bytes(size))
        gate.open()
        queue.delay(tasks.noop).result(PATIENCE)
        settle(queue)


def test_chunks_of_a_map_are_kept_as_well(gate):
    with LocalQueue(workers=1, capacity=1) as queue, gate:
        held_up(queue, gate)
        results = overflowing(queue).map(tasks.add, range(1000), chunksize=7)
        gate.open()

        assert list(results) == list(range(1, 1001))
        settle(queue)


def test_callers_that_wait_for_room_get_their_share(gate):
    with LocalQueue(workers=1, capacity=2) as queue, gate:
        held_up(queue, gate)
        kept = [overflowing(queue).delay(tasks.same, number) for number in range(2000)]
        gate.open()

        assert queue.options(full_timeout=PATIENCE).delay(tasks.same, "now").result(PATIENCE) == "now"
        assert [future.result(PATIENCE) for future in kept] == list(range(2000))


def test_many_threads_overflow_one_queue_at_once():
    def run(number: int) -> None:
        view = overflowing(queue)
        futures = [view.delay(tasks.same, number * 1000 + turn) for turn in range(300)]
        found.append([future.result(PATIENCE) for future in futures] == [number * 1000 + turn for turn in range(300)])

    found: list[bool] = []
    with LocalQueue(workers=2, capacity=8) as queue:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

        assert found == [True] * 6
        settle(queue)


def test_any_mix_of_calls_cancellations_and_inputs_ends_with_the_books_balanced(gate):
    dice = random.Random(4)
    with LocalQueue(workers=2, capacity=16) as queue, gate:
        view, futures = overflowing(queue), [queue.delay(tasks.slow, gate.path, 0)]
        for number in range(1500):
            chosen = dice.sample(futures, min(len(futures), dice.randrange(3)))
            futures.append(view.delay(tasks.fail_if_odd if dice.random() < 0.05 else tasks.same, number) if not chosen
                           else view.delay(tasks.echo, *chosen))  # fmt: skip
            if dice.random() < 0.05:
                dice.choice(futures).cancel()
            if number == 700:
                gate.open()
        assert standard.wait(futures, 2 * PATIENCE).not_done == set()
        settle(queue)


# ---- the end


def test_closing_sends_and_finishes_what_is_kept(tmp_path, gate):
    path = str(tmp_path / "runs")
    for wait in (True, False):
        queue = LocalQueue(workers=1, capacity=2)
        futures = [overflowing(queue).delay(tasks.record, path, str(number)) for number in range(50)]
        queue.close(wait=wait)
        with pytest.raises(QueueClosed):
            overflowing(queue).delay(tasks.noop)

        assert [future.result(PATIENCE) for future in futures[:10]] == [2] * 10
        assert futures[-1].result(PATIENCE) == 3
        queue.close()

    assert lines_of(path) == [str(number) for number in range(50)] * 2


def test_closing_with_cancel_pending_cancels_what_is_kept(gate):
    queue = LocalQueue(workers=1, capacity=2)
    held_up(queue, gate)
    futures = [overflowing(queue).delay(tasks.noop) for _ in range(50)]

    queue.close(wait=False, cancel_pending=True)

    assert [future.cancelled() for future in futures] == [True] * 50
    gate.open()
    queue.close()


def test_what_is_kept_fails_with_a_queue_that_breaks():
    with LocalQueue(workers=1, capacity=2, initializer=tasks.fail) as queue:
        try:
            futures = [overflowing(queue).delay(tasks.noop) for _ in range(50)]
        except InitializerFailed:
            return  # it was quicker than the calls

        assert {type(future.exception(PATIENCE)) for future in futures} == {InitializerFailed}


def test_a_queue_dropped_while_calls_are_kept_finishes_them_and_is_collected(tmp_path, gate):
    path = str(tmp_path / "runs")
    queue = LocalQueue(workers=1, capacity=2)
    futures = [overflowing(queue).delay(tasks.record, path, str(number)) for number in range(20)]
    dropped = weakref.ref(queue)
    last = futures.pop()
    del queue, futures
    gc.collect()

    assert last.result(PATIENCE) == 3
    del last
    eventually(lambda: gc.collect() is not None and dropped() is None)
    assert lines_of(path) == [str(number) for number in range(20)]


# ---- on the thread of an event loop


def test_a_full_queue_does_not_stop_an_event_loop(gate):
    async def main() -> list[object]:
        futures = [queue.delay(tasks.same, number) for number in range(50)]
        assert queue._client.parked > 40
        gate.open()
        return [await future for future in futures]

    with LocalQueue(workers=1, capacity=CAPACITY) as queue, gate:
        held_up(queue, gate)

        assert asyncio.run(main()) == list(range(50))
        settle(queue)


def test_a_full_queue_is_told_to_an_event_loop_that_asks_for_it(gate):
    async def main() -> None:
        queue.delay(tasks.noop)
        for _ in range(CAPACITY - 2):
            queue.options(full_timeout=0).delay(tasks.noop)
        with pytest.raises(QueueFull):
            queue.options(full_timeout=0).delay(tasks.noop)
        gate.open()

    with LocalQueue(workers=1, capacity=CAPACITY) as queue, gate:
        held_up(queue, gate)
        asyncio.run(main())
