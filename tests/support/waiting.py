# SPDX-License-Identifier: MIT
"""Waiting for a condition, never for time; and a gate that holds a task until the test lets it go.

Used by all tests. The pauses in here are the only ones in the test suite.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

SHORTEST_PAUSE = 0.0005  # seconds; most conditions are true at the first or second look
LONGEST_PAUSE = 0.02  # seconds; a test waits at most this much longer than it had to


def eventually(condition: Callable[[], T | None], within: float = 10.0, what: str | None = None) -> T:
    """Ask `condition` until its answer is true, and return that answer.

    `within` is a watchdog in seconds for the day it never comes true, so it costs nothing to be generous.
    An exception of `condition` counts as "not yet", and is the cause of the failure if it was the last word.

    Raises:
        AssertionError: time ran out; names `what` (or the condition) and the last answer.
    """
    deadline = time.monotonic() + within
    pause = SHORTEST_PAUSE
    while True:
        refusal: Exception | None = None
        answer: object = None
        try:
            found = condition()
            if found:
                return found
            answer = found
        except Exception as error:
            refusal = error
        if time.monotonic() >= deadline:
            said = f"it raised {refusal!r}" if refusal else f"it last answered {answer!r}"
            name = what or getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not within {within:g} s: {name}; {said}") from refusal
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


class Gate:
    """Holds every task that calls `tasks.slow(gate.path)` until `open()`; knows which processes arrived.

    A lock on a file: whoever waits sleeps in the kernel, any number pass at once when it opens, whoever comes
    later passes too, and the gate of a test process that dies is open.

        with Gate(tmp_path) as gate:
            future = q.delay(tasks.slow, gate.path)
            (pid,) = gate.wait_for_arrivals(1)
            ...
            gate.open()

    Leaving the block opens the gate, so that a failed test strands nobody.
    """

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = str(folder / name)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let everybody through, now and from now on."""
        # Closing alone would not do: a forked child that inherited the descriptor would keep the lock.
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def arrivals(self) -> list[int]:
        """The process ids of those who came so far, in order; a pid twice when a task came twice."""
        try:
            with open(self.path + ".arrivals") as lines:
                return [int(line) for line in lines]
        except FileNotFoundError:
            return []

    def wait_for_arrivals(self, count: int, within: float = 10.0) -> list[int]:
        """Wait until at least `count` tasks came to the gate; their process ids."""
        return eventually(
            lambda: found if len(found := self.arrivals()) >= count else None, within, what=f"{count} tasks at the gate"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        if self._file >= 0:  # a block within the fixture's own has closed it
            os.close(self._file)
            self._file = -1
