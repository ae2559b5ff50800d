# SPDX-License-Identifier: MIT
"""Tasks that need each other's results, while workers die: every result is right in the end, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from localq import LocalQueue, TaskFuture, _native
from localq.client.queue import QueueView
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, ready_workers, supervisor_of, wait_until_staffed
from tests.support.waiting import eventually

RETRIES = 15  # as many as there may be, and so many are killed: each kill costs at most one task one of them


@contextmanager
def killing(queue: LocalQueue, dice: random.Random, every: float) -> Iterator[list[int]]:
    """Kill one of the workers again and again, RETRIES times; the process ids of those that were killed."""
    enough = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while len(killed) < RETRIES and not enough.wait(every * 2 * dice.random()):
            try:
                for pid in ready_workers(queue)[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            except ProcessLookupError:  # it went while we looked
                continue

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        enough.set()
        killer.join(PATIENCE)


def graph(dice: random.Random, view: Any, size: int) -> tuple[list[TaskFuture[int]], list[int]]:
    """Tasks, each of which needs up to three earlier ones, and what their results must be."""
    futures: list[TaskFuture[int]] = []
    expected: list[int] = []
    for number in range(size):
        needed = [dice.randrange(max(0, number - 200), number) for _ in range(dice.randrange(4))] if number else []
        futures.append(view.delay(tasks.combine, number, *[futures[place] for place in needed]))
        expected.append(tasks.combine(number, *(expected[place] for place in needed)))
    return futures, expected


@pytest.mark.parametrize("seed", [1, 2])
def test_a_graph_of_2000_tasks_is_right_though_workers_are_killed_all_the_time(seed):
    dice = random.Random(seed)
    with LocalQueue(workers=3, capacity=64, max_retries=RETRIES) as queue:
        view = QueueView(queue, _native.Options(overflow=True, default_retries=RETRIES))
        with killing(queue, dice, 0.03) as killed:
            futures, expected = graph(dice, view, 2000)
            found = [future.result(4 * PATIENCE) for future in futures]

        assert found == expected
        assert len(killed) > 5
        assert (queue._client.parked, queue._client.waiting) == (0, 0)
        wait_until_staffed(queue)
        audit(queue)


def test_a_graph_is_right_though_the_supervisor_is_killed():
    dice = random.Random(3)
    with LocalQueue(workers=2, max_retries=RETRIES) as queue:
        futures, expected = graph(dice, queue, 300)
        os.kill(supervisor_of(queue), signal.SIGKILL)
        more, expected_more = graph(dice, queue, 300)

        assert [future.result(4 * PATIENCE) for future in futures + more] == expected + expected_more
        eventually(lambda: len(ready_workers(queue)) == 2)
        audit(queue)


def test_a_graph_that_is_awaited_is_right_though_workers_are_killed():
    async def main() -> None:
        dice = random.Random(4)
        async with LocalQueue(workers=2, max_retries=RETRIES) as queue:
            with killing(queue, dice, 0.02):
                futures, expected = graph(dice, queue, 500)
                assert await asyncio.gather(*futures) == expected

    asyncio.run(main())


def test_without_retries_what_needs_a_killed_task_fails_as_it_did_and_the_rest_is_right(gate):
    with LocalQueue(workers=2) as queue:
        fatal: TaskFuture[Any] = queue.delay(tasks.exit_hard)
        futures = [queue.delay(tasks.same, number) for number in range(50)]
        needing = [queue.delay(tasks.echo, fatal, future) for future in futures]
        right = [queue.delay(tasks.add, future, 1) for future in futures]

        assert {future.exception(PATIENCE) for future in needing} == {fatal.exception()}
        assert [future.result(PATIENCE) for future in right] == list(range(1, 51))
        wait_until_staffed(queue)
        audit(queue)
