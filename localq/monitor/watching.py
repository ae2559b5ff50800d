# SPDX-License-Identifier: MIT
"""Reads a queue again and again, beside whoever shows it, and says what came of it; also when it ends and comes back.

Used by `localq top`: a Watch is a thread, so that a queue that does not answer keeps nobody from the others, nor from
the keys.
"""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple, Protocol

from localq.errors import AttachError, LocalqError
from localq.monitor.history import Condition
from localq.pool.attach import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.monitor.snapshot import Snapshot

__all__ = ["News", "Reader", "Watch"]


class Reader(Protocol):
    """What reads one queue: `localq.monitor.reader.QueueReader`."""

    def read(self) -> Snapshot: ...

    def close(self) -> None: ...


class News(NamedTuple):
    """What came of one look: a Snapshot, or why there is none."""

    watch: Watch
    snapshot: Snapshot | None
    condition: Condition
    said: str = ""


class Watch:
    """One queue. `tell` is called from another thread, once a look."""

    def __init__(
        self, name: str, reach: Callable[[str], Reader], tell: Callable[[News], None], interval: float
    ) -> None:
        self.name = name
        self._reach = reach
        self._tell = tell
        self._interval = interval
        self._is_over = False
        self._nudge = Event()
        self._thread = Thread(target=self._run, name=f"localq-watch-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def pace(self, interval: float) -> None:
        """Look that often from now on, and now."""
        self._interval = interval
        self._nudge.set()

    def stop(self) -> None:
        """Do not look any more. A look that has begun goes on."""
        self._is_over = True
        self._nudge.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        reader: Reader | None = None
        due = time.monotonic()
        while not self._is_over:
            try:
                if reader is None:
                    reader = self._reach(self.name)
                news = News(self, reader.read(), Condition.READ)
            except Exception as error:  # noqa: BLE001 - a Space in ruins may mislead its reader in any way
                news = News(self, None, _condition_after(error), _said(error))
                if reader is not None:
                    reader.close()
                    reader = None
            if not self._is_over:
                self._tell(news)
            due = max(due + self._interval, time.monotonic())  # late once is no reason to hurry afterwards
            if self._nudge.wait(max(0.0, due - time.monotonic())):
                self._nudge.clear()
                due = time.monotonic()
        if reader is not None:
            reader.close()


def _said(error: Exception) -> str:
    if isinstance(error, LocalqError | OSError):
        return str(error)
    return f"it can't be read: {type(error).__name__}: {error}"


def _condition_after(error: Exception) -> Condition:
    return Condition.ENDED if isinstance(error, AttachError) and not isinstance(error, NoAnswer) else Condition.SILENT
