# SPDX-License-Identifier: MIT
"""What came of a task, as the commands say it: one document for programs, lines for people, an exit status.

Used by `submit` and `status`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localq.cli import GONE, NOT_DONE, UNHEALTHY
from localq.json_text import as_json
from localq.model import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localq.model import TaskResult

__all__ = [
    "as_document",
    "describe_error",
    "exit_status",
    "lines_of",
    "moment",
    "progress_text",
    "seconds",
    "traceback_of",
]

MOST = 1000  # characters of an error that are shown in a line

_STATUSES = {
    TaskStatus.PENDING: NOT_DONE,
    TaskStatus.STARTED: NOT_DONE,
    TaskStatus.SUCCESS: 0,
    TaskStatus.FAILURE: UNHEALTHY,
    TaskStatus.CANCELLED: UNHEALTHY,
}


def exit_status(status: TaskStatus) -> int:
    """0 success, 1 failed or cancelled, 3 not done yet, 4 gone."""
    return _STATUSES.get(status, GONE)


def as_document(result: TaskResult[Any], queue: str, with_repr: bool) -> dict[str, Any]:
    """For programs. The value is there for success only; where JSON can't carry it there is its `repr` instead, as
    "value_repr"."""
    document: dict[str, Any] = {
        "task_id": result.task_id,
        "queue": queue,
        "status": str(result.status),
        "attempts": result.attempts,
        "worker_pid": result.worker_pid,
        "submitted_at": result.submitted_at,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "progress": getattr(result, "progress", None),
        "message": getattr(result, "message", None),
    }
    if result.status is TaskStatus.SUCCESS:
        document |= _value_in(result.value, with_repr)
    elif result.error is not None:
        document["error"] = {
            "type": _type_of(result.error),
            "message": str(result.error),
            "traceback": traceback_of(result.error),
        }
    return document


def _value_in(value: object, with_repr: bool) -> dict[str, Any]:
    import msgspec

    try:
        return {"value": msgspec.Raw(as_json(value, with_repr))}
    except TypeError:
        return {"value_repr": repr(value)}


def _type_of(error: BaseException) -> str:
    from localq.errors import TaskFailed

    return error.type_name if isinstance(error, TaskFailed) else type(error).__qualname__


def describe_error(error: BaseException) -> str:
    """ "ValueError: what it said", on one line."""
    from localq.errors import TaskError, TaskFailed

    said = str(error)
    if isinstance(error, TaskError):  # whoever prints this has said which task it is
        said = said.removeprefix(f"task {error.task_id}: ")
    line = " ".join((said if isinstance(error, TaskFailed) else f"{type(error).__qualname__}: {said}").split())
    return line.removesuffix(":") if len(line) <= MOST else f"{line[: MOST - 4]} ..."


def traceback_of(error: BaseException) -> str | None:
    """Where it was raised in the worker, if that is known, and it was not by localq itself."""
    from localq.errors import LocalqError, RemoteTraceback, TaskFailed

    if isinstance(error, TaskFailed):
        return error.traceback or None
    if isinstance(error, LocalqError):
        return None
    return str(error.__cause__) if isinstance(error.__cause__, RemoteTraceback) else None


def lines_of(result: TaskResult[Any], queue: str) -> Iterator[str]:
    """For people."""
    yield f"task      {result.task_id}"
    yield f"queue     {queue}"
    yield f"state     {result.status}"
    if result.submitted_at is not None:
        yield f"submitted {moment(result.submitted_at)}"
    if result.started_at is not None:
        waited = f", after waiting {seconds(result.wait_seconds)}" if result.wait_seconds is not None else ""
        yield f"started   {moment(result.started_at)}{waited}"
    if result.finished_at is not None:
        ran = f", after running {seconds(result.run_seconds)}" if result.run_seconds is not None else ""
        yield f"finished  {moment(result.finished_at)}{ran}"
    if result.attempts > 1:
        yield f"attempts  {result.attempts}"
    if result.worker_pid is not None:
        yield f"worker    {result.worker_pid}"
    told = progress_text(getattr(result, "progress", None), getattr(result, "message", None))
    if told:
        yield f"progress  {told}"
    if result.status is TaskStatus.SUCCESS:
        yield f"value     {_short(result.value)}"
    elif result.error is not None:
        yield f"error     {describe_error(result.error)}"
        traceback = traceback_of(result.error)
        for line in (traceback or "").rstrip().splitlines():
            yield f"  {line}"


def progress_text(progress: float | None, message: str | None) -> str:
    """ "40 % half of it"; empty when there is nothing to tell."""
    percent = "" if progress is None else f"{progress:.0%}".replace("%", " %")
    return " ".join(filter(None, (percent, " ".join((message or "").split()))))


def _short(value: object) -> str:
    try:
        text = as_json(value).decode()
    except TypeError:
        text = " ".join(repr(value).split())
    return text if len(text) <= 400 else f"{text[:396]} ..."


def moment(at: float) -> str:
    """A time since the epoch, and how long ago that is."""
    ago = time.time() - at
    clock = time.strftime("%H:%M:%S" if ago < 43200 else "%Y-%m-%d %H:%M:%S", time.localtime(at))
    return f"{clock} ({seconds(max(0.0, ago))} ago)"


def seconds(duration: float | None) -> str:
    """A duration, in two or three digits."""
    if duration is None:
        return "?"
    if duration < 1e-3:
        return f"{duration * 1e6:.0f} us"
    if duration < 1:
        return f"{duration * 1e3:.1f} ms"
    if duration < 120:
        return f"{duration:.1f} s"
    minutes, rest = divmod(int(duration), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
