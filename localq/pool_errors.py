# SPDX-License-Identifier: MIT
"""What `except BrokenProcessPool` catches: a worker died with a task, or all of them did and none will come.

Their home is `localq.errors`, which loads this module when one of them is first asked for or made: the class they
derive from brings all of multiprocessing along, and most programs never see one of them.
"""

from __future__ import annotations

from localq.errors import LocalqError, TaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
else:
    try:
        from concurrent.futures.process import BrokenProcessPool
    except RuntimeError:  # threads have ended with the interpreter: who has not loaded it by now can't name it either
        from concurrent.futures import BrokenExecutor as BrokenProcessPool

__all__ = ["InitializerFailed", "SupervisorLost", "WorkerCrashed", "WorkersEnded"]


FOR_ANOTHER = "localq did that: another task in that worker was told to stop and did not, within the grace period."


class SupervisorLost(LocalqError, BrokenProcessPool):
    """The supervisor ended under you and no new one could take its place.

    `pid` is the process that ended; `exit_status` is as in `subprocess` (negative: a signal), None when unknown.
    """

    __module__ = "localq.errors"

    def __init__(self, pid: int, exit_status: int | None = None) -> None:
        super().__init__(f"the supervisor (pid {pid}) {_ending(exit_status)}, and the queue ended with it")
        self.pid = pid
        self.exit_status = exit_status


class InitializerFailed(LocalqError, BrokenProcessPool):
    """`initializer` raised in a worker, or a module of `task_modules` could not be imported there, so no worker can
    start. `traceback` is the text made there; `task_module` the name of that module, None when it was the initializer.
    """

    __module__ = "localq.errors"

    def __init__(self, traceback: str, task_module: str | None = None) -> None:
        what = "initializer raised" if task_module is None else f"task module {task_module!r} could not be imported"
        super().__init__(f"{what} in a worker:\n\n{traceback.rstrip()}")
        self.traceback = traceback
        self.task_module = task_module


class WorkerCrashed(TaskError, BrokenProcessPool):
    """The worker's process ended while the function ran, and no retry was left. Other tasks are fine, and the worker is
    replaced: unlike a plain `BrokenProcessPool`, this one says nothing of the next call.

    Exactly one of `exit_signal` and `exit_status` is set, or neither where the end could not be observed (the worker
    ended together with its supervisor). `function` is the name of what it ran, "" when that is not known.
    `peak_memory` is the most memory that the process ever had resident, in bytes; None when not known.
    `out_of_memory` is True when the kernel killed it because its control group had no memory left. `stack` is the last
    Python stack of the process, as faulthandler writes it: for fatal signals (SIGSEGV, SIGABRT, ...), "" otherwise,
    because whom SIGKILL ends can't say anything. `for_another` is True when localq killed the worker, because another
    task in it (one of several coroutines, or one that waited for this) did not stop when it was told to.
    """

    __module__ = "localq.errors"

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
        for_another: bool = False,
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
            f" {FOR_ANOTHER if for_another else _advice(exit_signal, exit_status, out_of_memory, bool(stack))}{memory}"
            " With max_crashes= such a task runs again." + (f"\n\n{stack}" if stack else ""),
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
        self.for_another = for_another


class WorkersEnded(TaskError, BrokenProcessPool):
    """Somebody ended the workers while the function ran: `terminate_workers()` or `kill_workers()` of the executor."""

    __module__ = "localq.errors"

    def __init__(self, *, task_id: str | None = None, attempts: int = 0) -> None:
        super().__init__(
            "terminate_workers() or kill_workers() ended its worker while it ran", task_id=task_id, attempts=attempts
        )


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
