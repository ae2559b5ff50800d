# SPDX-License-Identifier: MIT
"""Task functions that work on arrays, and what a test may ask about arrays and about the memory of a queue.

Used by the tests of large data. Apart from `tasks`, whose importers may never load numpy.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from localq import LocalQueue
from tests.support.waiting import eventually

Array = np.ndarray[Any, Any]

kept: list[Any] = []

MANY = 100_000  # items of float64 that are surely a mapping of their own, and surely more than one page
MiB = 1 << 20


def full(number: float, items: int = MANY) -> Array:
    """An array of one number: each item tells whether it is still the right one."""
    return np.full(items, float(number))


def is_full(array: Array, number: float) -> bool:
    """Whether `full(number)` is what is in there."""
    return bool((array == number).all())


def total(array: Array) -> float:
    """The sum."""
    return float(array.sum())


def first(array: Array) -> float:
    """The first item."""
    return float(array.flat[0])


def add_one(array: Array) -> float:
    """Write to all of an argument; the first item afterwards."""
    array += 1
    return float(array.flat[0])


def doubled(array: Array) -> Array:
    """A new array."""
    return array * 2


def names(*args: Any, **kwargs: Any) -> list[str]:
    """The types that arrived, one level deep in containers."""
    values = [*args, *kwargs.values()]
    return [type(value[0] if type(value) in (list, tuple) else value).__name__ for value in values]


def keep(array: Array) -> float:
    """Keep the argument itself for the life of the worker."""
    kept.append(array)
    return float(array.flat[0])


def kept_are_whole(path: str) -> int:
    """How many this worker keeps, each of which must be full of one number. Reports at `path` that it was here."""
    for array in kept:
        assert (array == array.flat[0]).all(), "what a worker kept has changed"
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return len(kept)


def resident(pid: int | str = "self") -> int:
    """Bytes of the memory of one process that belong to it alone, or are shared by few."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def arena_bytes(queue: LocalQueue) -> int:
    """Bytes that the system has given for the queue's arena."""
    return os.fstat(queue._space.fds[1]).st_blocks * 512


def settled(queue: LocalQueue, at_most: int = 0) -> None:
    """Wait until tasks, results, arrays and shared values hold no more than so many bytes of the arena, and all is
    accounted for."""
    gc.collect()

    def is_settled() -> bool:
        queue._client.reap()
        assert queue._space.check() is None, queue._space.check()
        held = queue._space.arena()[0]
        assert held <= at_most, f"{held} bytes are held; {queue._space.slots()}"
        return True

    eventually(is_settled, what="the arena is given back")


def refusal(call: Callable[[], object]) -> BaseException | None:
    """What a call raised."""
    try:
        call()
    except BaseException as error:
        return error
    return None
