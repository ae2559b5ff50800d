# SPDX-License-Identifier: MIT
"""SIGTERM in a process that owns queues: what it took gets a while to be done, then the process ends as it would have.

Used by connections of owners. Only where nobody else handles that signal: a program with a handler of its own decides
for itself. No exception is raised in anybody's code; a second SIGTERM ends the process at once.
"""

from __future__ import annotations

import _signal as signal  # see localq.pool.process
import os
import time
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.client.connection import Connection

__all__ = ["drain_when_terminated", "forget"]

# A signal's handler belongs to the process, so what it must know does, too.
_owners: weakref.WeakSet[Connection] = weakref.WeakSet()


def drain_when_terminated(owner: Connection) -> None:
    """From now on SIGTERM gives this queue `drain_timeout` seconds, if nobody else handles it."""
    try:
        if not _owners and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _drain)
    except ValueError:  # not in the main thread: no handler can be set from here
        return
    _owners.add(owner)


def forget(owner: Connection) -> None:
    """That queue has ended."""
    _owners.discard(owner)
    if not _owners and signal.getsignal(signal.SIGTERM) is _drain:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        except ValueError:  # another thread closed it; the handler does no harm without queues
            pass


def _drain(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    began = time.monotonic()
    for owner in list(_owners):
        owner.close(timeout=max(0.0, began + owner.drain_timeout - time.monotonic()))
    os.kill(os.getpid(), signal.SIGTERM)
