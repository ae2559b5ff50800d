# SPDX-License-Identifier: MIT
"""Everything that can go wrong, as one tree under `LocalqError`.

Used by every floor and by users. Facts are attributes; each class makes its own sentence from them. A class
says when you get it and when you do not. All of them survive pickling with their attributes and notes.

Some that belong here live elsewhere until somebody asks for them, because they derive from classes of the standard
library whose import costs more than starting a bare interpreter, and the supervisor never needs them: `QueueFull` and
`TaskCancelled` in `localq.caller_errors`, and in `localq.pool_errors` what is a `BrokenProcessPool` as well.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.caller_errors import QueueFull as QueueFull
    from localq.caller_errors import TaskCancelled as TaskCancelled
    from localq.pool_errors import InitializerFailed as InitializerFailed
    from localq.pool_errors import SupervisorLost as SupervisorLost
    from localq.pool_errors import WorkerCrashed as WorkerCrashed
    from localq.pool_errors import WorkersEnded as WorkersEnded

__all__ = [
    "AttachError",
    "ConfigError",
    "FunctionNotFound",
    "InitializerFailed",
    "LayoutMismatch",
    "LocalqError",
    "QueueClosed",
    "QueueFull",
    "RemoteTraceback",
    "ResultGone",
    "SerializationError",
    "SharedRefLost",
    "SpaceCorrupt",
    "SpaceError",
    "SupervisorLost",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskTimeout",
    "WorkerCrashed",
    "WorkersEnded",
]


def __getattr__(name: str) -> object:
    if name in ("QueueFull", "TaskCancelled"):
        from localq import caller_errors

        found = getattr(caller_errors, name)
    elif name in ("InitializerFailed", "SupervisorLost", "WorkerCrashed", "WorkersEnded"):
        from localq import pool_errors

        found = getattr(pool_errors, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, found)  # kept: the next look-up finds it without coming here


class LocalqError(Exception):
    """The root. Whatever localq itself reports is one of these; what your function raises is not."""

    def __reduce__(self) -> tuple[Callable[..., LocalqError], tuple[object, ...]]:
        # `args` holds the sentence and `__init__` takes the facts, so the default way back does not fit.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[LocalqError], args: tuple[object, ...], attributes: dict[str, object]) -> LocalqError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


class RemoteTraceback(Exception):
    """The `__cause__` of an exception that came from a worker; its `str` is the traceback text made there."""


class ConfigError(LocalqError, ValueError):
    """An argument that no queue or call accepts. Raised before anything starts."""


class QueueClosed(LocalqError, RuntimeError):
    """You closed the queue, or this process is a fork of the one it belongs to.

    Not raised when the queue broke under you: that is `SupervisorLost` or `SpaceError`.
    """

    def __init__(self, reason: str = "it was closed") -> None:
        super().__init__(f"the queue takes no more calls: {reason}")
        self.reason = reason


class AttachError(LocalqError, ConnectionError):
    """A running queue cannot be reached by its name. Nothing of it was changed."""


class FunctionNotFound(LocalqError, LookupError):
    """A function that was named, by an import path or as a registered task, is not there. `name` is that name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"function {name!r} cannot be found: {reason}")
        self.name = name
        self.reason = reason


class TaskError(LocalqError):
    """One task has no result, for a reason other than its own exception; other tasks are fine.

    `task_id` is None when it failed before it had one; `attempts` counts how often its body was started.
    """

    def __init__(self, sentence: str, *, task_id: str | None = None, attempts: int = 0) -> None:
        super().__init__(sentence if task_id is None else f"task {task_id}: {sentence}")
        self.task_id = task_id
        self.attempts = attempts


class TaskFailed(TaskError):
    """The function raised, and its exception could not be rebuilt here.

    Where it can be rebuilt you get that exception itself. `type_name` is its dotted name, `message` its `str`,
    `traceback` the text made in the worker.
    """

    def __init__(
        self, type_name: str, message: str, traceback: str, *, task_id: str | None = None, attempts: int = 0
    ) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name, task_id=task_id, attempts=attempts)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback


class TaskTimeout(TaskError, TimeoutError):
    """The task ran longer than its time limit and was stopped. `timeout` is that limit in seconds.

    Not raised when *you* stopped waiting: that is a plain `TimeoutError`, and the task goes on.
    """

    def __init__(self, timeout: float, *, task_id: str | None = None, attempts: int = 0) -> None:
        super().__init__(f"stopped after its time limit of {timeout:g} s", task_id=task_id, attempts=attempts)
        self.timeout = timeout


class TaskExpired(TaskError):
    """The task was not started within the `ttl` it was submitted with, and will not be."""

    def __init__(self, *, task_id: str | None = None, attempts: int = 0) -> None:
        super().__init__(
            "not started within its ttl: the workers were busy; give it more time, or the queue more workers",
            task_id=task_id,
            attempts=attempts,
        )


class SerializationError(TaskError, TypeError):
    """A value cannot travel between client and worker. Only the task it belongs to fails.

    `where` says which value ("argument 'x'", "result"), `path` the way from it to the smallest part at fault
    ("['a'][2].lock", "" for the value itself), `type_name` that part's type, `reason` what the codec said.
    """

    def __init__(
        self,
        where: str,
        path: str,
        type_name: str,
        reason: str,
        *,
        task_id: str | None = None,
        attempts: int = 0,
    ) -> None:
        culprit = f"{where} at {path}" if path else where
        super().__init__(f"{culprit} ({type_name}) cannot be sent: {reason}", task_id=task_id, attempts=attempts)
        self.where = where
        self.path = path
        self.type_name = type_name
        self.reason = reason


class ResultGone(TaskError):
    """The task is done, and its result is not kept any more. `reason` says why: "evicted", newer results took its
    place, or "expired", its time was over.

    Raised by `TaskResult.unwrap`, never by a future, which keeps its own result.
    """

    def __init__(self, reason: str, *, task_id: str | None = None, attempts: int = 0) -> None:
        why = (
            "its result_ttl was over: raise that"
            if reason == "expired"
            else "newer ones took its place: raise result_cache_size, or memory if they are large"
        )
        super().__init__(
            f"its result is not kept any more, {why}, or read it earlier", task_id=task_id, attempts=attempts
        )
        self.reason = reason


class SharedRefLost(LocalqError, LookupError):
    """A SharedRef, or an array of `LocalQueue.empty`, that is no longer there: its last holder let go of it before this
    process got hold of it, or this process has no part in its queue. Keep the SharedRef, or store the value with
    `put(value, keep=True)`."""


class SpaceError(LocalqError):
    """The shared memory of a queue cannot be used. Nothing in it was changed."""


class LayoutMismatch(SpaceError):
    """The Space was made by another version of localq. `found` and `expected` name the layouts."""

    def __init__(self, found: object, expected: object) -> None:
        super().__init__(
            f"the queue has layout {found}, this localq reads layout {expected}; use the same version on both sides"
        )
        self.found = found
        self.expected = expected


class SpaceCorrupt(SpaceError):
    """Shared memory holds what no version writes. `structure` names the part, `detail` what was found."""

    def __init__(self, structure: str, detail: str) -> None:
        super().__init__(f"the {structure} of the queue is damaged: {detail}")
        self.structure = structure
        self.detail = detail
