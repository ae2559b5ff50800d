# SPDX-License-Identifier: MIT
"""What a running task may know of itself.

Used by people's functions inside a worker, through `localq.current_task`. Knows nothing of how the worker came to be.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq._native import Worker

__all__ = ["TaskContext", "current_task", "enter_worker"]


class TaskContext:
    """The task in hand: its id, which run of it this is, and the metadata it was submitted with."""

    __slots__ = ("attempt", "cancelled", "metadata", "task_id")

    task_id: str
    attempt: int  # 1 for the first run
    cancelled: bool  # whether it was asked to stop: for code that catches what stops it, and cleans up
    metadata: object  # what `options(metadata=...)` gave, None otherwise

    def __init__(self, task_id: str, attempt: int, metadata: object, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.task_id = task_id
        self.attempt = attempt
        self.metadata = metadata

    def __repr__(self) -> str:
        return f"<TaskContext {self.task_id} attempt {self.attempt}>"


_worker: Worker | None = None  # set once, in a worker process


def enter_worker(worker: Worker) -> None:
    """This process is a worker from now on."""
    global _worker
    _worker = worker


def current_task() -> TaskContext | None:
    """The task that this process runs just now; None outside of a worker, or between tasks."""
    if _worker is None or not _worker.busy:
        return None
    task_id = _worker.task_id
    assert task_id is not None
    return TaskContext(task_id, _worker.attempt, _worker.metadata, _worker.cancelled)
