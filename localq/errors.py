# SPDX-License-Identifier: MIT
"""Everything that can go wrong, as one tree under `LocalqError`.

Used by every floor and by users. Facts are attributes; each class makes its own sentence from them. A class
says when you get it and when you do not. All of them survive pickling with their attributes and notes.

`QueueFull` and `TaskCancelled` belong here too, but live in `localq.caller_errors` until somebody asks for
them: they derive from classes of `queue` and `concurrent.futures`, whose import costs more than starting a
bare interpreter, and the supervisor never needs them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.caller_errors import QueueFull as QueueFull
    from localq.caller_errors import TaskCancelled as TaskCancelled

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
    "ResultExpired",
    "SerializationError",
    "SpaceCorrupt",
    "SpaceError",
    "SupervisorLost",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskTimeout",
    "WorkerCrashed",
]


def __getattr__(name: str) -> object:
    if name not in ("QueueFull", "TaskCancelled"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from localq import caller_errors

    # Kept, so that the next look-up finds it without coming here.
    return globals().setdefault(name, getattr(caller_errors, name))


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


class SupervisorLost(LocalqError):
    """The supervisor ended under you and no new one could take its place.

    `pid` is the process that ended; `exit_status` is as in `subprocess` (negative: a signal), None when unknown.
    """

    def __init__(self, pid: int, exit_status: int | None = None) -> None:
        super().__init__(f"the supervisor (pid {pid}) {_ending(exit_status)}, and the queue ended with it")
        self.pid = pid
        self.exit_status = exit_status


class InitializerFailed(LocalqError):
    """`initializer` raised in a worker, so no worker can start. `traceback` is the text made there."""

    def __init__(self, traceback: str) -> None:
        super().__init__(f"initializer raised in a worker:\n\n{traceback.rstrip()}")
        self.traceback = traceback


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


class WorkerCrashed(TaskError):
    """The worker's process ended while the function ran, and no retry was left.

    Exactly one of `exit_signal` and `exit_status` is set, or neither where the end could not be observed (the worker
    ended together with its supervisor). `function` is the name of what it ran, "" when that is not known.
    `peak_memory` is the most memory that the process ever had resident, in bytes; None when not known.
    `out_of_memory` is True when the kernel killed it because its control group had no memory left. `stack` is the last
    Python stack of the process, as faulthandler writes it: for fatal signals (SIGSEGV, SIGABRT, ...), "" otherwise,
    because whom SIGKILL ends can't say anything.
    """

    def __init__(
        self,
        pid: int,
        exit_signal: int | None = None,
        exit_status: int | None = None,
        *,
        function: str = "",
        peak_memory: int | None = None,
        out_of_memory: bool = False,
        stack: str = "",
        task_id: str | None = None,
        attempts: int = 0,
    ) -> None:
        is_known = exit_signal is not None or exit_status is not None
        ending = (
            _ending(exit_status if exit_signal is None else -exit_signal) if is_known else "ended with its supervisor"
        )
        memory = f" Its memory was {peak_memory >> 20} MiB at the most." if peak_memory else ""
        super().__init__(
            f"worker {pid} {ending} while it ran{' ' + function if function else ''}."
            f" {_advice(exit_signal, exit_status, out_of_memory, bool(stack))}{memory}"
            " With max_retries= such a task runs again." + (f"\n\n{stack}" if stack else ""),
            task_id=task_id,
            attempts=attempts,
        )
        self.pid = pid
        self.exit_signal = exit_signal
        self.exit_status = exit_status
        self.function = function
        self.peak_memory = peak_memory
        self.out_of_memory = out_of_memory
        self.stack = stack


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


class ResultExpired(TaskError):
    """The result was kept no longer: read before, and pushed out by newer ones or past its `result_ttl`."""

    def __init__(self, *, task_id: str | None = None, attempts: int = 0) -> None:
        super().__init__(
            "its result is no longer kept; raise result_cache_size or result_ttl to keep results longer",
            task_id=task_id,
            attempts=attempts,
        )


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


def _ending(exit_status: int | None) -> str:
    """How a process ended, in words; `exit_status` as in `subprocess`."""
    if exit_status is None:
        return "ended for an unknown reason"
    if exit_status < 0:
        return f"was killed by {_signal_name(-exit_status)}"
    return f"ended with exit status {exit_status}"


def _signal_name(number: int) -> str:
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last have names
        return f"signal {number}"


def _advice(exit_signal: int | None, exit_status: int | None, out_of_memory: bool, has_stack: bool) -> str:
    """What to do next, for whoever reads a `WorkerCrashed`."""
    if out_of_memory:
        return (
            "The kernel's out-of-memory killer did that: give the task less to hold, or its control group more memory."
        )
    if exit_signal is None:
        if exit_status is None:
            return "Somebody killed the supervisor, which was replaced; its workers end with it."
        return "The function, or a library under it, called os._exit() or exit()."
    match _signal_name(exit_signal):
        case "SIGKILL":
            return "Nobody but the kernel or a person sends that: look for the out-of-memory killer in dmesg."
        case "SIGSEGV" | "SIGBUS" | "SIGILL" | "SIGFPE" | "SIGABRT":
            where = (
                "where, the stack below says"
                if has_stack
                else "call the function directly under `python -X faulthandler` to see where"
            )
            return f"Native code crashed: {where}."
        case _:
            return "Find out who sends that signal."
