# SPDX-License-Identifier: MIT
"""What a worker leaves behind when it dies: where its Python code was, how much memory it took, who killed it.

The worker's half is one line that faulthandler keeps ready; the supervisor's half reads it after the death and puts it
into the shared memory, from where the client makes it part of the task's error.
"""

from __future__ import annotations

import os

from localq._native import guard_last_words
from localq.pool.story import FATAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq._native import Space

__all__ = ["LastWords", "keep_last_words"]

MOST_BYTES = 1 << 16
KILLED = 9
STACK = b"(most recent call first):"  # faulthandler's, before the frames
OUR_FIRST_FRAMES = (b'/localq/pool/coroutines.py", ', b'/localq/pool/worker.py", ')  # from where tasks are called
CRASHED = b"Current thread"
EXTENSIONS = b"\nExtension modules:"


def keep_last_words(pipe: int) -> None:
    """In a worker: write the stacks of all threads into `pipe` when a fatal signal arrives. A full pipe cuts them; a
    task that has closed the pipe and opened something else in its place loses nothing but these words."""
    import faulthandler

    os.set_blocking(pipe, False)
    faulthandler.enable(pipe, all_threads=True)
    guard_last_words(pipe)


class LastWords:
    """The supervisor's: turns what is left of a dead worker into a report in the shared memory."""

    def __init__(self, space: Space, label: int) -> None:
        self._space = space
        self._label = label
        self._oom_kills = _oom_kills()

    def report(self, pid: int, wait_status: int, peak_bytes: int, story: bytes) -> int:
        """The report's number; 0 when there was no room for one."""
        return self._space.write_report(
            self._label, pid, wait_status, peak_bytes, self._was_out_of_memory(wait_status), _crash_in(story)
        )

    def _was_out_of_memory(self, wait_status: int) -> bool:
        """The kernel counts whom it killed in a control group; nobody else could have raised that count in between."""
        if wait_status & 0x7F != KILLED:
            return False
        before, self._oom_kills = self._oom_kills, _oom_kills()
        return before is not None and self._oom_kills is not None and self._oom_kills > before


def _crash_in(story: bytes) -> bytes:
    """The stacks of a crash; not those that somebody asked for before (`localq.pool.stacks`), which came too late."""
    begin = story.rfind(FATAL)
    return stack_in(story[begin:]) if begin >= 0 else b""


def stack_in(story: bytes) -> bytes:
    """The stacks, the thread that crashed first; without what faulthandler says around them, and without our own frames
    at the bottom."""
    if STACK not in story:
        return b""
    begin = story.rfind(b"\n", 0, story.index(STACK)) + 1
    threads = story[begin:].partition(EXTENSIONS)[0].strip().split(b"\n\n")
    threads.sort(key=lambda thread: not thread.startswith(CRASHED))
    return b"\n\n".join(map(_without_ours, threads))


def _without_ours(thread: bytes) -> bytes:
    """Cut where our code begins; faulthandler tells the innermost frame first."""
    lines = thread.splitlines()
    ours = next((at for at, line in enumerate(lines) if any(map(line.__contains__, OUR_FIRST_FRAMES))), len(lines))
    return b"\n".join(lines[:ours])


def _oom_kills() -> int | None:
    from localq.machine import oom_kills

    return oom_kills()
