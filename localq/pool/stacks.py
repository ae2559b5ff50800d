# SPDX-License-Identifier: MIT
"""Where a worker is just now: the stacks of its threads, also while it is in C code that keeps the GIL.

The worker's half is one line: faulthandler writes them when a signal comes, a real-time signal that hardly anybody uses
(SIGRTMAX - 10). The supervisor's half sends it to those that are prepared, and only to those: whoever has lost its
handler would die of it, whoever has closed the pipe would write elsewhere. faulthandler does not say when it has done,
so a pause is taken for the end.
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import os
import time

from localq.pool.last_words import stack_in
from localq.pool.processes import is_stopped
from localq.pool.story import FATAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.pool.story import Story

__all__ = ["PATIENCE", "StackWanted", "keep_stack_ready"]

NUMBER = signal.SIGRTMAX - 10
PATIENCE = 1.0  # seconds for the first line, and for all of them
PAUSE = 0.02  # seconds without a word, once the main thread's first frame (ours) was seen, which comes last
LONG_PAUSE = 0.2  # ... and before
MOST_TEXT = 50_000  # characters of an answer
NO_FRAMES = "  (no frames but localq's own: it waits for a task)"
FIRST_FRAMES = (b'/localq/pool/worker.py", ', b"\n  ...\n")  # of the main thread; of a stack that is too deep


def keep_stack_ready(pipe: int) -> None:
    """In a worker: write the stacks into `pipe` when the signal comes."""
    import faulthandler

    faulthandler.register(NUMBER, pipe, all_threads=True, chain=False)


class StackWanted:
    """One worker was asked. Whoever asks meanwhile gets the same answer."""

    __slots__ = ("_last", "_story", "_until", "pid", "text", "why_not")

    def __init__(self, pid: int, pidfd: int, story: Story) -> None:
        """Ask. `story` has been read to the end."""
        self.text: str | None = None  # once there is an answer
        self.why_not: str | None = None  # or that there will be none
        self.pid = pid
        self._story = story
        self._until = self._last = time.monotonic() + PATIENCE
        if is_stopped(pid):
            self.why_not = f"worker {pid} does not answer: it was stopped by a signal; `kill -CONT {pid}` continues it"
        elif not _is_prepared(pid, story):
            self.why_not = f"worker {pid} can't tell: a task has closed its pipe, or changed what its signals do"
        elif FATAL in story.text:
            self.why_not = f"worker {pid} has crashed just now"
        else:
            story.text = b""  # what came too late for those who asked before
            signal.pidfd_send_signal(pidfd, NUMBER)

    @property
    def is_over(self) -> bool:
        return self.text is not None or self.why_not is not None

    def hear(self) -> None:
        """The story goes on."""
        is_near_end = any(map(self._story.text.__contains__, FIRST_FRAMES))
        self._until = min(time.monotonic() + (PAUSE if is_near_end else LONG_PAUSE), self._last)

    def until_next_timer(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def keep_time(self) -> None:
        """Has it said all?"""
        if self.is_over or time.monotonic() < self._until:
            return
        if not self._story.text:
            self.why_not = (
                f"worker {self.pid} does not answer within {PATIENCE:g} s: it is stopped, or waits for a disk"
            )
            return
        if FATAL in self._story.text:  # that is for its burial
            self.why_not = f"worker {self.pid} has crashed just now"
            return
        said, self._story.text = self._story.text, b""
        threads = stack_in(said).decode("utf-8", "replace")[:MOST_TEXT].split("\n\n")
        self.text = "\n\n".join(thread if "\n" in thread else f"{thread}\n{NO_FRAMES}" for thread in threads)

    def end(self) -> None:
        """The worker has ended."""
        if not self.is_over:
            self.why_not = f"worker {self.pid} has ended just now"


def _is_prepared(pid: int, story: Story) -> bool:
    """Whether it has a handler for the signal, and the pipe that this writes into."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            caught = next(line for line in status if line.startswith(b"SigCgt:")).split()[1]
        if not int(caught, 16) >> (NUMBER - 1) & 1:
            return False
        ours, theirs = os.fstat(story.fd), os.stat(f"/proc/{pid}/fd/{story.number}")
        return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
    except (OSError, StopIteration, ValueError):
        return False
