# SPDX-License-Identifier: MIT
"""The errors that the native client raises, made in Python.

Used by the connection, which hands this module to the native client, and where results are read by id.
"""

from __future__ import annotations

import os

from localq.errors import QueueClosed, QueueFull, SerializationError, TaskCancelled, WorkerCrashed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cancelled", "closed", "crashed", "full", "undecodable"]


def cancelled(task_id: str | None, attempts: int) -> TaskCancelled:
    return TaskCancelled(task_id=task_id, attempts=attempts)


def crashed(task_id: str | None, attempts: int, pid: int, wait_status: int) -> WorkerCrashed:
    """`wait_status` is what waitpid said of the worker."""
    code = os.waitstatus_to_exitcode(wait_status)
    exit_signal, exit_status = (-code, None) if code < 0 else (None, code)
    return WorkerCrashed(pid, exit_signal, exit_status, task_id=task_id, attempts=attempts)


def undecodable(error: Exception, task_id: str | None, attempts: int) -> SerializationError:
    """A result arrived, and the code that should rebuild it raised."""
    reason = f"it can't be rebuilt here: {type(error).__name__}: {error}"
    made = SerializationError("result", "", "bytes", reason, task_id=task_id, attempts=attempts)
    made.__cause__ = error
    return made


def closed(reason: str | Callable[[], Exception]) -> Exception:
    """The queue takes no more calls: for a reason in words, or because it broke, which has an error of its own."""
    return QueueClosed(reason) if isinstance(reason, str) else reason()


def full(capacity: int, timeout: float) -> QueueFull:
    return QueueFull(capacity, timeout)
