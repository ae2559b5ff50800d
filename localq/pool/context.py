# SPDX-License-Identifier: MIT
"""What a running task may know of itself.

Used by people's functions inside a worker, through `localq.current_task`. Knows nothing of how the worker came to be.
"""

from __future__ import annotations

import os

from localq.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import ContextVar
    from typing import Any

    from localq._native import Flight, Space, Worker
    from localq.pool.brief import Brief
    from localq.pool.coroutines import Coroutines

__all__ = ["Here", "TaskContext", "current_task", "enter_worker", "fly_in", "in_hand", "this_worker"]


class TaskContext:
    """The task in hand: its id, which run of it this is, and the metadata it was submitted with."""

    __slots__ = ("_hand", "attempt", "cancelled", "metadata", "task_id")

    task_id: str
    attempt: int  # 1 for the first run
    cancelled: bool  # whether it was asked to stop: for code that catches what stops it, and cleans up
    metadata: object  # what `options(metadata=...)` gave, None otherwise

    def __init__(
        self,
        task_id: str,
        attempt: int,
        metadata: object,
        cancelled: bool = False,
        hand: Worker | Flight | None = None,
    ) -> None:
        self.cancelled = cancelled
        self.task_id = task_id
        self.attempt = attempt
        self.metadata = metadata
        self._hand = hand

    def update(self, *, progress: float | None = None, message: str | None = None) -> None:
        """Say how far the task is, for those who follow it: `TaskFuture.progress`, `TaskFuture.updates`,
        `LocalQueue.follow`, `localq top`. Costs about a microsecond, waits for nobody, and may be called from any
        thread of the task. After the end of the task it does nothing.

        Args:
            progress: from 0 to 1. None leaves it as it is.
            message: a few words; 200 bytes of it are kept. None leaves it as it is.

        Raises:
            ConfigError: progress is not a number from 0 to 1, or message not a text.
        """
        if progress is not None and not (type(progress) is float and 0.0 <= progress <= 1.0):
            progress = _checked_progress(progress)
        if message is not None and not isinstance(message, str):
            raise ConfigError(f"message must be a text; got {type(message).__name__}")
        hand = self._hand
        if hand is not None and hand.task_id == self.task_id:
            hand.update(progress, message)

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskContext, (self.task_id, self.attempt, self.metadata, self.cancelled)

    def __repr__(self) -> str:
        return f"<TaskContext {self.task_id} attempt {self.attempt}>"


def _checked_progress(progress: object) -> float:
    """Numbers of all kinds, numpy's among them."""
    if not isinstance(progress, bool | str) and (hasattr(progress, "__float__") or hasattr(progress, "__index__")):
        try:
            number = float(progress)  # type: ignore[arg-type]
        except Exception as error:  # somebody's own conversion: an array of many numbers, say
            kind = type(progress).__name__
            raise ConfigError(f"progress must be a number from 0 to 1; got {kind}: {error}") from error
        if 0.0 <= number <= 1.0:
            return number
    raise ConfigError(f"progress must be a number from 0 to 1; got {progress!r}")


class Here:
    """What this process is, if it is a worker."""

    __slots__ = ("brief", "coroutines", "pid", "space", "worker")

    def __init__(self, worker: Worker, space: Space, brief: Brief, coroutines: Coroutines) -> None:
        self.worker = worker
        self.coroutines = coroutines
        self.space = space
        self.brief = brief
        self.pid = os.getpid()


_here: Here | None = None  # set once, in a worker process


def enter_worker(worker: Worker, space: Space, brief: Brief, coroutines: Coroutines) -> None:
    """This process is a worker from now on."""
    global _here
    _here = Here(worker, space, brief, coroutines)


_flight: ContextVar[Flight | None] | None = None  # made by the first that flies


def fly_in(flight: Flight) -> None:
    """This context is that of a coroutine, which runs beside others."""
    global _flight
    if _flight is None:
        from contextvars import ContextVar

        _flight = ContextVar("localq_flight", default=None)
    _flight.set(flight)


def in_hand() -> Worker | Flight | None:
    """What says which task this thread or coroutine runs for; None between tasks."""
    if _here is None:
        return None
    if _here.worker.busy:
        return _here.worker
    return _flight.get() if _flight is not None else None


def this_worker() -> Here | None:
    """What this process is; None if it is no worker, or one that a task has forked."""
    return _here if _here is not None and _here.pid == os.getpid() else None


def current_task() -> TaskContext | None:
    """The task that this process runs just now; None outside of a worker, or between tasks."""
    found = in_hand()
    if found is None:
        return None
    assert found.task_id is not None
    return TaskContext(found.task_id, found.attempt, found.metadata, found.cancelled, found)
