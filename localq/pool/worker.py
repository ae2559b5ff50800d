# SPDX-License-Identifier: MIT
"""A worker process: set up what tasks need, then run them until told otherwise.

Forked by the supervisor, from which it has the Space and the modules already imported. The loop itself is native.
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import os
import sys
import time

from localq import _native
from localq.codec import Codec
from localq.errors import SerializationError, TaskTimeout
from localq.lookup import decode_function
from localq.pool.context import enter_worker
from localq.pool.coroutines import Coroutines
from localq.pool.last_words import keep_last_words
from localq.pool.output import send_output
from localq.pool.processes import started_at
from localq.pool.stacks import keep_stack_ready
from localq.pool.story import file_at, import_modules, tell_leaving, tell_tasks
from localq.retry import Terms
from localq.shared import take_part
from localq.tasks import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from localq._native import Space
    from localq.pool.brief import Brief

    Turn = Callable[[int], bool]

__all__ = ["INITIALIZER_FAILED", "RECYCLED", "STOPPED", "run_worker"]

# Exit statuses, for the supervisor.
STOPPED = 0
RECYCLED = 83
INITIALIZER_FAILED = 84


def run_worker(
    space: Space,
    label: int,
    brief: Brief,
    tell: int,
    tells_tasks: bool,
    supervisor: int,
    mask: set[int],
    turn: Turn | None = None,
) -> NoReturn:
    """Live as a worker. `tell` is the pipe on which to say why this one could not start and, if it `tells_tasks`, what
    it can run; `mask` are the signals to block once SIGTERM, blocked so far, is handled. `turn`: this is a spare; how
    to wait until it is a worker, False if it never will be."""
    _native.die_with_parent(supervisor)
    pipe = file_at(tell)
    _native.name_process(f"localq-w:{brief.name}")
    if not space.sign_in(label, os.getpid(), started_at(os.getpid())):
        os._exit(1)  # the supervisor is gone, and its successor was quicker than the kernel
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore)  # not SIG_IGN: programs that tasks start would inherit that
    _reseed()
    coroutines = Coroutines()
    codec = Codec(brief.serialization, buffers=True)
    worker = _native.Worker(
        space,
        label,
        os.getpid(),
        codec=codec,
        load=decode_function,
        run_coroutine=coroutines,
        too_large=_too_large,
        stop_error=_stop_error,
        terms_type=Terms,
        task_type=Task,
    )
    take_part(space.identity, worker, codec)
    worker.tasks_left = brief.max_tasks_per_child or 0
    signal.signal(signal.SIGTERM, lambda number, frame: worker.recycle())
    signal.signal(signal.SIGURG, lambda number, frame: worker.heed())
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if brief.max_memory_per_child is not None:
        worker.after_task = _MemoryLimit(brief.max_memory_per_child)
    enter_worker(worker, space, brief, coroutines)
    if brief.output < 0:
        _flush_lines()
    else:
        send_output(worker, space, brief.output, brief.logs)
    _import_tasks(brief, tell)
    _initialize(brief, tell)
    if worker.let_out is not None:
        worker.let_out()  # what the initializer has begun is no task's
    if tells_tasks:
        tell_tasks(tell)
    keep_last_words(tell)
    keep_stack_ready(tell)
    space.set_ready(label)
    if turn is not None and not turn(tell):
        _leave(STOPPED)
    reason = coroutines.run(worker, brief.concurrency)
    _flush()
    tell_leaving(tell, pipe)  # the kernel takes a millisecond for the rest: meanwhile another one can begin
    os._exit(RECYCLED if reason == "recycle" else STOPPED)


def _ignore(number: int, frame: object) -> None:
    """Ctrl-C and a terminal's hang-up are for the owner, which then ends what it wants to end."""


def _reseed() -> None:
    """Workers are copies of one process: without this they would all draw the same numbers."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()  # `random` itself does this after each fork


def _flush_lines() -> None:
    """What a task prints is out with its line, not with the worker's end."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)


def _import_tasks(brief: Brief, tell: int) -> None:
    """Here and not in the supervisor: so the next worker has what the files hold then."""
    if brief.task_modules:
        sys.path[:0] = [
            path for path in brief.sys_path[:1] if path not in sys.path
        ]  # forked from the owner, it has less
        problem = import_modules(brief.task_modules)
        if problem is not None:
            os.write(tell, problem.encode("utf-8", "backslashreplace")[:60000])
            _leave(INITIALIZER_FAILED)


def _initialize(brief: Brief, tell: int) -> None:
    if brief.initializer is None:
        return
    try:
        if callable(brief.initializer):
            brief.initializer()
            return
        from _pickle import loads

        kind, function, arguments = brief.initializer
        decode_function(kind, function)(*loads(arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        from traceback import format_exception

        os.write(tell, "".join(format_exception(error)).encode("utf-8", "backslashreplace")[:60000])
        _leave(INITIALIZER_FAILED)


def _leave(status: int) -> NoReturn:
    _flush()
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed, or nobody reads it any more


def _too_large(size: int, room: int) -> Exception:
    reason = f"it is {size} bytes and found no room in the arena of {room} bytes; give the queue a larger memory="
    return SerializationError("result", "", "bytes", reason)


def _stop_error(limit: float | None, task_id: str, attempts: int) -> Exception:
    if limit is not None:
        return TaskTimeout(limit, task_id=task_id, attempts=attempts)
    from localq.errors import TaskCancelled

    return TaskCancelled(task_id=task_id, attempts=attempts)


class _MemoryLimit:
    """True once this worker's own memory has grown beyond the limit. What it shares with others does not count."""

    EVERY_TASKS, EVERY_SECONDS = (
        16,
        0.05,
    )  # whichever comes first: reading the kernel's figure costs some ten microseconds

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = 0
        self._next = 0.0
        self._page = os.sysconf("SC_PAGESIZE")

    def __call__(self) -> bool:
        self._left -= 1
        now = time.monotonic()
        if self._left > 0 and now < self._next:
            return False
        self._left, self._next = self.EVERY_TASKS, now + self.EVERY_SECONDS
        with open("/proc/self/statm", "rb") as statm:
            _, resident, shared, *_ = map(int, statm.read().split())
        return (resident - shared) * self._page > self._limit
