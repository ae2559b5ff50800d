# SPDX-License-Identifier: MIT
"""The values that cross floors: how urgent a task is, how far it is, and what came of it.

Used everywhere. Knows nothing of queues, memory or processes. Written by hand instead of with `dataclasses`
or `msgspec`, whose import costs more than starting the interpreter.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from localq.errors import ConfigError, LocalqError
from localq.record import Generic, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    ValueT = TypeVar("ValueT", covariant=True)
else:
    ValueT = None

__all__ = ["Generic", "Priority", "Record", "TaskResult", "TaskStatus", "TaskUpdate"]


class Priority(IntEnum):
    """How urgent a task is; a smaller number is taken first. Every call that takes one also takes its name."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @classmethod
    def parse(cls, value: object) -> Priority:
        """The priority that `value`, whatever a caller gave, names: a member, its number, or its lower-case name.

        Raises:
            ConfigError: `value` is none of these; the sentence lists them.
        """
        if type(value) is Priority:
            return value
        # A bool is an int, but True is no priority; a float or a list must not get as far as the dict.
        known = _PRIORITIES.get(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
        if known is None:
            raise ConfigError(f"priority must be critical, high, normal or low (or 0 to 3), not {value!r}")
        return known


_PRIORITIES: dict[int | str, Priority] = {
    word: priority for priority in Priority for word in (priority.value, priority.name.lower())
}


class TaskStatus(StrEnum):
    """How far a task is. `str()` of a member is its lower-case value.

    The last two are of a task that is done, whose result is not kept any more: newer ones took its place, or its
    `result_ttl` was over. How it ended is not known then.
    """

    PENDING = "pending"
    STARTED = "started"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    EVICTED = "evicted"
    EXPIRED = "expired"


class TaskResult(Record, Generic[ValueT]):
    """What came of one task, as data: nothing is raised until `unwrap` is called.

    `value` counts for SUCCESS only, `error` for all that is done otherwise: of a result that is not kept any more it is
    ResultGone. `attempts` says how often the body was started, `worker_pid` where it ran last. The three times are
    seconds since the epoch, None where the task did not get that far. `progress` and `message` are what the task said
    last of itself (`TaskContext.update`), None if it said nothing.
    """

    __slots__ = (  # noqa: RUF023 - the order of the constructor
        "task_id",
        "status",
        "value",
        "error",
        "attempts",
        "worker_pid",
        "submitted_at",
        "started_at",
        "finished_at",
        "progress",
        "message",
    )

    task_id: str
    status: TaskStatus
    value: ValueT | None
    error: BaseException | None
    attempts: int
    worker_pid: int | None
    submitted_at: float | None
    started_at: float | None
    finished_at: float | None
    progress: float | None
    message: str | None

    def __init__(
        self,
        task_id: str,
        status: TaskStatus,
        value: ValueT | None = None,
        error: BaseException | None = None,
        attempts: int = 0,
        worker_pid: int | None = None,
        submitted_at: float | None = None,
        started_at: float | None = None,
        finished_at: float | None = None,
        progress: float | None = None,
        message: str | None = None,
    ) -> None:
        self._set(
            task_id=task_id,
            status=status,
            value=value,
            error=error,
            attempts=attempts,
            worker_pid=worker_pid,
            submitted_at=submitted_at,
            started_at=started_at,
            finished_at=finished_at,
            progress=progress,
            message=message,
        )

    @property
    def wait_seconds(self) -> float | None:
        """From submission to the start of the last attempt; None when it never started."""
        return _elapsed(self.submitted_at, self.started_at)

    @property
    def run_seconds(self) -> float | None:
        """From the start of the last attempt to its end; None when it never ended."""
        return _elapsed(self.started_at, self.finished_at)

    def _repr_html_(self) -> str:
        """For notebooks."""
        from localq.markup import seconds, shown, table

        return table(
            f"TaskResult {self.task_id}",
            (
                ("status", self.status),
                ("progress", None if self.progress is None else f"{self.progress:.0%}"),
                ("message", self.message),
                ("value", shown(self.value) if self.status is TaskStatus.SUCCESS else None),
                ("error", None if self.error is None else shown(self.error)),
                ("waited", seconds(self.wait_seconds)),
                ("ran", seconds(self.run_seconds)),
                ("attempts", self.attempts if self.attempts != 1 else None),
                ("worker", self.worker_pid),
            ),
        )

    def unwrap(self) -> ValueT:
        """The value, or raise the task's error.

        Raises:
            LocalqError: the task has neither yet.
        """
        if self.error is not None:
            raise self.error
        if self.status is not TaskStatus.SUCCESS:
            raise LocalqError(f"task {self.task_id} has no result: it is {self.status}")
        return self.value  # type: ignore[return-value]  # SUCCESS says that it is there, and it may be None


class TaskUpdate(Record):
    """How far a task was at one moment: what it said last of itself (`TaskContext.update`), None where it said nothing,
    and its status. `at` is when that was seen, in seconds since the epoch."""

    __slots__ = ("progress", "message", "status", "at")  # noqa: RUF023 - the order of the constructor

    progress: float | None
    message: str | None
    status: TaskStatus
    at: float

    def __init__(self, progress: float | None, message: str | None, status: TaskStatus, at: float) -> None:
        self._set(progress=progress, message=message, status=status, at=at)


def _elapsed(start: float | None, end: float | None) -> float | None:
    # A clock that was set back between the two must not show as a negative time.
    return None if start is None or end is None else max(0.0, end - start)
