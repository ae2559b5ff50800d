# SPDX-License-Identifier: MIT
"""What the workers of a soak run. Each body first writes down that it runs: its id, which run of it this is, and where.

Imported by workers by name, so it imports little.
"""

from __future__ import annotations

import os
import signal
import time
from random import Random

from localq import current_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

RUNS = "LOCALQ_SOAK_RUNS"  # the file that all runs are written to, told by the environment
BLOCK = 4099  # bytes after which a payload repeats; a prime, so that one that is shifted by any power of two shows

_fd = -1


class Mishap(Exception):
    """What a task raises on purpose; `code` is its id."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Parcel:
    """A value that only pickle carries."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class BrokenHere:
    """Can be pickled; what was pickled can't be rebuilt, wherever that is tried."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


class Poison:
    """Ends the process that rebuilds it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def _refuse() -> NoReturn:
    raise Mishap(0)


def record(number: int) -> int:
    """Write down that this task runs; returns which run of it this is."""
    global _fd
    if _fd < 0:
        _fd = os.open(os.environ[RUNS], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    context = current_task()
    attempt = context.attempt if context is not None else 0
    os.write(_fd, b"%d %d %d\n" % (number, attempt, os.getpid()))
    return attempt


def payload(number: int, size: int) -> bytes:
    """The bytes of a task: they tell it from any other."""
    block = Random(number).randbytes(min(BLOCK, size))
    return (block * (size // BLOCK + 1))[:size]


def shaped(form: int, data: bytes) -> object:
    """The same bytes as one of several values: each form travels in a way of its own."""
    if form == 0:
        return data
    if form == 1:
        return data.decode("latin-1")
    if form == 2:
        return Parcel(data)
    half = len(data) // 2
    return {"parts": [data[:half], data[half:]], "size": len(data)}


def content(value: object) -> bytes:
    """The bytes in a value that `shaped` made."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, Parcel):
        return value.data
    if isinstance(value, dict) and len(value["parts"]) == 2 and value["size"] == sum(map(len, value["parts"])):
        return b"".join(value["parts"])
    raise TypeError(f"no form of a payload: {type(value).__name__}")


def answer(number: int) -> int:
    """What most tasks return."""
    return number * 3 + 1


# ---- the tasks


def noop(number: int) -> None:
    """Nothing."""
    record(number)


def add(number: int, left: int, right: int = 1) -> tuple[int, int]:
    """Arithmetic."""
    record(number)
    return answer(number), left + right


def slow(number: int, seconds: float, is_busy: bool) -> int:
    """Take a while, asleep or not."""
    record(number)
    until = time.monotonic() + seconds
    while is_busy and time.monotonic() < until:
        pass
    if not is_busy:
        time.sleep(seconds)
    return answer(number)


async def later(number: int, seconds: float) -> int:
    """The same, in a coroutine."""
    import asyncio

    record(number)
    await asyncio.sleep(seconds)
    return answer(number)


def reply(number: int, value: object, size: int, form: int) -> object:
    """Check a large argument, and return another one."""
    record(number)
    data = content(value)
    if data != payload(number, len(data)):
        raise AssertionError(f"the argument of task {number} arrived damaged")
    return shaped(form, payload(number + 1, size))


def metadata(number: int) -> tuple[int, object]:
    """What the task was submitted with."""
    record(number)
    context = current_task()
    return answer(number), None if context is None else context.metadata


def fail(number: int, form: int) -> object:
    """Fail in one of several ways; see `orders.FAILURES`."""
    record(number)
    if form == 0:
        raise Mishap(number)
    if form == 1:
        raise SystemExit(number)
    if form == 2:
        from threading import Lock

        class Local(Exception):
            lock = Lock()

        error = Local(number)
        error.held = Lock()  # type: ignore[attr-defined]
        raise error
    if form == 3:
        from threading import Lock

        return [Lock()]
    return BrokenHere()


def fail_until(number: int, runs: int) -> int:
    """Raise in the first `runs` runs."""
    if record(number) <= runs:
        raise Mishap(number)
    return answer(number)


def take(number: int, value: object) -> int:
    """Never called: what comes with it can't be rebuilt."""
    record(number)
    return answer(number)


def die(number: int, runs: int, form: int) -> int:
    """End the worker in the first `runs` runs."""
    if record(number) <= runs:
        if form == 0:
            os._exit(3)
        if form == 1:
            from ctypes import string_at

            string_at(0)
        if form == 2:
            os.abort()
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(number)


def item(pair: tuple[int, str]) -> int:
    """One item of a map: what it does is written on it."""
    number, deed = pair
    record(number)
    if deed == "fail":
        raise Mishap(number)
    if deed == "die":
        os._exit(3)
    if deed == "slow":
        time.sleep(0.005)
    return answer(number)
