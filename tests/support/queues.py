# SPDX-License-Identifier: MIT
"""Queues that several tests share, and what a test may ask of a queue's insides.

Used by the tests of the client, of the workers and of deaths. A shared queue lives for one module; a test that kills,
closes, fills or counts takes one of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localq import LocalQueue, TaskFuture, TaskResult, TaskStatus
from localq._native import ROLE_WORKER
from localq.client.ownership import Ownership
from tests.support.waiting import Gate, eventually

PATIENCE = 15.0  # seconds that a test waits for a result; a watchdog, not a measure


@pytest.fixture(scope="module")
def q() -> Iterator[LocalQueue]:
    """Two workers, everything else as users get it."""
    with LocalQueue(workers=2, name="shared") as queue:
        yield queue


@pytest.fixture(scope="module")
def lone() -> Iterator[LocalQueue]:
    """One worker: what it holds at a gate stops the whole queue."""
    with LocalQueue(workers=1, name="lone") as queue:
        yield queue


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Opens at the end of the test, before a queue of the test's own is waited for."""
    with Gate(tmp_path) as held:
        yield held


def ready_workers(queue: LocalQueue) -> list[int]:
    """The process ids of the workers that take tasks."""
    rows = [row for row in queue._space.rows() if row["role"] == ROLE_WORKER and row["live"] and row["ready"]]
    return [row["pid"] for row in rows if not is_gone(row["pid"])]  # dead, and not buried yet


def wait_until_staffed(queue: LocalQueue) -> list[int]:
    """Wait until there are as many workers as there should be; their process ids."""
    return eventually(
        lambda: found if len(found := ready_workers(queue)) == queue.config.workers else None,
        what="all workers are ready",
    )


def supervisor_of(queue: LocalQueue) -> int:
    """The supervisor's process id."""
    hold = queue._connection.hold
    assert isinstance(hold, Ownership)
    return hold.supervisor_pid


def id_of(future: TaskFuture[Any]) -> str:
    """The id of a task that was sent."""
    assert future.task_id, "it was refused before anything was sent"
    return future.task_id


def read(queue: LocalQueue, task_id: str) -> TaskResult[Any]:
    """What the queue knows of a task that it must know."""
    found = queue.get_task_result(task_id)
    assert found is not None, f"task {task_id} is not known any more"
    return found


GONE = (None, TaskStatus.EVICTED, TaskStatus.EXPIRED)  # what get_status says of a result that is not kept


def is_kept(queue: LocalQueue, task_id: str) -> bool:
    """Whether the task, or its result, can be read."""
    return queue.get_status(task_id) not in GONE


def audit(queue: LocalQueue) -> None:
    """Every word of the Space is accounted for, now that nobody is at work."""

    def is_sound() -> bool:
        queue._client.reap()
        problem = queue._space.check()
        assert problem is None, problem
        slots = queue._space.slots()
        busy = {name: slots[name] for name in ("queued", "claimed", "running", "done", "cancelled") if slots[name]}
        assert not busy, busy
        return True

    eventually(is_sound, what="the Space is sound")


def is_gone(pid: int) -> bool:
    """True once a process has ended, whether or not somebody has waited for it."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def lines_of(path: Path | str) -> list[str]:
    """What tasks recorded in a file so far, in order."""
    return Path(path).read_text().splitlines() if os.path.exists(path) else []
