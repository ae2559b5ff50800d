# SPDX-License-Identifier: MIT
"""The functions that workers run. Importable, so that every peer sends them by reference, and cheap to import."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False  # not from typing: its import would be a part of every start that is measured
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def nothing() -> None:
    """The cheapest call there is: what is left is the overhead of the queue."""


def same(value: int) -> int:
    return value


def each(fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """A chunk of a map, for those who make none."""
    return [fn(item) for item in items]


def last(array: Any) -> float:
    """Touches one element."""
    return float(array[-1])


def total(array: Any) -> float:
    """Reads all."""
    return float(array.sum())


#: What a worker has at hand to return, so that making it is not timed: one array of float64, by its length.
_at_hand: dict[int, Any] = {}


def prepare(count: int) -> int:
    """Make the array that `give` will return, and let the other workers have their turn; which process that was."""
    import numpy as np

    if count not in _at_hand:
        _at_hand.clear()
        _at_hand[count] = np.arange(count, dtype=np.float64)
    time.sleep(0.005)
    return os.getpid()


def give(count: int) -> Any:
    return _at_hand[count]


def make(count: int) -> Any:
    """A new array of float64."""
    import numpy as np

    return np.arange(count, dtype=np.float64)


def burn_1_us(value: int) -> int:
    return _burn(value, 1_000)


def burn_10_us(value: int) -> int:
    return _burn(value, 10_000)


def burn_100_us(value: int) -> int:
    return _burn(value, 100_000)


def burn_1_ms(value: int) -> int:
    return _burn(value, 1_000_000)


def say_and_burn(path: str, seconds: float) -> None:
    """Make an empty file, then burn CPU for that long."""
    until = time.monotonic() + seconds
    open(path, "w").close()
    while time.monotonic() < until:
        pass


def length(data: bytes) -> int:
    return len(data)


def give_bytes(size: int) -> bytes:
    """As many bytes, made once and then kept."""
    data: bytes = _at_hand.setdefault(-size, b"") or bytes(size)
    _at_hand[-size] = data
    return data


def hold(fifo: str) -> None:
    """Occupy a worker until somebody has opened `fifo` for writing and closed it again."""
    with open(fifo, "rb") as end:
        end.read()


def hold_once(path: str) -> float:
    """Say this process's id in a file and wait to be killed; the second time, return the time."""
    if os.path.exists(path):
        return time.monotonic()
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    signal.pause()
    return 0.0


def _burn(value: int, cpu_ns: int) -> int:
    # Time of this thread's own on a CPU: unlike a clock on the wall it does not pass while the worker is displaced,
    # and unlike a count of loops it needs no calibration.
    until = time.thread_time_ns() + cpu_ns
    while time.thread_time_ns() < until:
        pass
    return value


def tell_end(path: str) -> None:
    """Sleep until stopped; say in a file that this has begun, and in another when it was stopped."""
    try:
        open(f"{path}.begun", "w").close()
        time.sleep(60)
    finally:
        now = time.monotonic()
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(repr(now))
        os.rename(f"{path}.new", path)


def hold_gil() -> int:
    """Be in C code, for long, without ever looking at signals."""
    return sum(range(10**12))


def one_more(value: int, *_: object) -> int:
    return value + 1


def total_of(*values: int) -> int:
    return sum(values)


def burn_10_ms(value: int) -> int:
    return _burn(value, 10_000_000)


def burn_100_ms(value: int) -> int:
    return _burn(value, 100_000_000)


def which_worker() -> int:
    """The id of this process, after a moment in which the other workers have their turn."""
    time.sleep(0.005)
    return os.getpid()


def pause_500_ms() -> None:
    time.sleep(0.5)
