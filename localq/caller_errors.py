# SPDX-License-Identifier: MIT
"""The two errors that derive from classes of costly standard library modules.

Their home is `localq.errors`, which loads this module when one of them is first asked for; see there.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from queue import Full

from localq.errors import LocalqError, TaskError

__all__ = ["QueueFull", "TaskCancelled"]


class QueueFull(LocalqError, Full):
    """No slot or no memory for the task came free in time; nothing was submitted.

    `capacity` is the number of slots, `timeout` how many seconds were waited (None: not at all).
    """

    __module__ = "localq.errors"

    def __init__(self, capacity: int, timeout: float | None = None) -> None:
        waited = f" and {timeout:g} s of waiting changed nothing" if timeout else ""
        super().__init__(
            f"the queue is full (capacity {capacity}){waited}; read results, wait longer, or raise capacity= or memory="
        )
        self.capacity = capacity
        self.timeout = timeout


class TaskCancelled(TaskError, CancelledError):
    """Somebody cancelled the task, before it started or while it ran, or closed the queue on it."""

    __module__ = "localq.errors"

    def __init__(self, *, task_id: str | None = None, attempts: int = 0) -> None:
        super().__init__(
            "cancelled while it ran" if attempts else "cancelled before it started",
            task_id=task_id,
            attempts=attempts,
        )
