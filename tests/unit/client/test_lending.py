# SPDX-License-Identifier: MIT
"""What a forked child looks at stays as long as it may look, however many threads let go of things meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from localq import LocalQueue
from localq.client.queue import LocalQueue as Queue
from localq.shared import _Borrower
from tests.support.arrays import full

pytest.importorskip("numpy")

PATIENCE = 30.0


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    with LocalQueue(1) as queue:
        yield queue


def pins(q: Queue) -> int:
    (row,) = [row["row"] for row in q._space.rows() if row["pid"] == os.getpid()]
    return q._space.pinned_by(row)[0]


def test_a_child_that_is_forked_while_another_one_is_asked_for_is_not_forgotten(q: LocalQueue) -> None:
    kept = [q.delay(full, number).result(PATIENCE) for number in range(3)]
    is_asked, go_on, is_second_alive = Event(), Event(), Event()
    is_second_alive.set()

    def first() -> bool:
        is_asked.set()
        go_on.wait(PATIENCE)
        return False

    q._client.lend(first)
    with ThreadPoolExecutor(1) as threads:
        letting_go = threads.submit(lambda: kept.__delitem__(-1))  # ... and asks whether the first child still lives
        assert is_asked.wait(PATIENCE)
        q._client.lend(is_second_alive.is_set)
        go_on.set()
        letting_go.result(PATIENCE)
    kept.pop()

    assert pins(q) == 3

    is_second_alive.clear()
    kept.pop()
    assert pins(q) == 0


def test_what_is_let_go_of_while_a_child_is_asked_for_is_unpinned_with_the_rest(q: LocalQueue) -> None:
    kept = [q.delay(full, number).result(PATIENCE) for number in range(3)]

    def dead() -> bool:
        kept.clear()  # as a collection of garbage might
        return False

    q._client.lend(dead)
    kept.pop()

    assert pins(q) == 0


def test_of_several_threads_that_find_a_child_gone_one_closes_its_pipe() -> None:
    both = Barrier(2)

    def ask(borrower: _Borrower) -> bool:
        both.wait(PATIENCE)
        return borrower()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as threads:
            for _ in range(300):
                borrower = _Borrower(*os.pipe())
                for answer in [threads.submit(ask, borrower) for _ in range(2)]:
                    answer.result(PATIENCE)  # raises where both have closed it
                assert borrower() is False
    finally:
        sys.setswitchinterval(interval)
