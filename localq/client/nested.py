# SPDX-License-Identifier: MIT
"""A queue in its own workers: for tasks that submit tasks, and wait for them.

Used where a queue is unpickled, and by `LocalQueue.current`. The worker becomes a client of the Space that it has
mapped anyway. Who waits there for a task that is still queued runs it itself (`Worker.run_here`): so it does not matter
how many tasks wait for others. A worker's death is that of its client, too; the supervisor sees to both.
"""

from __future__ import annotations

import os

from localq import _native
from localq.client.connection import Connection
from localq.config import QueueConfig
from localq.pool.brief import FOR_CLIENTS
from localq.pool.context import this_worker
from localq.pool.processes import started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq._native import Space
    from localq.pool.context import Here

__all__ = ["connect_here"]


class _Within:
    """What holds a worker to its own queue is that it is its worker."""

    output = None  # what tasks write goes to the owner

    def __init__(self, owner_pid: int) -> None:
        self.owner_pid = owner_pid

    def trouble(self) -> Callable[[], Exception] | None:
        """Whatever becomes of the queue becomes of its workers."""
        return None

    def call(self) -> None:
        """The phase is the owner's to set."""

    def pause(self) -> None:
        """Nothing runs beside: see `Ownership.pause`."""

    def resume(self) -> None:
        """As `pause`."""

    def end(self, patience: float) -> None:
        """There is nothing to let go of."""


_connected: tuple[QueueConfig, Space, Connection] | None = None  # once something in this worker has asked for it


def connect_here(identity: int | None) -> tuple[QueueConfig, Space, Connection] | None:
    """As a client of the queue whose worker this is; None where that is another queue, or no worker at all. One client
    for the whole process, until it is closed.

    `identity`: of the queue that is meant; None: whichever it is.

    Raises:
        RuntimeError: all 255 places for processes are taken.
    """
    global _connected
    here = this_worker()
    if here is None or identity not in (None, here.space.identity):
        return None
    if _connected is None or not _connected[2].client.is_ours or _connected[2].client.closed is not None:
        _connected = _connect(here)
    return _connected


def _connect(here: Here) -> tuple[QueueConfig, Space, Connection]:
    brief = here.brief
    config = QueueConfig.check(queues=brief.queues, **{name: getattr(brief, name) for name in FOR_CLIENTS})
    label = here.space.join(_native.ROLE_CLIENT, os.getpid(), started_at(os.getpid()))
    connection = Connection(here.space, label, config, _Within(brief.owner_pid), is_owner=False)

    def help_with(slot: int, generation: int) -> bool:
        if here.worker.run_here(slot, generation):
            return True
        here.coroutines.admit_one()
        return False

    connection.client.help = help_with
    here.worker.on_idle = connection.client.reap  # what no task waits for any more would stay unread
    return config, here.space, connection
