# SPDX-License-Identifier: MIT
"""What workers run: harmless tasks, and deeds that go wrong. Importable, so that every system sends them by reference.

Knows nothing of systems. Whatever a deed needs is imported when it is done: a healthy worker must not pay for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

POLL_SECONDS = 0.005
ROOM_BYTES = 256 << 20  # what a worker may still allocate once its memory is limited
THREAD_SECONDS = 60.0  # longer than anybody waits for the end


# harmless


def nap(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def nap_a_second(value: int) -> int:
    return nap(1.0, value)


def meet(path: str, count: int, patience: float) -> int:
    """Wait until `count` different processes are here; the own pid. Says which processes are the workers."""
    record(path)
    until = time.monotonic() + patience
    while len({pid for pid, _ in records(path)}) < count and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return os.getpid()


def record(path: str) -> None:
    """Note that this process is here now: one line in one write."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{os.getpid()} {time.monotonic()}\n".encode())
    finally:
        os.close(handle)


def records(path: str) -> list[tuple[int, float]]:
    """Who was here, and when."""
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(int(pid), float(when)) for pid, when in (line.split() for line in lines)]


def misbehave(path: str, delay: float, deed: Callable[..., Any], *args: Any) -> Any:
    """After a delay, in which others are queued behind it, say so and do it."""
    time.sleep(delay)
    record(path)
    return deed(*args)


# exceptions and values that can't travel


class Unsendable(Exception):
    """Pickle refuses it."""

    def __init__(self) -> None:
        super().__init__("the original message")
        self.lock = threading.Lock()


class Unloadable(Exception):
    """Pickle takes it and can't rebuild it: its arguments are not those of its class. A common mistake."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the original message: {reason} ({code})")


class UnloadableValue:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _refuse, ()


def _refuse() -> NoReturn:
    raise ValueError("this value can't be rebuilt")


def raise_unsendable() -> NoReturn:
    raise Unsendable


def raise_unloadable() -> NoReturn:
    raise Unloadable(7, "on purpose")


def return_lock() -> Any:
    return threading.Lock()


def return_unloadable() -> UnloadableValue:
    return UnloadableValue()


# ends of a worker


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def read_null() -> None:
    import ctypes

    ctypes.string_at(0)


def exit_hard() -> NoReturn:
    os._exit(3)


def exit_softly() -> NoReturn:
    sys.exit(3)


def overflow_stack() -> Any:
    """Recursion through C, which Python's limit, raised by the task, does not stop."""
    sys.setrecursionlimit(10**9)
    return _deeper(0)


def _deeper(depth: int) -> Any:
    return next(map(_deeper, (depth + 1,)))


def exhaust_memory() -> NoReturn:
    """Allocate until the limit, and fail with everything still in hand."""
    import resource

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ROOM_BYTES, hard))
    hoard: list[bytearray] = []
    while True:
        hoard.append(bytearray(1 << 20))


# things that a worker keeps or gives away


def fork_and_return() -> int:
    """Both processes return."""
    os.fork()
    return 0


def start_thread() -> int:
    threading.Thread(target=time.sleep, args=(THREAD_SECONDS,), daemon=False).start()
    return 0


def close_descriptors() -> int:
    os.closerange(3, 256)
    return 0


def nested(system: Any) -> tuple[int, int]:
    """Send a call to the pool that runs this one, and wait for it: who ran the outer, and who the inner call."""
    (inner,) = system.map(who, [0], None)
    return os.getpid(), inner


def who(value: int) -> int:
    return os.getpid()
