# SPDX-License-Identifier: MIT
"""What the kernel says of a process: whether it is still the one that was meant, how it is, what it maps.

Used by whoever buries: a pid alone proves nothing, because pids are used again. A pid and the time its process began
do.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

__all__ = ["ended_by", "has_mapped", "is_stopped", "join_wholly", "open_process", "started_at"]

MOST_STAT = 4096  # bytes; some 50 numbers
STATE, STARTED = 0, 19  # fields of /proc/PID/stat, counted from the one after the name


def _stat(pid: int) -> list[bytes]:
    """The fields after the name, which may contain anything. Empty when there is no such process."""
    try:
        stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return os.read(stat, MOST_STAT).rpartition(b")")[2].split()
    except OSError:  # it has ended since
        return []
    finally:
        os.close(stat)


def started_at(pid: int) -> int:
    """When it began, in the kernel's ticks since the machine started; 0 when there is no such process."""
    fields = _stat(pid)
    return int(fields[STARTED]) if len(fields) > STARTED else 0


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it (SIGSTOP, SIGTSTP). One that a debugger holds is not meant."""
    fields = _stat(pid)
    return bool(fields) and fields[STATE] == b"T"


def open_process(pid: int, started: int) -> int | None:
    """A descriptor that becomes readable when that process ends; None when it has ended: proof, not a guess.

    `started` 0: not known; then another process under the same pid is taken for it. Raises OSError when there is no
    descriptor left.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if started and started_at(pid) not in (started, 0):  # 0: it may have ended just now, and the descriptor will say so
        os.close(pidfd)
        return None
    return pidfd


def ended_by(pidfd: int) -> bool:
    """Whether the process of a descriptor has ended. Never waits."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def join_wholly(thread: Thread, timeout: float) -> bool:
    """Wait until a thread has ended, for the kernel as well: it is that which Python asks when it warns of a fork
    beside threads, and a thread that was joined may be there a moment longer. False when it has not, in `timeout`
    seconds."""
    until = time.monotonic() + timeout
    number = thread.native_id
    thread.join(timeout)
    while not thread.is_alive() and os.path.exists(f"/proc/self/task/{number}") and time.monotonic() < until:
        time.sleep(0.0002)
    return not thread.is_alive()


def has_mapped(pid: int, inode: int) -> bool:
    """Whether it still maps the file of that inode: one that does not can't write there. True when nobody may look."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            return any(line.split(None, 5)[4] == b"%d" % inode for line in maps)
    except FileNotFoundError:
        return False
    except OSError:
        return True
