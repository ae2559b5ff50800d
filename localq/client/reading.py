# SPDX-License-Identifier: MIT
"""What came of a task, as data: from its future, or from a reading of its slot.

Used by the queue's calls that answer by task id.
"""

from __future__ import annotations

import time

from localq import _native
from localq.client.failures import crashed, undecodable
from localq.client.future import STATUSES
from localq.errors import ResultGone, TaskCancelled, TaskExpired, TaskTimeout
from localq.model import TaskResult, TaskStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from localq._native import Reading
    from localq.client.future import TaskFuture
    from localq.codec import Codec

    Note = tuple[int, float | None, str | None]
    R = TypeVar("R")

__all__ = ["result_from", "result_gone", "result_of", "status_of"]


def status_of(reading: Reading | None, gone: str | None) -> TaskStatus | None:
    """How far a task is. `gone`: of one that can't be read, why its result is not kept any more."""
    if reading is not None:
        return STATUSES[reading.state]
    return None if gone is None else TaskStatus(gone)


def result_gone(gone: str, task_id: str) -> TaskResult[Any]:
    """Of a task that is done, whose result is not kept any more."""
    return TaskResult(task_id, TaskStatus(gone), error=ResultGone(gone, task_id=task_id))


def result_of(future: TaskFuture[R], error: BaseException | None) -> TaskResult[R]:
    """Of a future that is done; `error` is what it ended with."""
    return TaskResult(
        task_id=future.task_id or "",
        status=future.status,
        value=future.result() if error is None else None,
        error=error,
        attempts=future.attempts,
        worker_pid=future.worker_pid or None,
        submitted_at=_wall(future.submit_ns),
        started_at=_wall(future.start_ns),
        finished_at=_wall(future.done_ns),
        progress=future.progress,
        message=future.message,
    )


def result_from(reading: Reading, task_id: str, codec: Codec, note: Note | None) -> TaskResult[Any]:
    """Of a slot, whatever the state of its task. `note`: what the task said of itself, see `Space.notes`."""
    value: object = None
    error: BaseException | None = None
    if reading.state == _native.SUCCEEDED:
        try:
            value = _decode(reading, codec)
        except Exception as raised:  # noqa: BLE001 - the user's own unpickling code may raise anything
            error = undecodable(raised, task_id, reading.attempts)
    elif reading.timed_out:
        error = TaskTimeout(reading.limit_ms / 1000, task_id=task_id, attempts=reading.attempts)
    elif reading.expired:
        error = TaskExpired(task_id=task_id)
    elif reading.crashed:
        error = crashed(task_id, reading.attempts, reading.worker_pid, reading.wait_status, reading.report, None)
    elif reading.state == _native.FAILED:
        error = codec.decode_error(reading.payload, task_id, reading.attempts)
    elif reading.state == _native.CANCELLED:
        error = TaskCancelled(task_id=task_id, attempts=reading.attempts)
    was_killed = reading.crashed or reading.timed_out or reading.expired
    has_ended = reading.state in (_native.SUCCEEDED, _native.FAILED) and not was_killed
    return TaskResult(
        task_id=task_id,
        status=STATUSES[reading.state] if reading.state != _native.SUCCEEDED or error is None else TaskStatus.FAILURE,
        value=value,
        error=error,
        attempts=reading.attempts,
        worker_pid=reading.worker_pid or None if reading.attempts else None,
        submitted_at=_wall(reading.submit_ns),
        started_at=_wall(reading.start_ns) if reading.attempts else None,
        finished_at=_wall(reading.done_ns) if has_ended else None,
        progress=None if note is None else note[1],
        message=None if note is None else note[2],
    )


def _decode(reading: Reading, codec: Codec) -> object:
    if reading.format == _native.FORMAT_MSGPACK:
        return _native.decode_value(reading.payload)
    return codec.decode_value(reading.format, reading.payload)


def _wall(monotonic_ns: int) -> float | None:
    """Seconds since the epoch, from a time of the monotonic clock."""
    return None if not monotonic_ns else time.time() - (_native.now_ns() - monotonic_ns) / 1e9
