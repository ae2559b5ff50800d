# SPDX-License-Identifier: MIT
"""The errors that the native client raises, made in Python.

Used by the connection, which hands this module to the native client, and where results are read by id.
"""

from __future__ import annotations

import os

from localq.errors import QueueClosed, QueueFull, SerializationError, TaskCancelled, TaskExpired, TaskTimeout
from localq.pool.recovery import FOR_ANOTHER, WITH_SUPERVISOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.errors import WorkerCrashed

__all__ = ["cancelled", "closed", "crashed", "expired", "full", "timed_out", "undecodable"]


def cancelled(task_id: str | None, attempts: int) -> TaskCancelled:
    return TaskCancelled(task_id=task_id, attempts=attempts)


def crashed(
    task_id: str | None,
    attempts: int,
    pid: int,
    wait_status: int,
    report: tuple[int, bool, str] | None,
    function: Callable[..., object] | str | None,
) -> WorkerCrashed:
    """`wait_status` is what waitpid said of the worker, if anybody could ask; `report` what else is known of its end:
    peak memory in bytes, whether memory was short, its last Python stack."""
    from localq.errors import WorkerCrashed  # not before one crashes: see `localq.pool_errors`

    if wait_status == FOR_ANOTHER:
        code: int | None = -9
    else:
        code = None if wait_status == WITH_SUPERVISOR else os.waitstatus_to_exitcode(wait_status)
    exit_signal, exit_status = (-code, None) if code is not None and code < 0 else (None, code)
    peak, out_of_memory, stack = report or (0, False, "")
    return WorkerCrashed(
        pid,
        exit_signal,
        exit_status,
        function=_name_of(function),
        peak_memory=peak or None,
        out_of_memory=out_of_memory,
        stack=stack,
        for_another=wait_status == FOR_ANOTHER,
        task_id=task_id,
        attempts=attempts,
    )


def _name_of(function: Callable[..., object] | str | None) -> str:
    if function is None or isinstance(function, str):
        return function or ""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    return f"{module}.{name}" if module and name else name or type(function).__qualname__


def undecodable(error: Exception, task_id: str | None, attempts: int) -> SerializationError:
    """A result arrived, and the code that should rebuild it raised."""
    reason = f"it can't be rebuilt here: {type(error).__name__}: {error}"
    made = SerializationError("result", "", "bytes", reason, task_id=task_id, attempts=attempts)
    made.__cause__ = error
    return made


def timed_out(seconds: float, task_id: str | None, attempts: int) -> TaskTimeout:
    return TaskTimeout(seconds, task_id=task_id, attempts=attempts)


def expired(task_id: str | None) -> TaskExpired:
    return TaskExpired(task_id=task_id)


def closed(reason: str | Callable[[], Exception]) -> Exception:
    """The queue takes no more calls: for a reason in words, or because it broke, which has an error of its own."""
    return QueueClosed(reason) if isinstance(reason, str) else reason()


def full(capacity: int, timeout: float) -> QueueFull:
    return QueueFull(capacity, timeout)
