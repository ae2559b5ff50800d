# SPDX-License-Identifier: MIT
"""What it takes to use a queue that another process owns: to notice when it ends, and to leave.

The counterpart of `localq.client.ownership`. It keeps the connection by which it came open: its end tells the
supervisor that this process was replaced by exec.
"""

from __future__ import annotations

import os

from localq._native import PHASE_BROKEN, PHASE_STOPPED, ROLE_WORKER
from localq.config import QueueConfig
from localq.errors import AttachError, QueueClosed
from localq.pool.attach import Reached, reach
from localq.pool.brief import FOR_CLIENTS
from localq.pool.processes import ended_by, open_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq._native import Space

__all__ = ["Attachment", "attach"]


class Attachment:
    """The queue of another process, as long as that lives."""

    output = None  # what tasks write goes to the owner

    def __init__(self, reached: Reached) -> None:
        """Raises AttachError: its owner has ended meanwhile, or its supervisor was replaced by one that knows nothing
        of this client."""
        self._space: Space = reached.space
        self._connection = reached.connection
        self.label: int = reached.told["label"]
        self.owner_pid: int = reached.told["owner_pid"]
        self._owner_started: int = reached.told["owner_started"]
        if not self._space.sign_in(self.label, reached.told["pid"], reached.told["started"]):
            raise AttachError(f"queue {reached.told['name']!r} has lost its supervisor just now: try again")
        pidfd = open_process(self.owner_pid, self._owner_started)
        if pidfd is None:
            raise AttachError(f"the owner of queue {reached.told['name']!r}, process {self.owner_pid}, has ended")
        self._pidfd = pidfd

    def trouble(self) -> Callable[[], Exception] | None:
        """As `Ownership.trouble`."""
        if ended_by(self._pidfd) and not self._lives_on():
            return lambda: QueueClosed(f"the process that owned it ({self.owner_pid}) has ended")
        phase = self._space.phase
        if phase == PHASE_BROKEN:
            return _workers_failed
        if phase >= PHASE_STOPPED and not self._is_a_worker_left():
            return lambda: QueueClosed("its owner has closed it")
        return None

    def _lives_on(self) -> bool:
        """Whether it was the descriptor that ended: programs that become daemons close all they find. Then there is
        another one; the old number may be some other file's by now."""
        pidfd = open_process(self.owner_pid, self._owner_started)
        if pidfd is None:
            return False
        if ended_by(pidfd):
            os.close(pidfd)
            return False
        self._pidfd = pidfd
        return True

    def _is_a_worker_left(self) -> bool:
        """Who is at a task finishes that, also after the queue was closed."""
        for row in self._space.rows():
            if row["role"] == ROLE_WORKER and row["live"] and row["pid"]:
                pidfd = open_process(row["pid"], row["started"])
                if pidfd is not None:
                    is_left = not ended_by(pidfd)
                    os.close(pidfd)
                    if is_left:
                        return True
        return False

    def call(self) -> None:
        """Nobody has to be told: the phase is the owner's to set."""

    def pause(self) -> None:
        """Nothing runs beside: see `Ownership.pause`."""

    def resume(self) -> None:
        """As `pause`."""

    def end(self, patience: float) -> None:
        """Let go of everything. The client has left the Space by now."""
        if self._pidfd >= 0:
            for close in (self._connection.close, lambda: os.close(self._pidfd)):
                try:
                    close()
                except OSError:
                    pass  # somebody has closed it already
            self._pidfd = -1


def attach(name: str, timeout: float) -> tuple[Reached, QueueConfig, Attachment]:
    """Become a client of a running queue.

    Raises:
        AttachError: see `reach`; or it runs another version of Python, whose functions this one can't send.
    """
    import sys

    reached = reach(name, True, timeout)
    try:
        told, here = reached.told, ".".join(map(str, sys.version_info[:2]))
        if told["python"] != here:
            raise AttachError(
                f"queue {name!r} runs on Python {told['python']}, and this is {here}: functions can't travel"
            )
        config = QueueConfig.check(queues=tuple(told["queues"]), **{each: told[each] for each in FOR_CLIENTS})
        return reached, config, Attachment(reached)
    except BaseException:
        reached.let_go()
        raise


def _workers_failed() -> Exception:
    from localq.errors import InitializerFailed  # not before it is made: see `localq.pool_errors`

    return InitializerFailed("its workers could not be started; its owner knows why")
