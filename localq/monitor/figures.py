# SPDX-License-Identifier: MIT
"""What the kernel says of processes: how they are, the processor time they used, their memory.

Used by the reader, some twenty microseconds a process and kind of figure. The only place that knows psutil's ways here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

from localq.monitor.raw import Figures
from localq.pool.processes import started_at

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Kernel", "command_of", "user_of"]

ENDED = Figures("ended")
_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class Kernel:
    """Asks for the same processes again and again."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], psutil.Process] = {}

    def look(self, processes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Figures]:
        """Of each (pid, when it started; 0: not known). Those that were asked for before and are not now are
        forgotten."""
        wanted = list(processes)
        self._known = {key: self._known[key] for key in wanted if key in self._known}
        return {key: self._of(*key) for key in wanted}

    def _of(self, pid: int, started: int) -> Figures:
        try:
            process = self._known.get((pid, started))
            if process is None:
                if started and started_at(pid) != started:
                    return ENDED  # and its pid is another's by now, perhaps
                process = self._known[pid, started] = psutil.Process(pid)
            with process.oneshot():
                state = process.status()
                if state in _DEAD:
                    return ENDED
                times, memory = process.cpu_times(), process.memory_info()
        except psutil.NoSuchProcess:
            return ENDED
        except psutil.AccessDenied:  # hidepid, or a process that may not be looked at
            return Figures("alive")
        return Figures(
            "stopped" if state == psutil.STATUS_STOPPED else "alive",
            times.user + times.system,
            max(0, memory.rss - memory.shared),
        )


def command_of(pid: int) -> str:
    """The command line of a process; empty when nobody may see it."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def user_of(uid: int) -> str:
    """The name of a user, or the number where there is none."""
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def this_user() -> str:
    """The name of whoever runs this."""
    return user_of(os.geteuid())
