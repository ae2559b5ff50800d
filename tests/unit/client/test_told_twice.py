# SPDX-License-Identifier: MIT
"""A task that is done ends once, though its client is told of it twice, and while its first end is still going on."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from localq import LocalQueue, current_task
from localq._native import ROLE_CLIENT
from tests.support import tasks
from tests.support.damage import memory_of
from tests.support.queues import PATIENCE

JOINED, MISSED = 16, 260  # in a row of the roster: when it was taken, and whether to look through all slots


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    with LocalQueue(1, result_cache_size=0) as queue:
        yield queue


def fail_first() -> int:
    context = current_task()
    assert context is not None
    if context.attempt == 1:
        raise ValueError("try again")
    return 1


def have_it_told_again(q: LocalQueue) -> None:
    """As a worker does that finds the client's ring full, and recovery: the client looks at all slots."""
    (joined,) = [row["joined_ns"] for row in q._space.rows() if (row["pid"], row["role"]) == (os.getpid(), ROLE_CLIENT)]
    with memory_of(q) as memory:
        at = memory.find(struct.pack("<Q", joined)) - JOINED
        struct.pack_into("<I", memory, at + MISSED, 1)


def test_a_thread_that_is_told_of_a_task_whose_end_another_sees_to_leaves_it_alone(q: LocalQueue) -> None:
    is_first_there, go_on, calls = Event(), Event(), []

    def hold_up() -> None:
        calls.append(1)
        if len(calls) == 1:
            is_first_there.set()
            go_on.wait(PATIENCE)

    listened, q._client.on_output = q._client.on_output, hold_up
    with ThreadPoolExecutor(1) as threads:
        first = q.options(max_retries=1).delay(fail_first)
        waiting = threads.submit(first.result, PATIENCE)
        assert is_first_there.wait(PATIENCE)
        have_it_told_again(q)
        others = [q.delay(tasks.same, number) for number in range(50)]

        for _ in others:
            q._client.reap()  # sees the first one's slot, which is done, before all others
        go_on.set()

        assert waiting.result(PATIENCE) == 1
        assert [other.result(PATIENCE) for other in others] == list(range(50))
    q._client.on_output = listened
    assert len(calls) == 1
