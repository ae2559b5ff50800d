# SPDX-License-Identifier: MIT
"""Task functions that a worker imports by name: `tests.support.tasks`.

Small on purpose and importing little: a worker pays for what stands here.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

_hoarded: list[bytearray] = []
kept: list[Any] = []
_children: list[subprocess.Popen[bytes]] = []  # keeps the pipes of `children` open for the life of the worker


class Mishap(Exception):
    """What `fail` raises: an exception class of the user's own, with an attribute beside its arguments."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message, code)
        self.code = code


def noop() -> None:
    """Do nothing."""


def echo(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return what arrived."""
    return args, kwargs


def same(value: object) -> object:
    """Return the one argument."""
    return value


def call(how: tuple[Any, ...]) -> object:
    """Call the first of them with the others."""
    function, *args = how
    return function(*args)


def add(left: int, right: int = 1) -> int:
    """Return the sum."""
    return left + right


def combine(number: int, *others: int) -> int:
    """Return a number that depends on all of them, after a moment's work."""
    sum(range(20_000))
    return (number + sum(others)) % 1_000_003


def fail(message: str = "on purpose", code: int = 7) -> NoReturn:
    """Raise Mishap."""
    raise Mishap(message, code)


def fail_if_odd(number: int) -> int:
    """Return `number` if it is even, else raise Mishap with the number as its code."""
    if number % 2:
        raise Mishap("odd", number)
    return number


async def add_later(left: int, right: int = 1) -> int:
    """Return the sum, from a coroutine."""
    return left + right


def pid() -> int:
    """The process this runs in."""
    return os.getpid()


def pid_with(value: object) -> tuple[int, object]:
    """The process this runs in, and the argument."""
    return os.getpid(), value


def record(path: str, line: str) -> int:
    """Append `line` to the file at `path` in one write, so that a test can count runs and see their order."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return os.write(handle, line.encode() + b"\n")
    finally:
        os.close(handle)


def slow(gate: str, value: object = None) -> object:
    """Report at the gate (see `waiting.Gate`), wait until it opens, return `value`."""
    record(gate + ".arrivals", str(os.getpid()))
    with open(gate) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
    return value


def note(gate: str, progress: float | None, message: str | None) -> bool:
    """Say how far it is, as the native core takes it; return at the gate. Whether it was taken."""
    from localq.pool.context import in_hand

    found = in_hand()
    taken = found is not None and found.update(progress, message)
    slow(gate)
    return taken


def log(*lines: str) -> None:
    """Lines for the journal."""
    from localq.pool.context import this_worker

    here = this_worker()
    assert here is not None
    for line in lines:
        here.worker.log(line)


def spin(gate: str, value: object = None) -> object:
    """As `slow`, but busy: Python bytecode that never leaves the interpreter while it waits."""
    record(gate + ".arrivals", str(os.getpid()))
    with open(gate) as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return value
            except BlockingIOError:
                continue


def exit_hard(status: int = 3) -> NoReturn:
    """End the worker at once, as C's `_exit` does: no clean-up, no farewell."""
    os._exit(status)


def die_of(value: object) -> NoReturn:
    """End the worker at once, with an argument in its hands."""
    os._exit(3)


def kill_self(number: int = signal.SIGKILL) -> None:
    """Send this process a signal, with the signal's own meaning, whatever handler Python had installed for it."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def read_null() -> None:
    """Read the byte at address 0, as a bug in a C library does."""
    from ctypes import string_at

    string_at(0)


def abort() -> NoReturn:
    """End as C's `abort` does, or a failed assertion there."""
    os.abort()


def kill_self_once(path: str, number: int = signal.SIGKILL) -> int:
    """Die at the first run, leaving a file at `path`; at the second run return how many runs there were."""
    record(path, "run")
    with open(path) as lines:
        runs = len(lines.readlines())
    if runs == 1:
        kill_self(number)
    return runs


def hoard(size: int) -> int:
    """Keep `size` bytes of memory for the life of the worker; its process id."""
    _hoarded.append(bytearray(b"x") * size)
    return os.getpid()


def children(count: int = 1) -> list[int]:
    """Start `count` processes that live as long as this one; their process ids."""
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(count)]
    _children.extend(started)
    return [child.pid for child in started]


def path_and_folder() -> tuple[list[str], str]:
    """The worker's `sys.path` and working directory."""
    return list(sys.path), os.getcwd()


def keep(value: object) -> None:
    """Keep something for the life of the worker, for `last_kept` and `try_kept`."""
    kept.append(value)


def last_kept() -> object:
    """What `keep` was called with last."""
    return kept[-1] if kept else None


def try_kept() -> bool:
    """Whether the lock that was kept was free. It is let go again."""
    is_free = bool(kept[-1].acquire(block=False))
    if is_free:
        kept[-1].release()
    return is_free


def sum_in_workers(numbers: Iterable[int]) -> int:
    """Each number by way of a worker of an executor of this task's own."""
    from localq import LocalExecutor

    with LocalExecutor(1) as executor:
        return sum(executor.map(abs, numbers))
